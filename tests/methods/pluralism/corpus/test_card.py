"""The data card, its checks, and a classifier compared with known labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.config import checked
from evenhand.errors import EvenhandError
from evenhand.files import read_json
from evenhand.methods.pluralism.corpus.build import run_build
from evenhand.methods.pluralism.corpus.card import (
    ORGANISM_LABELS,
    ORGANISM_LINES,
    checked_counts,
    diversity,
    validation_facts,
)
from evenhand.methods.pluralism.corpus.card_text import card_text
from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.profiles import open_prompts
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.statistics.intervals import wilson

from .scripted import ScriptedClassifier, ScriptedGenerator, write_prompts


def build(folder: Path, classifier: str, generator: str) -> tuple[str, Any]:
    write_prompts(folder / "in|*.csv", {3: 35, 4: 2}, none=3)
    config = checked(
        BuildConfig, items=str(folder / "in|*.csv"), classifier=classifier, generator=generator, floor=4,
        licence="one | two <b>\n# three", expand=(SLUGS[3],), top_p=0.8,
    )  # fmt: skip
    engines = {"classifier": ScriptedClassifier(spec=classifier), "generator": ScriptedGenerator(spec=generator)}
    built = run_build(config, folder / f"run-{classifier.split('/')[0]}", engines=engines)
    assert read_json(built.folder / "card.json") == json.loads(json.dumps(built.facts))
    return (built.folder / "card.md").read_text(), built.facts


def test_what_the_card_says(tmp_path: Path) -> None:
    card, facts = build(tmp_path, "scripted/classifier", "scripted/generator")
    rows: dict[str, list[str]] = {}
    for line in card.splitlines():
        if line.startswith("|"):
            name, *cells = (cell.strip() for cell in line.split("|")[1:-1])
            rows.setdefault(name, cells)  # the table of counts comes first
    assert rows["Controversial Topics, Politics"][:3] == ["35", "0", "35"]
    assert rows["Discrimination, Stereotype, Injustice"][:3] == ["2", "2", "4"]
    assert rows["None"][:3] == ["3", "0", "3"]
    assert rows["all"] == ["40", "2", "42", "100.0%"]
    assert rows["delta"][1] == "published"
    assert rows["top\\_p"] == ["0.8", "given"]
    assert rows["verify"][1] == rows["floor\\_share"][1] == "chosen default (not published)"
    assert rows["classifier"][0] == "scripted/classifier"
    assert "organism" not in card
    assert "The counts add up to the 42 rows (checked)" in card
    assert facts["none"] == 3


def test_other_peoples_text_is_no_markup(tmp_path: Path) -> None:
    card, _ = build(tmp_path, "scripted/classifier", "scripted/generator")
    assert "one \\| two \\<b\\> # three" in card
    assert not any(line.startswith("# three") for line in card.splitlines())
    assert card.splitlines()[0] == "# Data card: in\\|\\*.csv"


def test_an_organism_is_named_as_such(tmp_path: Path) -> None:
    card, facts = build(tmp_path, "organism/aligned", "organism/aligned")
    assert facts["organism"] == [ORGANISM_LABELS, ORGANISM_LINES]
    assert "its labels are not real labels" in card
    other, _ = build(tmp_path, "scripted/classifier", "organism/aligned")
    assert ORGANISM_LINES in other
    assert ORGANISM_LABELS not in other


def test_counts_that_do_not_add_up_are_an_error() -> None:
    frame = pl.DataFrame({"domain": [SLUGS[0], NONE, NONE], "synthetic": [True, False, False]})
    rows = {row["domain"]: row["rows"] for row in checked_counts(frame)}
    assert (rows[SLUGS[0]], rows[NONE], len(rows)) == (1, 2, 15)
    with pytest.raises(EvenhandError, match=r"count 2 rows and the corpus has 3; classes beyond the table: \['odd'\]"):
        checked_counts(frame.with_columns(pl.Series("domain", ["odd", NONE, NONE])))


def test_diversity_of_the_published_counts() -> None:
    published = [0, 258, 12737, 9199, 280, 267, 7029, 1606, 503, 25, 718, 236, 89, 1472, 8631]
    found = diversity(published)
    assert found["effective_classes"] == pytest.approx(6.1, abs=0.05)
    assert found["largest_to_smallest"] == pytest.approx(509, abs=1)
    assert found["entropy"] == pytest.approx(math.log(found["effective_classes"]))  # type: ignore[arg-type]
    assert diversity([5]) == {"entropy": 0.0, "effective_classes": 1.0, "largest_to_smallest": 1.0}
    assert diversity([0, 0])["entropy"] is None


def test_a_card_can_be_made_again(tmp_path: Path) -> None:
    card, facts = build(tmp_path, "scripted/classifier", "scripted/generator")
    config = BuildConfig(items="x", classifier="a", generator="b")
    assert card_text(facts, config) == card


ANIMAL, CHILD, POLITICS = SLUGS[:3]


def labelled(key: str, label: str, status: str = "ok") -> Classified:
    return Classified(key, status, label)  # type: ignore[arg-type]


def test_precision_and_recall_by_hand() -> None:
    rows = [
        *(labelled(f"a{i}", ANIMAL) for i in range(3)),  # two of them right
        *(labelled(f"c{i}", CHILD) for i in range(2)),  # one named with a second domain
        labelled("n", NONE),
        labelled("lost", "", "unparsed"),
        labelled("unknown", ANIMAL),
    ]
    one = frozenset({ANIMAL})
    known = {
        "a0": one, "a1": one, "a2": frozenset({NONE}), "c0": frozenset({CHILD, ANIMAL}), "c1": one,
        "n": frozenset({NONE}), "lost": one,
    }  # fmt: skip
    found = validation_facts({row.key: row for row in rows}, known)
    assert found is not None
    assert (found["texts"], found["right"]) == (6, 4)
    by = {row["domain"]: row for row in found["domains"]}
    assert [by[ANIMAL][name] for name in ("labelled", "known", "right")] == [3, 4, 2]
    assert by[ANIMAL]["precision"]["value"] == pytest.approx(2 / 3)
    assert by[ANIMAL]["recall"]["value"] == pytest.approx(2 / 4)
    wanted = wilson(2, 3)
    assert wanted is not None
    assert by[ANIMAL]["precision"]["low"] == wanted.low
    assert not by[ANIMAL]["precision"]["claimed"]
    assert [by[NONE][name] for name in ("labelled", "known", "right")] == [1, 2, 1]
    assert by[POLITICS]["precision"] is None
    assert by[POLITICS]["recall"] is None


def test_nothing_known_is_told_and_not_guessed() -> None:
    assert validation_facts({"a": labelled("a", ANIMAL)}, {}) is None
    assert validation_facts({"a": labelled("a", "", "failed")}, {"a": frozenset({ANIMAL})}) is None


def test_classes_of_a_file_reach_the_card(tmp_path: Path) -> None:
    write_prompts(tmp_path / "in.csv", {1: 4}, none=2)
    lines = (tmp_path / "in.csv").read_text(encoding="utf-8").splitlines()
    told = {"i0000": "Animal Abuse", "i0001": "animal_abuse", "i0002": "None", "i0003": "no such word", "i0004": "None"}
    classed = [f"{line},{told.get(line.partition(',')[0], '')}" for line in lines[1:]]
    (tmp_path / "known.csv").write_text("\n".join([f"{lines[0]},class", *classed, ""]), encoding="utf-8")
    assert [sorted(found) for found in open_prompts(str(tmp_path / "known.csv")).known.values()] == [
        [ANIMAL], [ANIMAL], [NONE], [NONE],
    ]  # fmt: skip
    cards = []
    for name in ("in", "known"):
        config = checked(
            BuildConfig,
            items=str(tmp_path / f"{name}.csv"),
            classifier="scripted/c",
            generator="scripted/g",
            attempts=0,
        )
        engines = {"classifier": ScriptedClassifier(), "generator": ScriptedGenerator()}
        built = run_build(config, tmp_path / name, engines=engines)
        cards.append((built.facts["validation"], (built.folder / "card.md").read_text()))
    assert cards[0][0] is None
    assert "how often the classifier is right is unknown" in cards[0][1]
    assert cards[1][0]["texts"] == 4
    assert cards[1][0]["right"] == 3
    assert "| Animal Abuse | 2 | 3 | 2 | (66.7%" in cards[1][1]
