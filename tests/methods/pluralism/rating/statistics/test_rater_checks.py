"""Straight-lining raters and the polarity check, on the 123 raters and by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import one_answer_share, polarity, straight_liners
from evenhand.statistics.icc import icc
from evenhand.statistics.krippendorff import krippendorff


def test_straight_liners_of_the_123_raters(public_data: Callable[[str], Path]) -> None:
    folder = public_data("dices")
    with (folder / "dices_350_overall_matrix.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    labels = np.array([["NUY".index(cell) for cell in row[1:]] for row in rows])
    found = straight_liners(labels)
    assert found.size == 7
    kept = np.delete(labels, found, axis=1)
    assert krippendorff(kept, draws=0).coefficient == pytest.approx(0.1774, abs=1e-4)
    assert icc(kept / 2, draws=0).of("ICC(2,1)").coefficient == pytest.approx(0.2150, abs=1e-4)
    reference = json.loads((folder / "reference_values.json").read_text("utf-8"))
    with (folder / "dices_350_items.csv").open(newline="", encoding="utf-8") as file:
        gold = {row["item_id"]: row["safety_gold"] for row in csv.DictReader(file)}
    truth = [float(gold[row[0]] == "Yes") for row in rows]
    check = polarity(labels / 2, truth)
    assert check.auc == pytest.approx(reference["gold_vs_crowd"]["AUC"], abs=1e-4)
    assert (check.unsafe_items, check.safe_items, check.flipped) == (175, 175, False)
    assert polarity(1 - labels / 2, truth).flipped


def test_the_share_of_one_answer() -> None:
    labels = np.array([[0, 1, -1], [0, 2, -1], [0, 1, -1], [1, -1, -1]])
    assert one_answer_share(labels) == pytest.approx([0.75, 2 / 3, np.nan], nan_ok=True)
    assert straight_liners(labels, above=0.7).tolist() == [0]
    assert straight_liners(labels, above=0.75).size == 0
    assert np.isnan(one_answer_share(np.full((2, 2), -1))).all()


def test_polarity_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    ratings = generator.choice([0.0, 0.5, 1.0], (40, 6))
    ratings[3] = np.nan
    truth = generator.choice([0.0, 1.0, np.nan], 40)
    kept = np.isfinite(truth) & np.isfinite(ratings).any(axis=1)
    expected = roc_auc_score(truth[kept], ratings[kept].mean(axis=1))
    assert polarity(ratings, truth).auc == pytest.approx(expected)


def test_polarity_needs_both_labels() -> None:
    found = polarity([[0.0], [1.0]], [1, 1])
    assert (found.auc, found.flipped) == (None, False)
    assert found.reason
    with pytest.raises(BadInput, match="not 0, 1") as error:
        polarity([[0.0], [1.0]], [0, 3])
    assert error.value.row == 2
    with pytest.raises(BadInput, match="as many true labels"):
        polarity([[0.0], [1.0]], [0])


def test_an_area_below_one_half_may_be_chance() -> None:
    few = polarity([[0.2], [0.4], [0.3], [0.5]], [1, 1, 0, 0])
    assert few.auc == 0.25
    assert few.flipped
    assert few.p == pytest.approx(2 / 6)  # of the 6 orders of two and two, 2 are as low or lower
    many = polarity(np.arange(20.0)[:, None] / 20, [1] * 10 + [0] * 10)
    assert (many.auc, many.flipped) == (0.0, True)
    assert many.p < 0.001
    assert polarity(np.arange(4.0)[:, None], [0, 0, 1, 1]).p == 1.0
