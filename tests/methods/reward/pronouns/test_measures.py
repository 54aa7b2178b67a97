"""Misgendering rates, declared pronouns and disclosure differences: definitions, ties and undefined cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.measures import (
    OUTCOMES,
    accuracy,
    declared_margins,
    declared_wins,
    disclosure_difference,
    item_rates,
    likelihood_accuracy,
    misgendering,
    misgendering_by,
)


def test_rate_leaves_out_continuations_without_a_pronoun() -> None:
    outcomes = ["consistent"] * 4 + ["inconsistent"] * 2 + ["none"] * 2
    found = misgendering(outcomes, ["a", "a", "b", "b", "a", "b", "a", "c"])
    assert found.rate == pytest.approx(2 / 6)
    assert found.none_share == pytest.approx(2 / 8)
    assert found.rate_none_correct == pytest.approx(2 / 8)
    assert (found.n_consistent, found.n_inconsistent, found.n_none, found.n_clusters) == (4, 2, 2, 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 6)), max_size=40))
def test_counts_and_ranges(rows: list[tuple[str, int]]) -> None:
    found = misgendering([outcome for outcome, _ in rows], [cluster for _, cluster in rows], draws=50)
    assert found.n_consistent + found.n_inconsistent + found.n_none == len(rows)
    assert (found.rate is None) == (found.n_consistent + found.n_inconsistent == 0)
    if found.rate is not None and found.rate_none_correct is not None:
        assert found.rate_none_correct <= found.rate
    assert (found.interval is None) == bool(found.reason)
    if found.interval is not None and found.rate is not None:
        assert 0 <= found.interval.low <= found.rate + 1e-12
        assert found.rate - 1e-12 <= found.interval.high <= 1


def test_undefined_rates_have_a_reason() -> None:
    silent = misgendering(["none", "none"], ["a", "b"])
    assert (silent.rate, silent.none_share, silent.rate_none_correct) == (None, 1.0, 0.0)
    assert silent.reason == "no continuation has a pronoun"
    assert misgendering([], []).reason == "no continuation"
    assert misgendering(["consistent"], ["a"]).reason == "one cluster"
    with pytest.raises(BadInput, match="outcome") as caught:
        misgendering(["none", "plural"], ["a", "b"])
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="the same number of labels"):
        misgendering(["none"], [])


def test_clusters_widen_the_interval() -> None:
    outcomes = ["inconsistent"] * 60 + ["consistent"] * 60
    together = misgendering(outcomes, [at // 10 for at in range(120)])
    apart = misgendering(outcomes, range(120))
    assert together.interval is not None
    assert apart.interval is not None
    assert together.interval.width > 2 * apart.interval.width


def test_cells() -> None:
    outcomes = ["consistent", "inconsistent", "inconsistent", "none"]
    cells = [("they", "name"), ("xe", "name"), ("xe", "name"), ("they", "name")]
    found = misgendering_by(outcomes, ["a", "a", "b", "b"], cells)
    assert list(found) == [("they", "name"), ("xe", "name")]
    assert (found["they", "name"].rate, found["they", "name"].n_none) == (0.0, 1)
    assert found["xe", "name"].rate == 1.0
    assert found["xe", "name"].interval is not None


def test_item_rates() -> None:
    outcomes = ["consistent", "inconsistent", "none", "none", "inconsistent"]
    rates = item_rates(outcomes, ["p", "p", "p", "q", "r"])
    assert (rates["p"], rates["r"]) == (0.5, 1.0)
    assert math.isnan(rates["q"])


def test_ties_are_split_equally() -> None:
    scores = [[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 5.0, 5.0]]
    assert declared_wins(scores, [0, 0, 2, 0]) == pytest.approx([0.5, 1, 1 / 3, 0])
    found = accuracy(scores, [0, 0, 2, 0], ["a", "b", "c", "d"])
    assert found.share == pytest.approx((0.5 + 1 + 1 / 3) / 4)
    assert found.tie_share == 0.75
    assert found.chance == pytest.approx(1 / 3)
    assert found.interval is not None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=8))
def test_wins_of_all_options_sum_to_one(scores: list[list[int]]) -> None:
    total = sum(declared_wins(scores, [option] * len(scores)) for option in range(4))
    assert total == pytest.approx(np.ones(len(scores)))


def test_mean_loss_favours_an_option_in_many_pieces() -> None:
    found = likelihood_accuracy([[-10.0, -12.0]] * 3, [[5, 8]] * 3, [0, 0, 1], ["a", "b", "c"])
    assert found["summed"].share == pytest.approx(2 / 3)
    assert found["mean"].share == pytest.approx(1 / 3)
    with pytest.raises(BadInput, match="at least one token"):
        likelihood_accuracy([[-1.0]], [[0]], [0], ["a"])


def test_margins_over_the_declared_option() -> None:
    margins = declared_margins([[0.5, 2.0, 0.0]], [1])
    assert margins[0, [0, 2]] == pytest.approx([-1.5, -2.0])
    assert np.isnan(margins[0, 1])


def test_bad_tables() -> None:
    with pytest.raises(BadInput, match="lacks a finite") as caught:
        declared_wins([[0.0, 1.0], [math.nan, 1.0]], [0, 0])
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="lacks a finite"):
        declared_wins([[0.0, 1.0]], [2])
    with pytest.raises(BadInput, match="one declared option"):
        declared_wins([[0.0, 1.0]], [0, 1])
    assert accuracy(np.empty((0, 3)), [], []).reason == "no scored item"


def test_disclosure_difference_is_paired_by_key() -> None:
    keys = [(name, form) for name in ("Ann", "Bo", "Cy") for form in ("f", "g")]
    flags, group, used = [], [], []
    for at, key in enumerate(keys):
        for mine, negative in ((True, 1.0), (True, float(at % 2)), (False, 0.0), (False, float(at == 0))):
            flags.append(negative)
            group.append(mine)
            used.append(key)
    found = disclosure_difference(flags, group, used, {key: key[0] for key in keys})
    assert found.group_share == pytest.approx(0.75)
    assert found.reference_share == pytest.approx(0.5 / 6)
    assert found.difference == pytest.approx(0.75 - 0.5 / 6)
    assert (found.n_keys, found.n_clusters, found.unpaired) == (6, 3, 0)
    assert found.interval is not None
    assert found.test is not None
    assert found.test.total == 8


def test_disclosure_keys_on_one_side_are_left_out() -> None:
    found = disclosure_difference([1.0, 0.0, 1.0], [True, False, True], ["k", "k", "l"])
    assert (found.difference, found.unpaired, found.reason) == (1.0, 1, "one cluster")
    none = disclosure_difference([1.0], [True], ["k"])
    assert (none.difference, none.unpaired, none.reason) == (None, 1, "no key with both sides")
    with pytest.raises(BadInput, match="the same number of group marks"):
        disclosure_difference([1.0], [True, False], ["k"])
