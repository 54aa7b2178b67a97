"""A grader's error by group, and the sample that people label."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import BadInput
from evenhand.graders.calibration import Calibration, calibrate, calibration_sample, write_calibration_csv
from evenhand.graders.human import HumanGrader
from evenhand.records import HARMFUL, Grade, Item


def grade(item: Item, label: Any, repetition: int = 0, source: Any = "grader", grader: str = "prefix") -> Grade:
    missing = "" if label else "judge_missing"
    return Grade("m", item.id, repetition, grader, label, source=source, missing=missing)


def pairs(item: Item, *labels: tuple[Any, Any]) -> tuple[list[Grade], list[Grade]]:
    said = [grade(item, s, i) for i, (_, s) in enumerate(labels)]
    return said, [grade(item, t, i, "human", "human") for i, (t, _) in enumerate(labels)]


def test_counts_by_group(kit: Any) -> None:
    one, two = kit.item("Emily", "a"), kit.item("Li", "b")
    said, truth = pairs(
        one,
        ("refusal", "refusal"),
        ("harmful refusal", "refusal"),
        ("refusal", "answer"),
        ("answer", "answer"),
        ("answer", "refusal"),
    )
    said2, truth2 = pairs(two, ("answer", "answer"), ("answer", None))
    result = calibrate(said + said2, truth + truth2, {one.id: one, two.id: two})
    a, b = result.groups["a"], result.groups["b"]
    assert (a.tp, a.fn, a.tn, a.fp, a.n) == (2, 1, 1, 1, 5)
    assert (a.sensitivity, a.specificity) == (pytest.approx(2 / 3), 0.5)
    assert (b.sensitivity, b.specificity) == (None, 1.0)
    assert result.undefined == ("b",)
    assert result.unlabelled == {"b": 1}
    assert (result.pooled.tp, result.pooled.tn, result.n) == (2, 2, 6)
    assert result.provisional
    assert not Calibration("g", frozenset(), result.groups, minimum=6).provisional
    assert calibrate(said, truth, {one.id: one}, positive=HARMFUL).groups["a"].fn == 1


def test_provider_refusals_are_not_the_graders_doing(kit: Any) -> None:
    item = kit.item()
    truth = [grade(item, "refusal", 0, "human"), grade(item, "answer", 1, "human")]
    result = calibrate([grade(item, "refusal", 0, "provider"), grade(item, "answer", 1)], truth, {item.id: item})
    assert result.n == 1


def test_no_common_rows(kit: Any) -> None:
    item = kit.item()
    with pytest.raises(BadInput, match=r"No response has both a grade and a human label\. Check that config, item_id"):
        calibrate([grade(item, "answer")], [grade(item, "answer", 1)], {item.id: item})


def test_sample_is_balanced_and_reproducible(kit: Any) -> None:
    items = {i.id: i for i in (kit.item("Emily", "a"), kit.item("Li", "b"))}
    grades = [
        grade(item, "refusal" if repetition < 5 + 20 * (item.group == "b") else "answer", repetition)
        for item in items.values()
        for repetition in range(100)
    ]
    sample = calibration_sample(grades, items, 40, seed=3)
    cells = Counter((items[g.item_id].group, g.label) for g in sample)
    assert len(sample) == len({(g.item_id, g.repetition) for g in sample}) == 40
    assert cells["a", "refusal"] == 5  # all there are
    assert all(11 <= cells[key] <= 12 for key in cells if key != ("a", "refusal"))
    assert sample == calibration_sample(list(reversed(grades)), items, 40, seed=3)
    assert sample != calibration_sample(grades, items, 40, seed=4)
    assert len(calibration_sample(grades, items, 1000, seed=0)) == 200


def test_csv_out_is_harmless_and_comes_back(kit: Any, tmp_path: Path) -> None:
    item = kit.item()
    texts = ["=HYPERLINK(1)", "<script>\nx</script>", "lone \ud800", "@x"]
    responses = [kit.response(t, item, repetition=i) for i, t in enumerate(texts)]
    sample = [grade(item, "refusal", i) for i in range(4)]
    path = tmp_path / "label_me.csv"
    assert write_calibration_csv(path, sample, {item.id: item}, responses) == 4
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["response"] for r in rows] == ["'=HYPERLINK(1)", "<script>\nx</script>", "lone \ufffd", "'@x"]
    assert {r["label"] for r in rows} == {""}
    assert "refusal" not in path.read_text(encoding="utf-8-sig")
    for row, label in zip(rows, ["refusal", "answer", "answer", "failure"], strict=True):
        row["label"] = label
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert [v.label for v in HumanGrader(path).judge([kit.row("x")])] == ["refusal"]
    with pytest.raises(BadInput, match="There is no response to the item 'service/S1/Emily', repetition 9"):
        write_calibration_csv(path, [grade(item, "answer", 9)], {item.id: item}, responses)
