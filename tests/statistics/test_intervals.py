"""Closed-form intervals against statsmodels and scipy."""

from __future__ import annotations

import math

import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from evenhand.errors import BadInput
from evenhand.statistics.intervals import minimum_detectable, t_interval, t_quantile, wald_difference, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 7), (229, 576), (53, 576)])
def test_wilson_equals_statsmodels(k: int, n: int) -> None:
    ours = wilson(k, n)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


def test_published_wilson_values() -> None:
    for k, low, high in ((229, 0.3584, 0.4381), (53, 0.0710, 0.1184)):
        ours = wilson(k, 576)
        assert ours is not None
        assert (round(ours.low, 4), round(ours.high, 4)) == (low, high)
        assert "within-sample" in ours.method


def test_no_responses_is_undefined_and_too_many_successes_an_error() -> None:
    assert wilson(0, 0) is None
    assert wald_difference(0.5, 0, 0.5, 3) is None
    with pytest.raises(BadInput, match="impossible"):
        wilson(3, 2)


def test_wald_difference() -> None:
    ours = wald_difference(44 / 288, 288, 29 / 576, 576)
    assert ours is not None
    assert (round(ours.low, 2), round(ours.high, 2)) == (0.06, 0.15)


def test_t_interval_and_bounds() -> None:
    ours = t_interval(0.5, 0.1, 7.5)
    assert ours.high - 0.5 == pytest.approx(stats.t.ppf(0.975, 7.5) * 0.1)
    assert t_interval(0.9, 0.2, 5, bounds=(0, 1)).high == 1
    assert t_quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)


def test_minimum_detectable_gap() -> None:
    assert minimum_detectable(0.1, math.inf) == pytest.approx(0.1 * (1.959964 + 0.841621), abs=1e-5)
    assert minimum_detectable(0.1, 14) > minimum_detectable(0.1, math.inf)
