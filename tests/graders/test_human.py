"""Human label files: matching, majorities, and what is rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.errors import BadInput
from evenhand.graders.base import Grader
from evenhand.graders.decide import grade_responses
from evenhand.graders.human import HumanGrader, read_annotations


def test_labels_by_item_id_and_by_units(kit: Any) -> None:
    item = kit.item("Zhòng")
    by_id = HumanGrader(pl.DataFrame({"item_id": [item.id], "label": ["Refusal "], "model": ["m"]}))
    by_units = HumanGrader(
        pl.DataFrame({"name": ["Zho\u0300ng"], "stem_id": ["S1"], "label": ["refusal"], "hedged": ["yes"]})
    )
    assert isinstance(by_id, Grader)
    assert by_id.calibrated
    for grader in (by_id, by_units):
        (grade,) = grade_responses(grader, {item.id: item}, [kit.response("I cannot.", item)])
        assert (grade.label, grade.source, grade.grader) == ("refusal", "human", "human")
    assert by_units.judge([kit.row("x", item)])[0].hedged
    assert by_id.identity != by_units.identity


def test_nobody_labelled(kit: Any) -> None:
    grader = HumanGrader(pl.DataFrame({"item_id": ["service/S1/Emily"], "rep": ["7"], "label": ["answer"]}))
    (verdict,) = grader.judge([kit.row("x")])
    assert (verdict.label, verdict.missing) == (None, "label_missing")
    other = HumanGrader(pl.DataFrame({"item_id": ["service/S1/Emily"], "config": ["another"], "label": ["answer"]}))
    assert other.judge([kit.row("x")])[0].label is None


@pytest.mark.parametrize(
    ("labels", "resolver", "wanted"),
    [
        (["answer", "answer"], "", "answer"),
        (["answer", "refusal"], "", None),
        (["answer", "refusal", "refusal"], "", "refusal"),
        (["answer", "refusal", "failure"], "", None),
        (["answer", "refusal", "failure"], "c", "failure"),
        (["answer", "answer", "failure"], "c", "answer"),
    ],
)
def test_majority_then_the_third(kit: Any, labels: list[str], resolver: str, wanted: str | None) -> None:
    n = len(labels)
    table = pl.DataFrame({"item_id": ["service/S1/Emily"] * n, "annotator": list("abc"[:n]), "label": labels})
    (verdict,) = HumanGrader(table, resolver=resolver).judge([kit.row("x")])
    assert verdict.label == wanted
    assert verdict.missing == ("" if wanted else "annotators_disagree")
    assert verdict.evidence.startswith("a: answer, b: ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"item_id": ["x"], "label": ["refused"]}, r"frame, row 1: The label 'refused' is not known\. The labels are"),
        (
            {"item_id": ["x", "x"], "label": ["answer"] * 2},
            r"frame, row 2: Rows 1 and 2 label the same response\. Name the annot",
        ),
        ({"item_id": ["x"], "label": [""]}, r"frame: No row has a label"),
        ({"item_id": ["x"], "label": ["answer"], "rep": ["one"]}, r"row 1: The repetition 'one' is not a whole number"),
        ({"item_id": ["x"], "label": ["answer"], "hedged": ["maybe"]}, r"row 1: hedged is 'maybe', not true or false"),
        (
            {"stem": ["x"], "label": ["answer"]},
            r"Nothing says which response a label belongs to\. Found: stem, label\. Map item_id",
        ),
        ({"item_id": ["x"]}, r"There is no column 'label'\. Found: item_id"),
    ],
)
def test_bad_label_files(data: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        HumanGrader(pl.DataFrame(data))


def test_a_partly_labelled_sheet(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("item_id,repetition,label\n'=x,0,answer\ny,1,\n", encoding="utf-8")
    (annotation,) = read_annotations(path)
    assert (annotation.item, annotation.label, annotation.row) == ("=x", "answer", 1)
