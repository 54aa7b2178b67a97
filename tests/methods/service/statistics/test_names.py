"""Flip rates, rates by name, leave-one-name-out, and splits within a group."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.names import flip_rates, leave_one_name_out, name_rates, split_within
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
