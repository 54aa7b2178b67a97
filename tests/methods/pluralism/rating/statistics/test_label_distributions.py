"""Fit of label probabilities against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.calibration import LEAST_PROBABILITY, label_fit
from evenhand.methods.pluralism.rating.statistics.raters import rater_groups

GROUPS = rater_groups(["a"] * 5 + ["b"] * 5)
VALUES = (0.0, 0.5, 1.0)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_values_equal_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(-1, 3, (6, 10))
    labels[:, [0, 5]] = 1
    model = generator.dirichlet(np.ones(3), (6, 2))
    for at, fit in enumerate(label_fit(labels, GROUPS, model, VALUES)):
        losses, floors, moves = [], [], []
        for item in range(6):
            given_labels = [x for x in labels[item, GROUPS.codes == at] if x >= 0]
            p = np.bincount(given_labels, minlength=3) / len(given_labels)
            losses.append(stats.entropy(p) + stats.entropy(p, model[item, at]))
            floors.append(stats.entropy(p))
            moves.append(stats.wasserstein_distance(VALUES, VALUES, p, model[item, at]))
        assert fit.log_loss == pytest.approx(np.mean(losses))
        assert fit.floor == pytest.approx(np.mean(floors))
        assert fit.wasserstein == pytest.approx(np.mean(moves))
        assert (fit.items, fit.raised) == (6, 0)


def test_an_impossible_label_is_raised_and_told() -> None:
    labels = np.array([[2] * 10])
    model = np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    wrong, right = label_fit(labels, GROUPS, model, VALUES)
    assert wrong.log_loss == pytest.approx(-np.log(LEAST_PROBABILITY))
    assert (wrong.raised, wrong.wasserstein) == (1, 1.0)
    assert (right.raised, right.log_loss, right.wasserstein) == (0, 0.0, 0.0)


def test_missing_items() -> None:
    labels = np.zeros((2, 10), dtype=int)
    model = np.full((2, 2, 3), np.nan)
    model[0, 0] = [1, 0, 0]
    a, b = label_fit(labels, GROUPS, model, VALUES)
    assert a.items == 1
    assert (b.items, b.log_loss, b.wasserstein) == (0, None, None)
    assert b.reason
    assert label_fit(labels, rater_groups(["a"] * 3 + [None] * 7), np.zeros((2, 0, 3)), VALUES) == ()


def test_bad_input() -> None:
    labels = np.zeros((2, 10), dtype=int)
    good = np.full((2, 2, 3), 1 / 3)
    with pytest.raises(BadInput, match="rising order"):
        label_fit(labels, GROUPS, good, (0, 1, 0.5))
    with pytest.raises(BadInput, match="2 items x 2 groups x 3 labels"):
        label_fit(labels, GROUPS, good[:, :1], VALUES)
    for value, what in ((0.9, "add up to 1"), (np.nan, "are missing"), (np.inf, "add up to 1")):
        bad = good.copy()
        bad[1, 0, 0] = value
        with pytest.raises(BadInput, match=what) as error:
            label_fit(labels, GROUPS, bad, VALUES)
        assert error.value.row == 2
    with pytest.raises(BadInput, match="9 raters in the labels"):
        label_fit(labels[:, :9], GROUPS, good, VALUES)
