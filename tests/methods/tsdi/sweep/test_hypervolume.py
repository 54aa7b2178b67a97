"""The dominated area and its front: brute force as oracle, invariants, missing cells, coverage."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.tsdi.sweep.hypervolume import (
    front_area,
    front_area_difference,
    hypervolume,
    pareto_indexes,
)

NAN = float("nan")
GRID = st.integers(0, 10).map(lambda k: k / 10)
POINTS = st.lists(st.tuples(GRID, GRID), min_size=1, max_size=8)


def cells(points: Any) -> float:
    """The area by counting the cells of the 10 x 10 grid that some point covers."""
    return sum(
        any(x >= (i + 1) / 10 - 1e-9 and y >= (j + 1) / 10 - 1e-9 for x, y in points)
        for i, j in itertools.product(range(10), repeat=2)
    ) / 100  # fmt: skip


def inclusion_exclusion(points: Any) -> float:
    """The area of a union of rectangles from the origin, by intersections."""
    return sum(
        (-1) ** (size + 1) * min(x for x, _ in some) * min(y for _, y in some)
        for size in range(1, len(points) + 1)
        for some in itertools.combinations(points, size)
    )


@given(POINTS)
def test_it_is_the_brute_force_area(points: list[tuple[float, float]]) -> None:
    assert hypervolume(points) == pytest.approx(cells(points), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=7))
def test_it_is_the_area_by_inclusion_and_exclusion(points: list[tuple[float, float]]) -> None:
    assert hypervolume(points) == pytest.approx(inclusion_exclusion(points), abs=1e-9)


@given(POINTS, GRID, GRID, st.randoms())
def test_it_grows_and_does_not_mind_order_or_beaten_points(
    points: list[tuple[float, float]], x: float, y: float, random: Any
) -> None:
    area = hypervolume(points)
    assert area is not None
    more = hypervolume([*points, (x, y)])
    assert more is not None
    assert more >= area - 1e-12
    if any(a >= x and b >= y for a, b in points):
        assert more == pytest.approx(area, abs=1e-12)
    shuffled = list(points)
    random.shuffle(shuffled)
    assert hypervolume(shuffled) == pytest.approx(area, abs=1e-12)
    assert hypervolume([points[at] for at in pareto_indexes(points)]) == pytest.approx(area, abs=1e-12)
    assert hypervolume([*points, (NAN, 1.0)]) == pytest.approx(area, abs=1e-12)


@given(POINTS)
def test_the_front_holds_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    front = pareto_indexes(points)
    for at, (x, y) in enumerate(points):
        beaten = any(a >= x and b >= y and (a > x or b > y) for a, b in points)
        assert (at in front) == (not beaten)
    assert [points[at][0] for at in front] == sorted((points[at][0] for at in front), reverse=True)


def test_edges() -> None:
    assert hypervolume([]) is None
    assert hypervolume([(NAN, 0.5)]) is None
    assert pareto_indexes([(NAN, 0.5), (0.1, 0.1), (0.1, 0.1)]) == (1, 2)  # equal points all stay
    assert hypervolume([(1, 1)]) == 1
    assert hypervolume([(0, 1), (1, 0)]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hypervolume([(0.5, 1.1)]), "outside 0 to 1"),
        (lambda: hypervolume([0.5, 0.5]), "settings, 2"),
        (lambda: pareto_indexes([(0.5, float("inf"))]), "outside 0 to 1"),
        (lambda: front_area([0.5], [[0.5]]), "settings, prompts"),
        (lambda: front_area([[0.5]], [[0.5], [0.5]]), "1 settings, compliance 2"),
        (lambda: front_area([[0.5]], [[2.0]]), "a value outside 0 to 1"),
        (lambda: front_area_difference(([[1.0]], [[1.0]]), ([[1.0, 1.0]], [[1.0]])), "unequal numbers of prompts"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        call()


def simulated(rng: np.random.Generator, settings: int, prompts: int, low: float, high: float) -> Any:
    """Yes/no cells with a curve of rates and an effect of each prompt that all settings share; and the rates."""
    rates = np.linspace(low, high, settings)
    own = rng.normal(size=(settings, prompts)) + rng.normal(size=prompts)
    return (own < stats.norm.ppf(rates)[:, None] * np.sqrt(2)).astype(float), rates


def test_the_area_is_that_of_the_mean_rates() -> None:
    rng = np.random.default_rng(0)
    safety, comply = rng.random((4, 30)), rng.random((4, 20))
    found = front_area(safety, comply, draws=400)
    expected = np.stack([safety.mean(axis=1), comply.mean(axis=1)], axis=1)
    assert found.points == pytest.approx(expected)
    assert found.value == pytest.approx(hypervolume(expected))
    assert found.front == pareto_indexes(expected)
    assert found.interval is not None
    assert found.bias is not None
    assert found.value is not None
    centre = (found.interval.low + found.interval.high) / 2
    assert centre == pytest.approx(found.value - found.bias)
    again = front_area(safety, comply, draws=400)
    assert again.interval == found.interval


def test_settings_in_another_order_have_the_same_interval() -> None:
    rng = np.random.default_rng(0)
    safety, comply = rng.random((4, 30)), rng.random((4, 20))
    one, two = (
        front_area(safety, comply, draws=300).interval,
        front_area(safety[::-1], comply[::-1], draws=300).interval,
    )
    assert one is not None
    assert two is not None
    assert (one.low, one.high) == (pytest.approx(two.low), pytest.approx(two.high))


def test_a_draw_is_the_area_over_the_drawn_prompts() -> None:
    from evenhand.statistics.resampling import cluster_weights

    rng = np.random.default_rng(2)
    safety, comply = rng.random((3, 12)), rng.random((3, 9))
    safety[1, 4] = NAN
    drawn = front_area(safety, comply, draws=50, seed=7).draws
    assert drawn is not None
    weights = cluster_weights(12, 50, 7), cluster_weights(9, 50, 8)
    for at in range(50):
        points = [
            (
                np.nansum(s * weights[0][at]) / weights[0][at][np.isfinite(s)].sum(),
                np.average(c, weights=weights[1][at]),
            )
            for s, c in zip(safety, comply, strict=True)
        ]
        assert drawn[at] == pytest.approx(hypervolume(points), abs=1e-12)


def test_missing_cells_are_left_out_and_a_setting_without_cells_has_no_point() -> None:
    safety = [[1.0, NAN, 0.0, 1.0], [NAN, NAN, NAN, NAN]]
    comply = [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    found = front_area(safety, comply, draws=200)
    assert found.value == pytest.approx(2 / 3 * 2 / 3)
    assert found.front == (0,)
    assert np.isnan(found.points[1, 0])
    none = front_area([[NAN]], [[1.0]])
    assert (none.value, none.interval) == (None, None)
    assert "no setting" in none.reason


def test_without_spread_or_prompts_there_is_no_interval() -> None:
    flat = front_area(np.ones((2, 5)), np.ones((2, 5)), draws=100)
    assert (flat.value, flat.interval) == (1.0, None)
    assert "same area" in flat.reason
    single = front_area([[1.0]], [[1.0, 0.0]])
    assert (single.value, single.interval) == (0.5, None)
    assert "fewer than 2" in single.reason


def test_the_interval_covers() -> None:
    inside = 0
    for k in range(300):
        rng = np.random.default_rng([9, k])
        (safety, up), (comply, down) = simulated(rng, 6, 80, 0.5, 0.95), simulated(rng, 6, 80, 0.95, 0.5)
        found = front_area(safety, comply, draws=300, seed=k)
        truth = hypervolume(np.stack([up, down], axis=1))
        assert found.interval is not None
        assert truth is not None
        inside += found.interval.low <= truth <= found.interval.high
    assert 0.91 <= inside / 300 <= 0.985


def test_the_interval_of_a_difference_is_paired_and_covers() -> None:
    inside, narrower = 0, 0
    for k in range(300):
        rng = np.random.default_rng([10, k])
        (safety, up), (comply, down) = simulated(rng, 8, 80, 0.5, 0.95), simulated(rng, 8, 80, 0.95, 0.55)
        first, second = (safety[::2], comply[::2]), (safety[1::2], comply[1::2])
        found = front_area_difference(first, second, draws=300, seed=k)
        areas = [hypervolume(np.stack([up[part], down[part]], axis=1)) for part in (slice(0, 8, 2), slice(1, 8, 2))]
        assert areas[0] is not None
        assert areas[1] is not None
        assert found.interval is not None
        assert found.other_points is not None
        inside += found.interval.low <= areas[1] - areas[0] <= found.interval.high
        if k < 20:
            alone = [front_area(*part, draws=300, seed=k).interval for part in (first, second)]
            narrower += found.interval.width < sum(one.width for one in alone if one) / np.sqrt(2)
    assert 0.91 <= inside / 300 <= 0.985
    assert narrower >= 18  # unpaired widths would add in squares


def test_a_difference_turns_with_its_sets_and_is_zero_of_one() -> None:
    rng = np.random.default_rng(4)
    first, second = ((rng.random((3, 20)), rng.random((3, 15))) for _ in range(2))
    there, back = front_area_difference(first, second, draws=200), front_area_difference(second, first, draws=200)
    assert there.value is not None
    assert back.value == pytest.approx(-there.value)
    assert there.interval is not None
    assert back.interval is not None
    assert back.interval.low == pytest.approx(-there.interval.high)
    same = front_area_difference(first, first, draws=200)
    assert (same.value, same.interval) == (0.0, None)
    empty = front_area_difference(first, (np.full((1, 20), NAN), np.ones((1, 15))))
    assert (empty.value, empty.interval) == (None, None)


def test_many_settings_are_quick() -> None:
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    found = front_area(rng.random((60, 300)), rng.random((60, 300)), draws=4000)
    assert found.interval is not None
    assert time.perf_counter() - start < 20
