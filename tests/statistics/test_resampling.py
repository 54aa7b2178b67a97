"""The vectorised crossed bootstrap against a loop that rebuilds the table for every replicate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.statistics import resampling
from evenhand.statistics.cells import Cells, group_rate
from evenhand.statistics.resampling import calibrate, cluster_weights, crossed_bootstrap, less_bias, percentile


def make(names: tuple[int, ...] = (4, 3), stems: int = 5, seed: int = 0, missing: float = 0.0) -> Cells:
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(names)), names)
    values = generator.integers(0, 6, (groups.size, stems)) / 5
    values[generator.random(values.shape) < missing] = np.nan
    return Cells(values, np.full(values.shape, 5), groups)


def loop(cells: Cells, draws: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    stems = cells.values.shape[1]
    out = np.empty((draws, len(cells.codes)))
    for draw in range(draws):
        columns = generator.integers(0, stems, stems)
        for at, code in enumerate(cells.codes):
            rows = np.flatnonzero(cells.groups == code)
            chosen = generator.choice(rows, rows.size)
            rate = group_rate(cells.values[np.ix_(chosen, columns)])
            out[draw, at] = np.nan if rate is None else rate
    return out


@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_equals_a_per_replicate_loop_within_monte_carlo_error(missing: float) -> None:
    cells = make(seed=2, missing=missing)
    ours, plain = crossed_bootstrap(cells, draws=20_000, seed=1).rates, loop(cells, 4_000, 2)
    for at in range(2):
        mine, other = ours[:, at][np.isfinite(ours[:, at])], plain[:, at][np.isfinite(plain[:, at])]
        assert mine.mean() == pytest.approx(other.mean(), abs=4 * other.std() / 60)
        assert mine.std() == pytest.approx(other.std(), rel=0.06)
        for q in (0.025, 0.5, 0.975):
            assert np.quantile(mine, q) == pytest.approx(np.quantile(other, q), abs=0.03)
    known, other_known = ours[np.isfinite(ours).all(axis=1)], plain[np.isfinite(plain).all(axis=1)]
    assert np.corrcoef(known.T)[0, 1] == pytest.approx(np.corrcoef(other_known.T)[0, 1], abs=0.06)


def test_each_draw_is_the_weighted_mean_it_claims_to_be() -> None:
    cells = make()
    drawn = crossed_bootstrap(cells, draws=50, seed=9).rates
    start = 0
    for means, weights in resampling.per_stem_draws(cells, draws=50, seed=9):
        for draw in range(len(weights)):
            expected = np.average(means[:, draw, :], axis=1, weights=weights[draw])
            assert drawn[start + draw] == pytest.approx(expected)
        start += len(weights)
    assert start == 50


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = make(missing=0.2, seed=4)
    whole = crossed_bootstrap(cells, draws=500, seed=3).rates
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 70)
    np.testing.assert_array_equal(whole, crossed_bootstrap(cells, draws=500, seed=3).rates)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_mean_of_the_draws_is_close_to_the_estimate(seed: int) -> None:
    cells = make(names=(6, 5), stems=8, seed=seed)
    drawn = crossed_bootstrap(cells, draws=4000, seed=seed)
    for code in (0, 1):
        rate = group_rate(cells.of(code))
        assert drawn.of(code).mean() == pytest.approx(rate, abs=6 * drawn.of(code).std() / np.sqrt(4000) + 1e-12)


def test_stems_are_shared_by_groups_so_their_effect_cancels_in_a_difference() -> None:
    stem = np.linspace(0, 1, 6)
    cells = Cells(np.tile(stem, (8, 1)), np.ones((8, 6), dtype=np.int64), np.repeat([0, 1], 4))
    drawn = crossed_bootstrap(cells, draws=200)
    assert drawn.of(0).std() > 0.05
    assert np.abs(drawn.difference(0, 1)).max() < 1e-12


def test_units_and_seeds() -> None:
    assert crossed_bootstrap(make(), draws=10).unit == "names and stems"
    assert crossed_bootstrap(make(stems=1), draws=10).unit == "names"
    assert crossed_bootstrap(make(names=(1, 1)), draws=10).unit == "stems"
    one, two, three = (crossed_bootstrap(make(), draws=10, seed=s).rates for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_a_group_keeps_its_draws_when_another_group_is_added() -> None:
    cells = make(names=(4, 3, 5))
    pair = cells.rows(cells.groups != 1)
    np.testing.assert_allclose(crossed_bootstrap(cells, draws=20).of(2), crossed_bootstrap(pair, draws=20).of(2))


def test_ratios_are_undefined_over_zero() -> None:
    drawn = resampling.Draws(np.array([[0.2, 0.0], [0.2, 0.1], [1.0, 0.5]]), (0, 1), "names")
    assert np.isnan(drawn.ratio(0, 1)[0])
    assert drawn.ratio(0, 1)[1] == pytest.approx(2)
    assert drawn.odds_ratio(0, 1)[1] == pytest.approx(0.25 * 9)
    assert np.isnan(drawn.odds_ratio(0, 1)[[0, 2]]).all()


def test_percentile_is_undefined_when_too_many_draws_are() -> None:
    draws = np.linspace(0, 1, 1001)
    interval = percentile(draws)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
    draws[:60] = np.nan
    assert percentile(draws) is None
    assert percentile(np.array([np.nan])) is None


def test_calibrated_draws_keep_ranks_and_take_the_t_spread() -> None:
    draws = np.random.default_rng(0).gamma(2.0, size=4000)
    out = calibrate(draws, 0.3, 0.05, 9.0)
    assert np.array_equal(np.argsort(out), np.argsort(draws))
    interval = percentile(out)
    assert interval is not None
    assert interval.high - 0.3 == pytest.approx(0.05 * stats.t.ppf(0.975, 9), rel=0.01)
    draws[3] = np.nan
    assert np.isnan(calibrate(draws, 0.3, 0.05, np.inf)[3])
    assert np.isfinite(np.delete(calibrate(draws, 0.3, 0.05, np.inf), 3)).all()


def test_cluster_weights_sum_to_the_clusters() -> None:
    weights = cluster_weights(7, 100, 0)
    assert (weights.sum(axis=1) == 7).all()
    assert (cluster_weights(1, 3, 0) == 1).all()


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="at least one draw"):
        crossed_bootstrap(make(), draws=0)
    empty = Cells(np.full((2, 2), np.nan), np.zeros((2, 2), dtype=np.int64), np.array([0, 0]))
    with pytest.raises(BadInput, match="has no cell"):
        crossed_bootstrap(empty)


def test_a_distance_loses_the_bias_of_its_draws() -> None:
    draws = np.random.default_rng(1).normal(0.30, 0.01, 4_000)  # the estimate is .20: resampling added .10
    interval, bias = less_bias(draws, 0.20, method="made")
    assert interval is not None
    assert bias == pytest.approx(0.10, abs=1e-3)
    assert interval.low == pytest.approx(0.20 - 1.96 * 0.01, abs=2e-3)
    assert interval.high == pytest.approx(0.20 + 1.96 * 0.01, abs=2e-3)
    near_zero, _ = less_bias(draws, 0.005, method="made")
    assert near_zero is not None
    assert near_zero.low == 0.0
    assert less_bias(np.full(9, np.nan), 0.2, method="made") == (None, None)
