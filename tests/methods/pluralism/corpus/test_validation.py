"""A classifier beside labels that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenhand.config import checked
from evenhand.methods.pluralism.corpus.build import run_build
from evenhand.methods.pluralism.corpus.card import validation_facts
from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.profiles import open_prompts
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.statistics.intervals import wilson

from .scripted import ScriptedClassifier, ScriptedGenerator, write_prompts

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
    assert "how often the classifier is right is not known" in cards[0][1]
    assert cards[1][0]["texts"] == 4
    assert cards[1][0]["right"] == 3
    assert "| Animal Abuse | 2 | 3 | 2 | (66.7%" in cards[1][1]
