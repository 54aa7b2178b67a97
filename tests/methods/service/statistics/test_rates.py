"""Rates: the cluster variance against textbook pieces, correction for the grader, and coverage on simulated tables."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.rates import (
    Part,
    Validation,
    cluster_variance,
    correct_rate,
    corrected_difference,
    dominating_names,
)
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


FLAT = np.full(4000, 0.35)


def test_the_formula() -> None:
    found = correct_rate(0.35, FLAT, Validation(tp=80, fn=20, tn=90, fp=10))
    assert found.estimate == pytest.approx((0.35 + 0.9 - 1) / (0.8 + 0.9 - 1))
    assert found.interval is not None
    assert found.interval.low < 0.357 < found.interval.high


def test_a_perfect_small_sample_does_not_claim_a_perfect_grader() -> None:
    few = correct_rate(0.35, FLAT, Validation(5, 0, 5, 0))
    many = correct_rate(0.35, FLAT, Validation(500, 0, 500, 0))
    assert few.estimate == many.estimate == pytest.approx(0.35)
    assert few.interval is not None
    assert many.interval is not None
    assert few.interval.width > 10 * many.interval.width > 0


def test_coverage_with_both_sources_of_error() -> None:
    generator = np.random.default_rng(0)
    truth, sensitivity, specificity = 0.3, 0.8, 0.95
    hits = 0
    for number in range(300):
        rate = truth * sensitivity + (1 - truth) * (1 - specificity)
        observed = generator.binomial(400, rate) / 400
        tp, tn = generator.binomial(60, sensitivity), generator.binomial(60, specificity)
        draws = generator.binomial(400, observed, 1000) / 400
        found = correct_rate(observed, draws, Validation(tp, 60 - tp, tn, 60 - tn), seed=number)
        assert found.interval is not None
        hits += found.interval.low <= truth <= found.interval.high
    assert 0.91 <= hits / 300 <= 0.99


def test_a_sample_stratified_by_the_graders_label_is_corrected_by_predictive_values() -> None:
    # 1,000 true positives and 4,000 negatives, graded with sensitivity .5 and specificity .95: 700 flagged, 4,300 not.
    # 100 flagged and 100 unflagged rows are then read by people.
    found = correct_rate(700 / 5000, np.full(2000, 0.14), Validation(tp=71, fp=29, fn=12, tn=88, design="by_label"))
    assert found.estimate == pytest.approx(0.14 * 0.71 + 0.86 * 0.12)
    assert found.interval is not None
    assert found.interval.low < 0.2 < found.interval.high
    # Reading sensitivity off that sample as if it were random would claim .86 and land far below the truth.
    naive = correct_rate(0.14, np.full(2000, 0.14), Validation(tp=71, fp=29, fn=12, tn=88))
    assert naive.estimate == 0.0


def test_undefined_says_why() -> None:
    cases = [
        (Validation(0, 0, 5, 1), "no human-labelled positive"),
        (Validation(5, 1, 0, 0), "no human-labelled negative"),
        (Validation(5, 5, 5, 5), "not above 1"),
        (Validation(0, 3, 4, 0, "by_label"), "no human label"),
    ]
    for validation, reason in cases:
        found = correct_rate(0.35, FLAT, validation)
        assert found.estimate is None
        assert found.draws is None
        assert reason in found.reason
    assert Validation(1, 1, 1, 1, "by_label").sensitivity is None
    unsure = correct_rate(0.35, FLAT, Validation(2, 1, 2, 1))
    assert unsure.estimate is not None
    assert unsure.interval is None
    assert "too few human labels" in unsure.reason
    with pytest.raises(BadInput, match="negative"):
        Validation(-1, 0, 0, 0)
    with pytest.raises(BadInput, match="not between 0 and 1"):
        correct_rate(1.2, FLAT, Validation(5, 1, 5, 1))


def test_difference_uses_each_groups_own_grader() -> None:
    good = correct_rate(0.35, FLAT, Validation(90, 10, 95, 5), stream=1)
    poor = correct_rate(0.35, FLAT, Validation(60, 40, 95, 5), stream=2)
    found = corrected_difference(poor, good)
    assert found.estimate == pytest.approx((0.30 / 0.55) - (0.30 / 0.85))
    assert found.interval is not None
    assert found.interval.low > 0
    nothing = corrected_difference(poor, correct_rate(0.35, FLAT, Validation(0, 0, 5, 1)))
    assert (nothing.estimate, nothing.reason) == (None, "no human-labelled positive in this group: sensitivity unknown")


@pytest.fixture(scope="module")
def bench(bench_file: Any) -> Any:
    return bench_file("interval_coverage")


@pytest.mark.parametrize("domination", ["none", "fixed"])
@pytest.mark.parametrize("names", [8, 16])
def test_default_interval_covers(bench: ModuleType, domination: str, names: int) -> None:
    row = bench.simulate(bench.Cell("logit", domination, names, 0.15, 0.15), 200, draws=200)
    assert 0.90 <= row.coverage["default"] <= 0.99
    assert row.coverage["Wald"] < 0.75
    if domination == "fixed":
        assert row.coverage["percentile"] > 0.98
        assert row.width["default"] < 0.6 * row.width["percentile"]


def test_expected_rates_are_exact(bench: ModuleType) -> None:
    import numpy as np

    effect = np.random.default_rng(0).normal(0.15, 0.2, 2_000_000)
    assert bench._expected("probability", 0.15, 0.2) == pytest.approx(np.clip(effect, 0, 1).mean(), abs=4e-4)
    assert bench._expected("logit", 0.15, 0.2) == pytest.approx((1 / (1 + np.exp(-effect))).mean(), abs=4e-4)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_primary_cell_lies_within_92_to_98_percent(bench: ModuleType) -> None:
    assert bench.main([]) == 0
