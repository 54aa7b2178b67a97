"""The two-way cluster variance against textbook pieces and simulation; when a name counts as dominating."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evenhand.methods.service.statistics.variance import Part, cluster_variance, dominating_names
from evenhand.statistics.cells import Cells


def as_cells(values: np.ndarray, groups: list[int]) -> Cells:
    return Cells(values, np.ones(values.shape, dtype=np.int64), np.asarray(groups))


def test_over_names_alone_it_is_welch() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(7), generator.random(5)
    variance = cluster_variance([Part(1, a[:, None]), Part(-1, b[:, None])])
    assert variance is not None
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert (a.mean() - b.mean()) / variance.standard_error == pytest.approx(welch.statistic)
    assert variance.df == pytest.approx(welch.df)


def test_over_stems_alone_it_is_a_paired_t() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random((1, 9)), generator.random((1, 9))
    variance = cluster_variance([Part(1, a), Part(-1, b)])
    assert variance is not None
    paired = stats.ttest_rel(a[0], b[0])
    assert (a.mean() - b.mean()) / variance.standard_error == pytest.approx(paired.statistic)
    assert variance.df == pytest.approx(8)


def test_components_are_those_of_a_two_way_analysis_of_variance() -> None:
    x = np.random.default_rng(2).random((5, 6))
    variance = cluster_variance([Part(1, x)])
    assert variance is not None
    residual = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    mean_square = (residual**2).sum() / (4 * 5)
    assert variance.names == pytest.approx(x.mean(1).var(ddof=1) / 5)
    assert variance.stems == pytest.approx(x.mean(0).var(ddof=1) / 6)
    assert variance.cells == pytest.approx(mean_square / 30)
    assert variance.total == pytest.approx(max(variance.names + variance.stems - variance.cells, variance.names))


def test_unbiased_when_names_stems_and_cells_are_redrawn() -> None:
    generator = np.random.default_rng(3)
    rates, estimates = [], []
    for _ in range(3000):
        x = generator.normal(0, 1, (6, 1)) + generator.normal(0, 0.7, 8) + generator.normal(0, 1.5, (6, 8))
        variance = cluster_variance([Part(1, x)])
        assert variance is not None
        rates.append(x.mean())
        estimates.append(variance.names + variance.stems - variance.cells)
    assert np.mean(estimates) == pytest.approx(np.var(rates), rel=0.08)


def test_few_missing_cells_change_little() -> None:
    generator = np.random.default_rng(4)
    x = generator.normal(0, 1, (8, 1)) + generator.normal(0, 1, 20) + generator.normal(0, 0.5, (8, 20))
    holes = x.copy()
    holes[generator.random(x.shape) < 0.05] = np.nan
    full, part = cluster_variance([Part(1, x)]), cluster_variance([Part(1, holes)])
    assert full is not None
    assert part is not None
    assert part.standard_error == pytest.approx(full.standard_error, rel=0.1)


def test_a_fixed_name_adds_no_name_variance() -> None:
    x = np.full((8, 10), 0.2)
    x[0] = 0.9
    free, held = cluster_variance([Part(1, x)]), cluster_variance([Part(1, x, fixed=0)])
    assert free is not None
    assert held is not None
    assert free.standard_error == pytest.approx(0.7 / 8)
    assert held.total == 0
    assert math.isinf(held.df)


def test_nothing_to_resample() -> None:
    assert cluster_variance([Part(1, np.ones((1, 1))), Part(-1, np.zeros((1, 1)))]) is None


def test_an_overwhelming_name_is_found_and_a_trifle_is_not() -> None:
    generator = np.random.default_rng(5)
    rate = np.clip(np.array([0.95] + [0.2] * 7 + [0.15] * 8)[:, None] + generator.normal(0, 0.05, (16, 1)), 0, 1)
    values = generator.binomial(5, np.broadcast_to(rate, (16, 32))) / 5
    groups = [3] * 8 + [0] * 8
    assert dominating_names(as_cells(values, groups)) == {3: 0}
    even = np.zeros((16, 32))
    even[4, 4] = 0.2
    assert dominating_names(as_cells(even, groups)) == {}
    assert dominating_names(as_cells(np.zeros((16, 32)), groups)) == {}


def test_groups_of_three_names_are_too_small_to_tell() -> None:
    values = np.zeros((3, 10))
    values[0] = 1
    assert dominating_names(as_cells(values, [0, 0, 0])) == {}


def test_normal_names_are_rarely_called_dominating() -> None:
    generator = np.random.default_rng(6)
    found = sum(bool(dominating_names(as_cells(generator.random((16, 1)), [0] * 8 + [1] * 8))) for _ in range(500))
    assert found <= 15
