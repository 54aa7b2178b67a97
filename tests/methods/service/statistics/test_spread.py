"""Gap, ratio, deviation, and the share of groups over a threshold."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.spread import share_over_threshold, spread


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
