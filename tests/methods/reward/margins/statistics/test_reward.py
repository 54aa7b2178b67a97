"""Rewards, fates and summaries: definitions, invariants, and every undefined number with its reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.statistics.reward import (
    FATES,
    bradley_terry,
    fate,
    implicit_reward,
    per_token_margin,
    reward_margin,
    selections,
    summarise,
    usable_beta,
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
    with pytest.raises(BadInput, match="as many"):
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
