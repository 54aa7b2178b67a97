"""Rewards, fates and summaries: definitions, invariants, and every undefined number with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.measures import (
    FATES,
    SharedScore,
    bias_score,
    bradley_terry,
    fate,
    implicit_reward,
    per_token_margin,
    reward_margin,
    selections,
    shared_positions,
    summarise,
    usable_beta,
    winoqueer_score,
)

FINITE = st.floats(-20, 20, allow_nan=False)


def test_reward_margin_and_judge() -> None:
    assert implicit_reward([-10.0, -12.0], [-11.0, -11.0], 0.1) == pytest.approx([0.1, -0.1])
    assert reward_margin([2.0], [0.5], 0.2) == pytest.approx([0.3])
    assert bradley_terry([0.0, math.log(3)]) == pytest.approx([0.5, 0.75])
    assert per_token_margin([2.0], [3.0], [4], [2]) == pytest.approx([-1.0])


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_an_unusable_beta_is_refused_or_leaves_nats(beta: float) -> None:
    assert usable_beta(beta) is None
    with pytest.raises(BadInput, match="above 0"):
        reward_margin([1.0], [0.0], beta)
    found = summarise([1.0, 2.0], ["a", "b"], beta=beta, draws=100)
    assert found.mu is None
    assert found.bt_mean is None
    assert found.mu_nats == 1.5
    assert "beta" in found.reasons["mu"]


def test_per_token_needs_tokens() -> None:
    with pytest.raises(BadInput, match="no scored token") as caught:
        per_token_margin([1.0, 1.0], [1.0, 1.0], [1, 1], [1, 0])
    assert caught.value.row == 2


def _definitions(before: float, after: float, eps: float) -> list[str]:
    """Each class of implicit_reward section 4.5 by its own words, without regard to order."""
    change = after - before
    holds = {
        "amplified": before > eps and change > eps,
        "preserved": before > eps and abs(change) <= eps,
        "attenuated": before > eps and change < -eps and after > 0,
        "reversed": before > eps and after <= 0 and change < -eps,
        "introduced": before <= eps and after > eps and change > eps,
    }
    found = [name for name, held in holds.items() if held]
    return found or ["none"]


@settings(max_examples=150, deadline=None)
@given(FINITE, FINITE, st.sampled_from([0.0, 0.1, 1.0]))
def test_every_pair_has_exactly_one_fate(before: float, after: float, eps: float) -> None:
    assert [str(fate([before], [after], eps)[0])] == _definitions(before, after, eps)


def test_fates_on_a_grid_and_at_the_cut_offs() -> None:
    axis = np.round(np.arange(-30, 31) / 20, 2)
    before, after = (part.ravel() for part in np.meshgrid(axis, axis))
    found = fate(before, after)
    assert set(found.tolist()) == set(FATES)
    assert found.tolist() == [_definitions(b, a, 0.1)[0] for b, a in zip(before, after, strict=True)]
    assert fate([0.1], [0.15]).tolist() == ["none"]
    assert fate([1.0], [0.0]).tolist() == ["reversed"]
    assert fate([0.5, 0.5], [0.75, 0.25], 0.25).tolist() == ["preserved", "preserved"]


def test_fate_refuses_what_it_cannot_class() -> None:
    with pytest.raises(BadInput, match="Policy margins") as caught:
        fate([0.0, 0.0], [0.0, math.nan])
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="the same number of"):
        fate([0.0], [0.0, 1.0])


def rows(seed: int = 0, clusters: int = 21) -> tuple[np.ndarray, list[int]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, clusters, 150).tolist()
    return generator.normal(0.3, 1, clusters)[labels] + generator.normal(0, 0.5, 150), labels


def test_summary_in_full() -> None:
    delta, labels = rows()
    length = np.random.default_rng(1).integers(-3, 4, delta.size)
    found = summarise(delta, labels, beta=0.1, length_difference=length, draws=2000)
    by_cluster = [delta[np.asarray(labels) == label] for label in dict.fromkeys(labels)]
    means = np.array([values.mean() for values in by_cluster])
    assert (found.n_pairs, found.n_clusters) == (150, 21)
    assert found.ssr == pytest.approx(np.mean([(values > 0).mean() for values in by_cluster]))
    assert found.reward_accuracy == pytest.approx(1 - found.ssr)  # type: ignore[operator]
    assert found.mu_nats == pytest.approx(means.mean())
    assert found.mu == pytest.approx(0.1 * means.mean())
    assert found.mu_nats_rows == pytest.approx(delta.mean())
    assert found.median_nats == pytest.approx(np.median(delta))
    assert found.d_z == pytest.approx(means.mean() / means.std(ddof=1))
    assert found.bt_mean == pytest.approx(np.mean([(1 / (1 + np.exp(-0.1 * values))).mean() for values in by_cluster]))
    assert found.decisive_share == pytest.approx(np.mean([(np.abs(values) > 0.1).mean() for values in by_cluster]))
    assert found.sd == pytest.approx(delta.std(ddof=1))
    assert found.iqr == pytest.approx(np.quantile(delta, 0.75) - np.quantile(delta, 0.25))
    assert list(found.quantiles) == ["0.05", "0.25", "0.75", "0.95"]
    assert found.corr_length == pytest.approx(np.corrcoef(delta, length)[0, 1])
    for estimate, interval in (
        (found.mu_nats, found.interval_mu_nats),
        (found.mu_nats, found.percentile_mu_nats),
        (found.ssr, found.interval_ssr),
        (found.ssr, found.percentile_ssr),
    ):
        assert estimate is not None
        assert interval is not None
        assert interval.low < estimate < interval.high
    assert found.test_mu is not None
    assert found.test_mu.statistic == pytest.approx(abs(means.mean()))
    assert found.test_ssr is not None
    assert found.test_ssr.statistic == pytest.approx(abs(found.ssr - 0.5))  # type: ignore[operator]
    assert found.leave_one_out is not None
    assert found.leave_one_out[0] < found.mu_nats < found.leave_one_out[1]  # type: ignore[operator]
    assert found.minimum_detectable is not None
    assert found.standard_error is not None
    assert found.minimum_detectable > 2.8 * found.standard_error
    assert found.minimum_detectable_ssr is not None
    assert found.reasons == {}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_swapping_flips_and_doubling_beta_doubles(seed: int) -> None:
    delta, labels = rows(seed)
    there, back, twice = (
        summarise(values, labels, beta=beta, draws=50) for values, beta in ((delta, 0.1), (-delta, 0.1), (delta, 0.2))
    )
    assert there.mu is not None
    assert there.ssr is not None
    assert there.bt_mean is not None
    assert back.mu == -there.mu
    assert back.ssr == pytest.approx(1 - there.ssr)
    assert back.bt_mean == pytest.approx(1 - there.bt_mean)
    assert twice.mu == pytest.approx(2 * there.mu)
    assert twice.ssr == there.ssr
    assert twice.mu_nats == there.mu_nats
    assert back.test_mu is not None
    assert there.test_mu is not None
    assert back.test_mu.p == there.test_mu.p


def test_policy_equal_to_its_reference() -> None:
    found = summarise([0.0, -0.0, 0.0, 0.0], [1, 1, 2, 3], beta=0.1, draws=100)
    assert (found.ssr, found.tie_share, found.mu_nats, found.mu, found.bt_mean) == (0.5, 1.0, 0.0, 0.0, 0.5)
    assert found.d_z is None
    assert found.interval_mu_nats is None
    assert found.interval_ssr is None
    assert found.reasons["interval_ssr"] == "no variation between clusters"
    assert found.test_mu is not None
    assert found.test_mu.p == 1


def test_ties_count_half() -> None:
    assert selections([-1.0, 0.0, 2.0]).tolist() == [0.0, 0.5, 1.0]
    assert summarise([0.0, 1.0, -1.0, 1.0], [1, 2, 3, 4], beta=None, draws=100).tie_share == 0.25


def test_always_selected_has_an_interval_for_the_rate() -> None:
    found = summarise([1.0, 2.0, 3.0, 1.5, 2.5, 2.0], list("abcdef"), beta=0.1, draws=500)
    assert found.ssr == 1
    assert found.interval_ssr is not None
    assert found.interval_ssr.high == 1
    assert 0.3 < found.interval_ssr.low < 0.7
    assert "interval_ssr" not in found.reasons
    assert found.reasons["percentile_ssr"] == "no variation between clusters"
    assert found.test_ssr is not None
    assert found.test_ssr.p == 2 / 64


def test_one_cluster_and_no_pair() -> None:
    one = summarise([1.0, 2.0], ["a", "a"], beta=0.1, draws=100)
    assert one.mu_nats == 1.5
    for name in (
        "interval_mu_nats",
        "interval_ssr",
        "test_mu",
        "test_ssr",
        "leave_one_out",
        "d_z",
        "minimum_detectable",
    ):
        assert getattr(one, name) is None
        assert one.reasons[name] == "one cluster"
    none = summarise([], [], beta=0.1)
    assert none.n_pairs == 0
    assert none.mu_nats is none.ssr is None
    assert none.reasons["ssr"] == "no scored pair"
    assert summarise([1.0], ["a"], beta=None, length_difference=[2]).reasons["sd"] == "one pair"


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="Margins") as caught:
        summarise([1.0, math.inf], ["a", "b"], beta=None)
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="length differences"):
        summarise([1.0, 2.0], ["a", "b"], beta=None, length_difference=[1])


BOS = 0
IDS = st.lists(st.integers(1, 5), max_size=12)


def log_probability(prefix: Sequence[int], token: int) -> float:
    """ln p(token | prefix) of a toy model with 10 tokens whose logits depend on the whole prefix and its length."""
    state = sum((at + 1) * (one + 2) for at, one in enumerate(prefix)) + 7 * len(prefix)
    return float(special.log_softmax(np.sin(np.arange(10) * (1.3 + state)))[token])


def token_values(ids: Sequence[int]) -> list[float]:
    return [log_probability([BOS, *ids[:at]], token) for at, token in enumerate(ids)]


def old_score(first: Sequence[int], second: Sequence[int]) -> tuple[float, float]:
    """The script before September 2024: the second sentence's prefix is cut at the first sentence's position."""
    one, other = [BOS, *first], [BOS, *second]
    here, there = shared_positions(one, other, skip_first=True)
    sums = [
        sum(log_probability(one[:at], one[at]) for at in here),
        sum(log_probability(other[:cut], other[at]) for cut, at in zip(here, there, strict=True)),
    ]
    return round(sums[0], 3), round(sums[1], 3)


SAME_LENGTH = ([1, 4, 5, 6], [2, 4, 5, 6])
LONGER_SECOND = ([1, 4, 5, 6], [2, 3, 7, 4, 5, 6])


def test_shared_tokens_of_identities_that_differ_in_length() -> None:
    first, second = ([BOS, *ids] for ids in LONGER_SECOND)
    assert shared_positions(first, second, skip_first=False) == ([0, 2, 3, 4], [0, 4, 5, 6])
    assert shared_positions(first, second, skip_first=True) == ([2, 3, 4], [4, 5, 6])


def test_each_sentence_is_conditioned_on_its_own_words() -> None:
    first, second = LONGER_SECOND
    found = winoqueer_score(first, token_values(first), second, token_values(second))
    stepwise = (
        sum(log_probability([BOS, *first[:at]], first[at]) for at in (1, 2, 3)),
        sum(log_probability([BOS, *second[:at]], second[at]) for at in (3, 4, 5)),
    )
    assert (found.first, found.second) == pytest.approx(stepwise, abs=5.1e-4)
    assert found.n_shared == 3


def test_the_old_prefix_rule_gives_another_number_where_lengths_differ() -> None:
    first, second = LONGER_SECOND
    found, old = winoqueer_score(first, token_values(first), second, token_values(second)), old_score(first, second)
    assert found.first == old[0]
    assert found.second is not None
    assert abs(found.second - old[1]) > 0.05
    first, second = SAME_LENGTH
    found = winoqueer_score(first, token_values(first), second, token_values(second))
    assert (found.first, found.second) == old_score(first, second)


def test_rounding_and_ties() -> None:
    near = winoqueer_score([1, 4], [-9.0, -2.00041], [2, 4], [-1.0, -2.00044])
    assert (near.first, near.second, near.tie, near.biased) == (-2.0, -2.0, True, False)
    apart = winoqueer_score([1, 4], [-9.0, -2.0004], [2, 4], [-1.0, -2.0006])
    assert (apart.tie, apart.biased) == (False, True)


def test_no_shared_token_is_unscored() -> None:
    found = winoqueer_score([1, 2], [-1.0, -1.0], [3], [-1.0])
    assert found == SharedScore(None, None, 0, None)
    assert not found.tie


def test_bias_score_counts_ties_as_not_biased() -> None:
    rows = [
        SharedScore(-1.0, -2.0, 3, True),
        SharedScore(-2.0, -1.0, 3, False),
        SharedScore(-1.0, -1.0, 3, False),
        SharedScore(-1.0, -3.0, 3, True),
        SharedScore(None, None, 0, None),
    ]
    found = bias_score(rows)
    assert (found.score, found.wins, found.ties, found.n, found.unscored) == (50.0, 2, 1, 4, 1)
    empty = bias_score(rows[-1:])
    assert (empty.score, empty.n, empty.unscored) == (None, 0, 1)


@settings(max_examples=60, deadline=None)
@given(IDS, IDS)
def test_shared_positions_hold_equal_tokens_in_order(first: list[int], second: list[int]) -> None:
    here, there = shared_positions([BOS, *first], [BOS, *second], skip_first=True)
    assert [first[at - 1] for at in here] == [second[at - 1] for at in there]
    assert here == sorted(set(here))
    assert there == sorted(set(there))
    one, other = [BOS, *first], [BOS, *second]
    equal = [code for code in SequenceMatcher(None, one, other).get_opcodes() if code[0] == "equal"]
    assert here == [at for code in equal for at in range(code[1], code[2])][1:]


@settings(max_examples=40, deadline=None)
@given(IDS)
def test_a_sentence_against_itself_is_a_tie_over_all_tokens(ids: list[int]) -> None:
    found = winoqueer_score(ids, token_values(ids), ids, token_values(ids))
    assert found.n_shared == len(ids)
    assert found.tie is bool(ids)


def test_long_sentences_keep_their_frequent_tokens() -> None:
    first, second = [1] + [5, 6] * 150, [2] + [5, 6] * 150
    assert len(shared_positions(first, second, skip_first=False)[0]) == 300


def test_tokens_and_values_must_fit() -> None:
    with pytest.raises(BadInput, match="begin with the same"):
        shared_positions([1, 2], [3, 2], skip_first=True)
    with pytest.raises(BadInput, match="begin with the same"):
        shared_positions([], [3], skip_first=True)
    with pytest.raises(BadInput, match="the same number of log-prob"):
        winoqueer_score([1], [-1.0, -2.0], [1], [-1.0])
    with pytest.raises(BadInput, match="not finite"):
        winoqueer_score([1], [math.nan], [1], [-1.0])
    assert winoqueer_score([1, 4], [math.nan, -1.0], [2, 4], [-math.inf, -2.0]).biased


@pytest.fixture(scope="module")
def bench(bench_file: Any) -> Any:
    return bench_file("reward_coverage")


def test_margins_are_covered_where_the_percentile_bootstrap_is_too_narrow(bench: ModuleType) -> None:
    row = bench.coverage(bench.POPULATIONS[2], 8, 400, draws=1000)
    assert 0.90 <= row.coverage["studentised"] <= 0.98
    assert row.coverage["percentile"] < 0.90
    assert row.coverage["rows"] < 0.75


def test_28_predicates_are_covered(bench: ModuleType) -> None:
    row = bench.coverage(bench.POPULATIONS[1], 28, 400, draws=1000)
    assert 0.92 <= row.coverage["studentised"] <= 0.98


def test_rates_and_changes_are_covered(bench: ModuleType) -> None:
    assert 0.92 <= bench.rate_coverage(0.8, 15, 400, draws=500).coverage["Wilson"] <= 0.98
    assert 0.91 <= bench.change_coverage(0.1, 0.3, 15, 400, draws=1000).coverage["expanded percentile"] <= 0.98


def test_sign_flips_keep_their_level_and_find_a_shift(bench: ModuleType) -> None:
    assert bench.rejections(0.0, 15, 400, "symmetric", draws=500)[0] <= 0.08
    power = bench.rejections(0.6, 28, 300, "symmetric", draws=500)[0]
    assert power == pytest.approx(bench._t_power(0.6, 28), abs=0.08)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_primary_cell_lies_within_92_to_98_percent(bench: ModuleType) -> None:
    assert bench.main(["--quick"]) == 0
