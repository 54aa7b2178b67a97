"""Spread over groups; price of safety, its disparity, the Pareto front and rank correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.spread import (
    pareto_front,
    price_disparity,
    price_of_safety,
    rank_correlation,
    share_over_threshold,
    spread,
)


def test_spread_of_three_groups_with_draws() -> None:
    rates = [0.1, 0.4, 0.2]
    draws = np.random.default_rng(0).normal(rates, 0.02, (4000, 3))
    found = spread(rates, [7, 8, 9], draws)
    assert (found.highest, found.lowest) == (8, 7)
    assert found.gap.estimate == pytest.approx(0.3)
    assert found.ratio.estimate == pytest.approx(4)
    assert found.deviation.estimate == pytest.approx(np.std(rates, ddof=1))
    for statistic in (found.gap, found.ratio, found.deviation):
        assert statistic.interval is not None
        assert statistic.interval.low < statistic.estimate < statistic.interval.high  # type: ignore[operator]


def test_gap_of_equal_groups_shows_its_upward_bias() -> None:
    draws = np.random.default_rng(0).normal(0.2, 0.05, (2000, 6))
    found = spread([0.2] * 6, range(6), draws)
    assert found.gap.bias is not None
    assert found.gap.bias > 0.08


def test_zero_rates() -> None:
    found = spread([0.0, 0.2], [0, 1], np.zeros((10, 2)))
    assert found.ratio.estimate is None
    assert found.ratio.reason == "the lowest rate is 0"
    often_zero = np.array([[0.0, 0.2]] * 8 + [[0.1, 0.2]] * 2)
    found = spread([0.05, 0.2], [0, 1], often_zero)
    assert found.ratio.estimate == pytest.approx(4)
    assert found.ratio.interval is None
    assert "5 %" in found.ratio.reason
    assert spread([0.1, 0.2], [0, 1]).gap.interval is None
    with pytest.raises(BadInput, match="at least two groups"):
        spread([0.1], [0])


def test_share_over_threshold_looks_at_every_group() -> None:
    assert share_over_threshold([0.9, 0.1, None, 0.2], 0.15) == pytest.approx(2 / 3)
    assert share_over_threshold([0.9, 0.1], 0.15) == 0.5
    assert share_over_threshold([None], 0.1) is None


def draws(centre: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(centre, 0.01, 3000)


def test_price_with_interval() -> None:
    found = price_of_safety(
        (0.1, 0.3), (0.6, 0.9), x_draws=(draws(0.1, 0), draws(0.3, 1)), y_draws=(draws(0.6, 2), draws(0.9, 3))
    )
    assert found.price == pytest.approx(2 / 3)
    assert found.interval is not None
    assert found.interval.low < 2 / 3 < found.interval.high
    assert price_of_safety((0.1, 0.3), (0.6, 0.9)).interval is None


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ((0.1, 0.3), (0.6, 0.605), "less than 0.01"),
        ((0.0, 0.3), (0.6, 0.9), "declines everything or nothing"),
        ((0.1, 1.0), (0.6, 0.9), "declines everything or nothing"),
        ((None, 0.3), (0.6, 0.9), "a rate is missing"),
    ],
)
def test_undefined_prices(x: tuple[float | None, float], y: tuple[float, float], reason: str) -> None:
    found = price_of_safety(x, y)
    assert found.price is None
    assert reason in found.reason


def test_a_change_of_exactly_one_point_is_defined() -> None:
    assert price_of_safety((0.1, 0.2), (0.90, 0.91)).price == pytest.approx(10)


def test_uncertain_change_gives_no_interval() -> None:
    noisy = (np.zeros(100), np.random.default_rng(0).normal(0, 0.02, 100))
    found = price_of_safety((0.1, 0.2), (0.9, 0.92), x_draws=noisy, y_draws=noisy)
    assert found.price is not None
    assert found.interval is None
    assert "5 %" in found.reason
    with pytest.raises(BadInput, match="probabilities"):
        price_of_safety((0.1, 1.2), (0.1, 0.2))


def test_disparity() -> None:
    prices = [
        price_of_safety(
            (0.1, 0.1 + rise),
            (0.5, 0.9),
            x_draws=(draws(0.1, 0), draws(0.1 + rise, n)),
            y_draws=(draws(0.5, 8), draws(0.9, 9)),
        )
        for n, rise in ((1, 0.1), (2, 0.3))
    ]
    undefined = price_of_safety((0.0, 0.1), (0.5, 0.9))
    found = price_disparity([undefined, *prices])
    assert found.disparity == pytest.approx(0.5)
    assert (found.dearest, found.cheapest) == (2, 1)
    assert found.interval is not None
    assert found.interval.low < 0.5 < found.interval.high
    assert price_disparity([undefined, prices[0]]).disparity is None


def test_pareto_front() -> None:
    x, y = [0.1, 0.2, 0.3, 0.25, 0.1, np.nan], [0.5, 0.8, 0.7, 0.9, 0.5, 1.0]
    assert pareto_front(x, y) == (0, 4, 1, 3)
    assert pareto_front([], []) == ()
    with pytest.raises(BadInput, match="one value each"):
        pareto_front([0.1], [0.1, 0.2])


def test_rank_correlation_equals_scipy() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, 12) / 5, generator.integers(0, 5, 12) / 5
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation([0.1, 0.2], [0.1, 0.2]) is None
    assert rank_correlation([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]) is None
