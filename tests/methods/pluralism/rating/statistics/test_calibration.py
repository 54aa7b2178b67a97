"""Calibrated sensitivity and the fit of label distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.calibration import (
    LEAST_PROBABILITY,
    calibrated_sensitivity,
    contrasts,
    label_fit,
    split_half,
)
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups, rater_groups
from evenhand.methods.pluralism.rating.statistics.sensitivity import group_means


def planted(
    seed: int, *, slope: float, raters: int = 12, items: int = 150, noise: float = 0.5, own: float = 0.0
) -> tuple[np.ndarray, RaterGroups, np.ndarray, np.ndarray]:
    """People, groups, model and true contrasts; the model follows the true contrasts with ``slope`` and noise ``own``."""
    generator = np.random.default_rng(seed)
    truth = contrasts(0.3 * generator.normal(size=(items, 3)))
    people = np.repeat(truth, raters, axis=1) + generator.normal(size=(items, 1))
    people = people + noise * generator.normal(size=people.shape)
    model = generator.normal(size=(items, 1)) + slope * truth + own * generator.normal(size=truth.shape)
    return people, rater_groups([name for name in "abc" for _ in range(raters)], least=2), model, truth


def test_pooled_values_are_those_of_scipy() -> None:
    people, groups, model, _ = planted(0, slope=0.5, own=0.1)
    people[3, :12] = np.nan  # an item that one group did not rate
    found = calibrated_sensitivity(people, groups, model, permutations=0)
    kept = np.arange(150) != 3
    human = contrasts(np.stack([people[:, groups.codes == code].mean(axis=1) for code in range(3)], axis=1))[kept]
    machine = contrasts(model)[kept]
    assert found.items == 149
    assert found.correlation == pytest.approx(stats.pearsonr(human.ravel(), machine.ravel()).statistic)
    assert found.slope == pytest.approx(stats.linregress(human.ravel(), machine.ravel()).slope)
    for at, group in enumerate(found.groups):
        line = stats.linregress(human[:, at], machine[:, at])
        assert (group.correlation, group.slope) == pytest.approx((line.rvalue, line.slope))


@pytest.mark.parametrize("slope", [1.0, 0.4, -0.5])
def test_corrected_values_recover_the_truth(slope: float) -> None:
    rows = []
    for seed in range(24):
        people, groups, model, truth = planted(seed, slope=slope, noise=0.8, own=0.1)
        found = calibrated_sensitivity(people, groups, model, permutations=0, splits=60)
        ideal = stats.pearsonr(truth.ravel(), contrasts(model).ravel()).statistic
        rows.append((found.slope, found.corrected_slope, found.corrected_correlation, ideal))
    raw, corrected, correlation, ideal = np.mean(np.asarray(rows, dtype=float), axis=0)
    assert abs(raw) < 0.75 * abs(slope)  # noise in the human contrasts shrinks the slope
    assert corrected == pytest.approx(slope, abs=0.06)
    assert correlation == pytest.approx(ideal, abs=0.06)


def test_reliability_is_that_of_the_noise() -> None:
    """Contrasts of variance v with noise of variance e have the reliability v / (v + e)."""
    for raters in (4, 20):
        found = []
        for seed in range(8):
            people, groups, _, truth = planted(seed, slope=0.0, raters=raters)
            noise = 0.25 / raters * 2 / 3  # of a contrast of three groups
            signal = float((truth**2).mean())
            value = split_half(people, groups, splits=50).reliability
            assert value is not None
            found.append(value - signal / (signal + noise))
        assert np.mean(found) == pytest.approx(0, abs=0.03)


def test_the_intervals_cover() -> None:
    """Raw correlation and slope; the target is their mean over many samples."""
    rows = []
    for seed in range(60):
        people, groups, model, _ = planted(seed, slope=0.5, own=0.2, items=60)
        found = calibrated_sensitivity(people, groups, model, permutations=0, splits=5)
        assert found.correlation_interval is not None
        assert found.slope_interval is not None
        rows.append((found.correlation, found.correlation_interval, found.slope, found.slope_interval))
    target = np.mean([row[0] for row in rows]), np.mean([row[2] for row in rows])  # type: ignore[arg-type]
    hits = [(row[1].low < target[0] < row[1].high, row[3].low < target[1] < row[3].high) for row in rows]
    assert (np.mean(hits, axis=0) >= 0.85).all()


def test_intervals_add_the_jackknife_over_items_and_over_the_raters_of_each_group() -> None:
    """Each item and each rater left out in turn, written out; raters of their own lenience make the second part matter."""
    people, groups, model, _ = planted(2, slope=0.5, own=0.2, items=25, raters=5)
    people = people + 0.4 * np.random.default_rng(7).normal(size=(1, 15))

    def slope(table: np.ndarray, answers: np.ndarray) -> float:
        found = calibrated_sensitivity(table, groups, answers, permutations=0, splits=1).slope
        assert found is not None
        return found

    def part(values: list[float]) -> float:
        return (len(values) - 1) * float(np.var(values))

    by_item = part([slope(np.delete(people, i, axis=0), np.delete(model, i, axis=0)) for i in range(25)])
    by_rater = 0.0
    for code in range(3):
        without = []
        for rater in np.flatnonzero(groups.codes == code):
            table = people.copy()
            table[:, rater] = np.nan
            without.append(slope(table, model))
        by_rater += part(without)
    assert by_rater > 0.2 * by_item
    found = calibrated_sensitivity(people, groups, model, permutations=0, splits=1)
    assert found.slope_interval is not None
    half = (found.slope_interval.high - found.slope_interval.low) / 2
    assert half == pytest.approx(1.959964 * (by_item + by_rater) ** 0.5, rel=1e-6)


def test_the_permutation_test_tells_people_from_noise() -> None:
    people, groups, model, _ = planted(1, slope=0.5)
    assert calibrated_sensitivity(people, groups, model, permutations=199, splits=5).p == pytest.approx(2 / 200)
    generator = np.random.default_rng(9)
    noise = [
        calibrated_sensitivity(
            generator.normal(size=(40, 36)), groups, generator.normal(size=(40, 3)), permutations=99, splits=5, seed=run
        ).p
        for run in range(40)
    ]
    assert sum(p is not None and p < 0.05 for p in noise) <= 6  # 2 expected


def test_unreliable_people_leave_the_corrected_values_undefined() -> None:
    generator = np.random.default_rng(3)
    groups = rater_groups(["a"] * 8 + ["b"] * 8)
    for _ in range(20):
        people = generator.normal(size=(30, 16))
        found = calibrated_sensitivity(people, groups, generator.normal(size=(30, 2)), permutations=0, splits=30)
        value = found.reliability.reliability
        if value is not None and value <= 0:
            assert (found.corrected_correlation, found.corrected_slope) == (None, None)
            assert "do not repeat" in found.reasons["corrected_slope"]
            assert found.correlation is not None
            break
    else:
        pytest.fail("no sample without reliability")


def test_a_model_that_ignores_the_group() -> None:
    people, groups, _, _ = planted(4, slope=0.0)
    model = np.repeat(np.random.default_rng(5).normal(size=(150, 1)), 3, axis=1)
    found = calibrated_sensitivity(people, groups, model, permutations=20, splits=5)
    assert found.slope == pytest.approx(0)
    assert found.correlation is None
    assert found.reasons["correlation"] == found.reasons["p"] == "the model's ratings do not vary with the group"
    assert found.p is None


def test_undefined_with_a_reason() -> None:
    single = calibrated_sensitivity(np.ones((4, 6)), rater_groups(["a"] * 6), np.ones((4, 1)))
    assert single.reasons["correlation"] == "fewer than 2 groups have enough raters"
    flat = calibrated_sensitivity(
        np.ones((4, 12)), rater_groups(["a"] * 6 + ["b"] * 6), np.random.default_rng(0).random((4, 2))
    )
    assert flat.reasons["slope"] == "the human contrasts do not vary"
    assert flat.reliability.reason == "the human contrasts do not vary"
    few = calibrated_sensitivity(
        np.random.default_rng(0).random((2, 12)), rater_groups(["a"] * 6 + ["b"] * 6), np.ones((2, 2))
    )
    assert few.reasons["p"].startswith("fewer than 3 items")
    lonely = split_half(np.random.default_rng(0).random((9, 3)), rater_groups(["a", "b", "b"], least=1))
    assert lonely.reason == "a group has fewer than 2 raters"


def test_halves_hold_every_rater_once() -> None:
    """With two raters a group the halves are the raters themselves, so each split is one of four arrangements."""
    table = np.random.default_rng(6).random((20, 4))
    groups = rater_groups(["a", "a", "b", "b"], least=1)
    one = split_half(table, groups, splits=1, seed=3)
    possible = []
    for second_a in (0, 1):
        codes = np.full((2, 4), -1)
        codes[0, [0, 2 + second_a]] = codes[1, [1, 3 - second_a]] = [0, 1]
        a, b = (contrasts(group_means(table, code[None, :], 2).means)[..., 0] for code in codes)
        possible.append(stats.pearsonr(a.ravel(), b.ravel()).statistic)
    assert min(abs(one.half - value) for value in possible if one.half is not None) < 1e-12


def test_bad_input() -> None:
    groups = rater_groups(["a"] * 6 + ["b"] * 6)
    with pytest.raises(BadInput, match="4 items x 2 groups"):
        calibrated_sensitivity(np.ones((4, 12)), groups, np.ones((4, 3)))
    with pytest.raises(BadInput, match="12 in the groups"):
        split_half(np.ones((4, 11)), groups)
    with pytest.raises(BadInput, match="at least one split"):
        split_half(np.ones((4, 12)), groups, splits=0)


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


def test_bad_input_label_distributions() -> None:
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
