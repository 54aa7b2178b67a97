"""The data card and its checks."""

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
from evenhand.methods.pluralism.corpus.card import ORGANISM_LABELS, ORGANISM_LINES, checked_counts, diversity
from evenhand.methods.pluralism.corpus.card_text import card_text
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS

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
