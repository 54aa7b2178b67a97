"""The GRASP table: loops in plain Python for every permutation, suppression, undefined cells, planted groups."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.grasp import grasp, two_sided_p
from evenhand.methods.pluralism.rating.statistics.grasp_measures import MEASURES, cross_reliability
from evenhand.methods.pluralism.rating.statistics.raters import shuffled_codes
from evenhand.statistics.krippendorff import krippendorff
from evenhand.statistics.multiplicity import benjamini_hochberg


def rated(seed: int, items: int = 40, raters: int = 20) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centre = generator.integers(0, 3, (items, 1))
    return np.where(generator.random((items, raters)) < 0.5, centre, generator.integers(0, 3, (items, raters)))


RACES = ["a"] * 6 + ["b"] * 8 + ["c"] * 3 + ["Other"] * 2 + [None]
GENDERS = ["Man", "Woman"] * 10


def test_every_permuted_value_is_the_measure_of_permuted_profiles() -> None:
    labels = rated(0)
    labels[3, 4] = -1
    draws = 30
    found = grasp(labels, {"race": RACES, "gender": GENDERS}, count=3, draws=draws, seed=5)
    orders = np.concatenate(list(shuffled_codes(np.arange(20), draws=draws, seed=5, chunk=draws)))
    race = np.array([x if x in ("a", "b", "c") else "" for x in RACES])

    def indices(order: np.ndarray) -> tuple[float, float, float]:
        ours = labels[:, race[order] == "b"]
        theirs = labels[:, (race[order] != "b") & (race[order] != "")]
        alpha, cross = krippendorff(ours, count=3, draws=0).coefficient, cross_reliability(ours, theirs).coefficient
        assert alpha is not None
        assert cross is not None
        return alpha, cross, alpha / cross

    observed = indices(np.arange(20))
    drawn = np.array([indices(order) for order in orders])
    for at, measure in enumerate(("irr", "xrr", "gai")):
        row = found.of("race", "b", measure)  # type: ignore[arg-type]
        assert row.value == pytest.approx(observed[at])
        assert row.null_median == pytest.approx(np.median(drawn[:, at]))
        above = observed[at] >= np.median(drawn[:, at])
        beyond = drawn[:, at] > observed[at] if above else drawn[:, at] < observed[at]
        assert row.p_one_sided == pytest.approx(beyond.mean())
        assert row.p == pytest.approx(min(1, 2 * (beyond.sum() + 1) / (draws + 1)))
        assert (row.raters, row.others) == (8, 9)


def test_the_index_of_an_axis_is_tested_by_the_largest_index_of_each_shuffle() -> None:
    labels, draws = rated(3, items=60), 40
    found = grasp(labels, {"race": RACES}, count=3, draws=draws, seed=6)
    race = np.array([x if x in ("a", "b", "c") else "" for x in RACES])

    def index(order: np.ndarray) -> float:
        values = []
        for group in ("a", "b"):  # c is suppressed, and among the others
            ours, theirs = labels[:, race[order] == group], labels[:, (race[order] != group) & (race[order] != "")]
            alpha, cross = krippendorff(ours, count=3, draws=0).coefficient, cross_reliability(ours, theirs).coefficient
            assert alpha is not None
            assert cross is not None
            values.append(alpha / cross)
        return max(values)

    orders = np.concatenate(list(shuffled_codes(np.arange(20), draws=draws, seed=6, chunk=draws)))
    observed, drawn = index(np.arange(20)), np.array([index(order) for order in orders])
    (axis,) = found.axes
    assert axis.index == pytest.approx(observed)
    assert axis.null_median == pytest.approx(np.median(drawn))
    assert axis.p == pytest.approx((1 + (drawn >= observed).sum()) / (draws + 1))


def test_counts_suppression_and_totals() -> None:
    found = grasp(rated(1), {"race": RACES}, count=3, draws=0)
    small = found.of("race", "c", "irr")
    assert (small.value, small.raters, small.reason) == (None, 3, "fewer than 5 raters: suppressed")
    assert found.of("race", "a", "xrr").others == 11  # the suppressed group is among the others
    (axis,) = found.axes
    assert dict(axis.left_out) == {"Other": 2, "missing": 1}
    assert dict(axis.suppressed) == {"c": 3}
    assert found.raters == 20
    assert len(found.rows) == 3 * len(MEASURES)
    assert found.family_size == 0
    lenient = grasp(rated(1), {"race": RACES}, count=3, least=3, draws=0)
    assert lenient.of("race", "c", "irr").value is not None


def test_small_others_and_everyone() -> None:
    few = grasp(rated(2), {"g": ["x"] * 16 + ["y"] * 4}, count=3, draws=0)
    assert few.of("g", "x", "irr").value is not None
    assert few.of("g", "x", "xrr").reason == "fewer than 5 raters outside the group: suppressed"
    everyone = grasp(rated(2), {"g": ["x"] * 20}, count=3, draws=20)
    assert everyone.of("g", "x", "irr").value is not None
    assert everyone.of("g", "x", "gai").reason == "the group is everyone"
    assert everyone.axes[0].index is None
    assert everyone.axes[0].reason
    nobody = grasp(rated(2), {"g": [None] * 20}, count=3, draws=20)
    assert nobody.rows == ()


def test_one_rater_has_no_agreement_inside() -> None:
    found = grasp(rated(2), {"g": ["x"] + ["y"] * 19}, count=3, least=1, draws=0)
    assert found.of("g", "x", "irr").reason == "agreement inside a group needs 2 raters"
    assert found.of("g", "x", "xrr").value is not None


def test_the_association_index_is_undefined_without_agreement_across() -> None:
    # The two groups say the opposite of each other.
    item = np.tile([0, 1], 10)[:, None]
    labels = np.concatenate([np.repeat(item, 5, axis=1), np.repeat(1 - item, 5, axis=1)], axis=1)
    found = grasp(labels, {"g": ["x"] * 5 + ["y"] * 5}, count=2, draws=0)
    assert found.of("g", "x", "irr").value == pytest.approx(1)
    cross = found.of("g", "x", "xrr").value
    assert cross is not None
    assert cross < 0
    assert found.of("g", "x", "gai").value is None
    assert "not positive" in found.of("g", "x", "gai").reason


def test_a_planted_group_is_found_and_random_ones_are_not() -> None:
    generator = np.random.default_rng(7)
    base = generator.integers(0, 3, (150, 1))
    own = generator.integers(0, 3, (150, 1))
    truth = np.repeat(np.array([True, False]), [8, 22])
    centre = np.where(truth[None, :], own, base)
    labels = np.where(generator.random((150, 30)) < 0.6, centre, generator.integers(0, 3, (150, 30)))
    planted = ["in" if x else "out" for x in truth]
    random = ["u" if x else "v" for x in generator.permutation(truth)]
    found = grasp(labels, {"planted": planted, "random": random}, count=3, draws=499)
    row = found.of("planted", "in", "xrr")
    assert row.p == pytest.approx(2 / 500)
    assert row.q is not None
    assert row.q < 0.05
    assert found.axes[1].p is not None
    assert found.axes[1].p > 0.05
    tested = [one for one in found.rows if one.p is not None]
    assert found.family_size == len(tested)
    assert [one.q for one in tested] == pytest.approx(list(benjamini_hochberg([one.p for one in tested]).values))


def test_intersections_and_the_index_of_an_axis() -> None:
    labels = rated(3, raters=24)
    demographics = {"race": ["a", "b"] * 12, "gender": (["Man"] * 2 + ["Woman"] * 2) * 6}
    found = grasp(labels, demographics, count=3, intersections=[("race", "gender")], draws=99)
    axis = next(axis for axis in found.axes if axis.axis == "race x gender")
    values = {row.group: row.value for row in found.rows if row.axis == "race x gender" and row.measure == "gai"}
    assert set(values) == {"a, Man", "a, Woman", "b, Man", "b, Woman"}
    assert axis.index == max(value for value in values.values() if value is not None)
    assert axis.group is not None
    assert values[axis.group] == axis.index
    assert axis.p is not None
    assert axis.null_median is not None
    with pytest.raises(BadInput, match="given twice"):
        grasp(labels, demographics, count=3, intersections=[("race", "gender")] * 2)


def test_two_sided_p_counts_ties_and_the_observed_arrangement() -> None:
    drawn = np.array([float(sum(x)) for x in itertools.product((0, 1), repeat=3)])
    assert two_sided_p(3.0, drawn) == pytest.approx(2 * 2 / 9)
    assert two_sided_p(1.5, drawn) == 1.0
    assert two_sided_p(3.0, np.full(10, np.nan)) is None
    assert two_sided_p(3.0, np.append(np.full(1, np.nan), drawn)) is None  # over 5 % undefined


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="at least one demographic axis"):
        grasp(rated(0), {}, count=3)
    with pytest.raises(BadInput, match="19 values for 20 raters"):
        grasp(rated(0), {"race": RACES[:19]}, count=3)
    with pytest.raises(BadInput, match="outside -1 to 1"):
        grasp(rated(0), {"race": RACES}, count=2)
    with pytest.raises(BadInput, match="No measure"):
        grasp(rated(0), {"race": RACES}, count=3, draws=0).of("race", "z", "irr")
