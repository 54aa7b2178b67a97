"""Flip rates, rates by name, leave-one-name-out, splits within a group, and agreement of repetitions."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.names import (
    flip_rates,
    intraclass_correlation,
    leave_one_name_out,
    name_rates,
    same_label_share,
    split_within,
    stability,
)
from evenhand.statistics.cells import Cells, cells_from_counts, group_rate
from evenhand.statistics.resampling import crossed_bootstrap


def make(seed: int = 0, missing: float = 0.0) -> Cells:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, (7, 6)) / 3
    values[generator.random(values.shape) < missing] = np.nan
    return Cells(values, np.where(np.isfinite(values), 3, 0), np.array([0, 0, 0, 1, 1, 1, 1]))


def test_flip_rates_equal_all_pairs_of_names_counted_one_by_one() -> None:
    cells = make()
    found = flip_rates(cells, 1, 0, draws=500)
    pairs = [
        (a * (1 - b), (1 - a) * b)
        for stem in range(6)
        for a, b in itertools.product(cells.of(1)[:, stem], cells.of(0)[:, stem])
    ]
    assert found is not None
    assert (found.turned_on, found.turned_off) == pytest.approx(np.mean(pairs, axis=0))
    assert found.turned_on_interval is not None
    assert found.turned_on_interval.low < found.turned_on < found.turned_on_interval.high


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2]))
def test_flips_on_minus_off_is_the_risk_difference(seed: int, missing: float) -> None:
    cells = make(seed, missing)
    found = flip_rates(cells, 1, 0, draws=2)
    pair = cells.shared(0, 1).cells
    mine, base = group_rate(pair.of(1)), group_rate(pair.of(0))
    if found is None:
        assert mine is None or base is None
        return
    assert mine is not None
    assert base is not None
    assert found.turned_on - found.turned_off == pytest.approx(mine - base)


def test_flip_interval_comes_from_the_draws_of_the_difference() -> None:
    cells = make(3)
    found = flip_rates(cells, 1, 0, draws=4000)
    drawn = crossed_bootstrap(cells, draws=4000).difference(1, 0)
    assert found is not None
    assert found.turned_on_interval is not None
    assert found.turned_off_interval is not None
    middle = found.turned_on - found.turned_off
    assert drawn.mean() == pytest.approx(middle, abs=0.02)


def test_flips_need_stems_and_a_binary_outcome() -> None:
    assert flip_rates(cells_from_counts([1, 2, 3], [4, 4, 4], [0, 0, 1]), 1, 0) is None
    cells = make()
    assert flip_rates(Cells(cells.values, cells.counts, cells.groups, binary=False), 1, 0) is None


def test_rates_by_name_with_wilson_and_the_dominating_one() -> None:
    values = np.full((8, 10), 0.2)
    values[2] = 1.0
    values += np.linspace(-0.05, 0, 8)[:, None]
    cells = Cells(values, np.full((8, 10), 5), np.zeros(8, dtype=np.int64))
    found = name_rates(cells)
    assert [one.row for one in found if one.dominating] == [2]
    assert found[0].responses == 50
    assert found[0].wilson is not None
    assert found[0].wilson.low < found[0].rate < found[0].wilson.high
    values[1] = np.nan
    cells = Cells(values, np.where(np.isfinite(values), 5, 0), np.zeros(8, dtype=np.int64))
    assert [one.row for one in name_rates(cells)] == [0, 2, 3, 4, 5, 6, 7]


def test_leaving_out_the_most_influential_name() -> None:
    rates = np.array([0.1, 0.1, 0.1, 0.9, 0.2, 0.2, 0.2])
    cells = Cells(np.tile(rates[:, None], (1, 4)), np.full((7, 4), 3), np.array([0, 0, 0, 1, 1, 1, 1]))
    found = leave_one_name_out(cells, 1, 0)
    assert found is not None
    assert found.row == 3
    assert found.difference == pytest.approx(0.275)
    assert found.low == found.without == pytest.approx(0.1)
    assert found.high == pytest.approx((0.9 + 0.4) / 3 - 0.1)
    assert found.test is not None
    assert found.test.total == 20
    assert leave_one_name_out(cells.rows(np.array([1, 1, 1, 1, 0, 0, 0], dtype=bool)), 1, 0) is None


def test_two_names_leave_one_without_a_test() -> None:
    found = leave_one_name_out(cells_from_counts([1, 2, 3, 7], [9, 9, 9, 9], [0, 0, 1, 1]), 1, 0)
    assert found is not None
    assert found.test is None
    assert (found.low, found.high) == pytest.approx((3 / 9 - 1.5 / 9, 7 / 9 - 1.5 / 9))


def test_split_within_a_group() -> None:
    cells = cells_from_counts([8, 6, 1, 1, 5], [10] * 5, [1, 1, 1, 1, 0])
    first = np.array([True, True, False, False, True])
    found = split_within(cells, 1, first, ~first)
    assert found is not None
    assert (found.first, found.second, found.difference) == pytest.approx((0.7, 0.1, 0.6))
    assert found.test is not None
    assert (found.test.count, found.test.total) == (2, 6)
    assert split_within(cells, 0, first, ~first) is None
    with pytest.raises(BadInput, match="is in both classes") as caught:
        split_within(cells, 1, first, first)
    assert caught.value.row == 1


def pingouin_icc1(table: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pingouin

        rows = pd.DataFrame(table).reset_index(names="prompt").melt("prompt", var_name="rep", value_name="y")
        found = pingouin.intraclass_corr(rows, targets="prompt", raters="rep", ratings="y")
    return float(found["ICC"].iloc[0])


def test_equal_the_oracles() -> None:
    generator = np.random.default_rng(0)
    rate = generator.beta(0.4, 0.8, (40, 1))
    outcome = (generator.random((40, 3)) < rate).astype(float)
    found = stability(outcome.astype(int), outcome)
    assert found.icc == pytest.approx(pingouin_icc1(outcome))
    assert found.fleiss_kappa == pytest.approx(statsmodels_fleiss(aggregate_raters(outcome.astype(int))[0]))
    assert found.same_label == pytest.approx((outcome.min(axis=1) == outcome.max(axis=1)).mean())
    assert found.prompts == 40


def test_missing_repetitions() -> None:
    assert same_label_share([[1, 1, -1], [0, 2, 0], [3, -1, -1]]) == 0.5
    assert same_label_share([[1, -1]]) is None
    assert stability([[1, 1, -1], [0, 2, 0], [3, -1, -1]], [[1, 1, np.nan]] * 3).prompts == 2


def test_icc_with_unequal_repetitions_follows_the_analysis_of_variance() -> None:
    rows = [[1.0, 2.0, np.nan], [4.0, 5.0, 6.0], [0.0, 0.5, np.nan]]
    known = [[1.0, 2.0], [4.0, 5.0, 6.0], [0.0, 0.5]]
    flat = np.concatenate(known)
    between = sum(len(k) * (np.mean(k) - flat.mean()) ** 2 for k in known) / 2
    within = sum(((np.array(k) - np.mean(k)) ** 2).sum() for k in known) / 4
    k0 = (7 - (4 + 9 + 4) / 7) / 2
    assert intraclass_correlation(rows) == pytest.approx((between - within) / (between + (k0 - 1) * within))


def test_undefined() -> None:
    assert intraclass_correlation([[1.0, 1.0], [1.0, 1.0]]) is None
    assert intraclass_correlation([[1.0], [0.0]]) is None
    assert intraclass_correlation([[1.0, 0.0]]) is None
    with pytest.raises(BadInput, match="table"):
        intraclass_correlation([1.0, 0.0])
    with pytest.raises(BadInput, match="table"):
        same_label_share([1, 0])
