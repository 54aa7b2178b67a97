"""Cluster means, intervals and tests: scipy and a row bootstrap as oracles, and every undefined case."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.measures import extremes, net_margins
from evenhand.statistics.clusters import (
    brown_forsythe,
    cluster_bootstrap,
    cluster_draws,
    cluster_means,
    effect_size,
    interval_reason,
    leave_one_cluster_out,
    paired_t,
    sign_flip_test,
    standard_error,
)

FINITE = st.floats(-50, 50, allow_nan=False)


def sample(clusters: int = 12, rows: int = 4, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(seed)
    labels = [f"c{at}" for at in range(clusters) for _ in range(rows)]
    return np.repeat(generator.normal(0.4, 1, clusters), rows) + generator.normal(0, 0.5, clusters * rows), labels


def test_cluster_means_keep_the_order_of_first_occurrence() -> None:
    found = cluster_means([1.0, 5.0, 3.0, 7.0], ["b", ("a", 1), "b", 2])
    assert found.labels == ("b", ("a", 1), 2)
    assert found.means == pytest.approx([2, 5, 7])
    assert found.sizes.tolist() == [2, 1, 1]
    assert cluster_means([], []).labels == ()


def test_bad_input_names_the_row() -> None:
    with pytest.raises(BadInput, match="not a finite") as caught:
        cluster_means([0.0, math.nan], ["a", "b"])
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="as many cluster labels"):
        cluster_means([0.0], ["a", "b"])
    with pytest.raises(BadInput, match="shape"):
        cluster_means([[0.0]], ["a"])
    with pytest.raises(BadInput, match="at least one draw"):
        cluster_bootstrap([0.0], ["a"], draws=0)
    with pytest.raises(BadInput, match="0 to 1"):
        cluster_bootstrap([2.0, 3.0], ["a", "b"], method="Wilson")
    with pytest.raises(BadInput, match="at least one cluster"):
        sign_flip_test([])
    with pytest.raises(BadInput, match="the same number of labels"):
        extremes(["a"], [1.0, 2.0])
    with pytest.raises(BadInput, match="the same number of keys"):
        net_margins([1.0], [], [1.0], ["k"])


def test_undefined_cases() -> None:
    assert cluster_bootstrap([1.0, 2.0], ["a", "a"]) is None
    assert cluster_bootstrap([], []) is None
    assert cluster_bootstrap([0.5, 0.5, 0.5], ["a", "b", "c"]) is None
    assert cluster_bootstrap([-3.0, -3.0], ["a", "b"]) is None
    # Equal but for rounding.
    assert cluster_bootstrap([0.1, 0.2, 0.3, 0.3, 0.2, 0.1], list("aaabbb"), method="percentile") is None
    assert interval_reason([]) == "no cluster"
    assert interval_reason([1.0]) == "one cluster"
    assert interval_reason([1.0, 1.0]) == "no variation between clusters"
    assert interval_reason([1.0, 2.0]) == ""
    for undefined in (leave_one_cluster_out([1.0]), effect_size([1.0]), effect_size([2.0, 2.0]), paired_t([2.0, 2.0])):
        assert undefined is None
    assert standard_error(cluster_means([1.0], ["a"])) is None


@pytest.mark.parametrize("method", ["studentised", "expanded percentile", "percentile"])
def test_bootstrap_is_antisymmetric_and_scales(method: str) -> None:
    values, labels = sample()
    there = cluster_bootstrap(values, labels, draws=1000, method=method)  # type: ignore[arg-type]
    back = cluster_bootstrap(-3 * values, labels, draws=1000, method=method)  # type: ignore[arg-type]
    assert there is not None
    assert back is not None
    assert there.low < cluster_means(values, labels).means.mean() < there.high
    assert (back.low, back.high) == pytest.approx((-3 * there.high, -3 * there.low), abs=0.02 * there.width)
    assert method in there.method
    assert "12 clusters" in there.method


def test_independent_rows_agree_with_the_row_bootstrap() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=60)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(4), vectorized=True
    ).confidence_interval
    ours = cluster_bootstrap(values, range(60), method="percentile")
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_expanded_percentile_is_as_wide_as_t_for_normal_clusters() -> None:
    means = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    ours = cluster_bootstrap(means, range(40), draws=20_000, method="expanded percentile")
    assert ours is not None
    assert ours.width == pytest.approx(2 * stats.t.ppf(0.975, 39) * means.std(ddof=1) / math.sqrt(40), rel=0.03)


def test_studentised_interval_follows_skew() -> None:
    means = np.random.default_rng(0).exponential(1, 20)
    ours = cluster_bootstrap(means - 5, range(20))
    assert ours is not None
    assert ours.method == "studentised bootstrap over 20 clusters"
    assert ours.high - (means.mean() - 5) > (means.mean() - 5) - ours.low


def test_studentised_interval_equals_a_loop_over_draws() -> None:
    values, labels = sample(clusters=7, rows=3, seed=5)
    means = cluster_means(values, labels).means
    generator = np.random.default_rng([0, 0])
    ratios = []
    for weights in generator.multinomial(7, np.full(7, 1 / 7), size=401):
        drawn = np.repeat(means, weights)
        ratios.append((drawn.mean() - means.mean()) / (drawn.std(ddof=1) / math.sqrt(7)))
    low, high = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf")
    error = means.std(ddof=1) / math.sqrt(7)
    ours = cluster_bootstrap(values, labels, draws=401, method="studentised")
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((means.mean() - high * error, means.mean() - low * error))


def test_a_single_deviating_cluster_gets_a_finite_interval_that_says_so() -> None:
    ours = cluster_bootstrap([-2.0] + [0.0] * 19, range(20), method="studentised")
    assert ours is not None
    assert ours.method.startswith("expanded percentile")
    assert (ours.low, ours.high) == (pytest.approx(-0.4, abs=0.11), 0.0)


def test_few_clusters_get_t() -> None:
    ours = cluster_bootstrap([1.0, 2.0, 4.0], "abc", method="studentised")
    theirs = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval()
    assert ours is not None
    assert ours.method == "t over 3 clusters"
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_wilson_equals_the_plain_one_for_rows_of_their_own_but_for_t() -> None:
    flags = [1.0] * 70 + [0.0] * 30
    ours = cluster_bootstrap(flags, range(100))
    theirs = stats.binomtest(70, 100).proportion_ci(method="wilson")
    assert ours is not None
    assert ours.method.startswith("Wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    repeated = cluster_bootstrap(np.repeat(flags, 5), np.repeat(range(100), 5).tolist())
    assert repeated is not None
    assert (repeated.low, repeated.high) == pytest.approx((ours.low, ours.high))


def test_wilson_of_a_rate_of_one_counts_each_cluster_once() -> None:
    ours = cluster_bootstrap([1.0] * 40, [at // 4 for at in range(40)])
    assert ours is not None
    assert ours.high == 1.0
    assert ours.low == pytest.approx(10 / (10 + stats.t.ppf(0.975, 9) ** 2))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4)), min_size=2, max_size=25))
def test_rates_keep_to_their_range(rows: list[tuple[float, int]]) -> None:
    values, labels = [value for value, _ in rows], [label for _, label in rows]
    for statistic in ("cluster mean", "row mean"):
        interval = cluster_bootstrap(values, labels, draws=50, statistic=statistic)  # type: ignore[arg-type]
        assert (interval is None) <= bool(interval_reason(cluster_means(values, labels).means))
        if interval is not None:
            means = cluster_means(values, labels).means
            estimate = np.mean(values) if statistic == "row mean" else means.mean()
            assert 0 <= interval.low <= estimate + 1e-9
            assert estimate - 1e-9 <= interval.high <= 1


def test_row_mean_weights_rows() -> None:
    values, labels = [0.0, 0.0, 0.0, 9.0, 3.0, 4.0], ["a", "a", "a", "b", "c", "c"]
    grouped = cluster_means(values, labels)
    assert cluster_draws(grouped, draws=4000, statistic="row mean").mean() == pytest.approx(np.mean(values), abs=0.6)
    equal = cluster_means(*sample())
    assert standard_error(equal, "row mean") == pytest.approx(standard_error(equal))
    assert standard_error(equal) == pytest.approx(stats.sem(equal.means))


def test_more_level_more_width() -> None:
    values, labels = sample()
    widths = []
    for level in (0.8, 0.95, 0.99):
        interval = cluster_bootstrap(values, labels, level=level)
        assert interval is not None
        widths.append(interval.width)
    assert widths == sorted(widths)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-10_000, 10_000).map(lambda n: n / 64), min_size=1, max_size=7))
def test_exact_sign_flips_equal_an_enumeration(means: list[float]) -> None:
    """Exact in binary, so that a tie is a tie."""
    observed, slack = abs(sum(means)), 1e-9 * sum(map(abs, means))
    flips = itertools.product((1, -1), repeat=len(means))
    count = sum(
        abs(sum(sign * mean for sign, mean in zip(flip, means, strict=True))) >= observed - slack for flip in flips
    )
    found = sign_flip_test(means)
    assert found.exact
    assert (found.count, found.total) == (count, 2 ** len(means))
    assert found.p >= found.smallest_p


def test_sign_flips_agree_with_scipy() -> None:
    means = np.random.default_rng(1).normal(0.5, 1, 14)
    theirs = stats.permutation_test(
        (means, np.zeros(14)), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=2**14
    )
    assert sign_flip_test(means).p == pytest.approx(theirs.pvalue)


def test_random_sign_flips() -> None:
    means = np.random.default_rng(0).normal(0.3, 1, 40)
    found = sign_flip_test(means, draws=5000)
    assert not found.exact
    assert found.p == (1 + (found.count - 1)) / 5001
    assert found.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, abs=0.03)
    assert found.p == sign_flip_test(-means, draws=5000).p
    assert sign_flip_test(np.full(40, 2.0), draws=999).p == 1 / 1000
    assert found.smallest_p == 1 / 5001
    assert sign_flip_test([0.0] * 20).p == 1
    assert sign_flip_test([3.0]).p == 1


def test_leave_one_out_and_effect_size() -> None:
    assert leave_one_cluster_out([1.0, 2.0, 6.0]) == pytest.approx((1.5, 4.0))
    assert effect_size([1.0, 2.0, 6.0]) == pytest.approx(3 / np.std([1, 2, 6], ddof=1))


def test_paired_t_and_brown_forsythe_equal_scipy() -> None:
    generator = np.random.default_rng(2)
    groups = [generator.normal(0.2, scale, size) for scale, size in ((1, 12), (3, 15), (1.5, 9))]
    t = paired_t(groups[0])
    theirs = stats.ttest_1samp(groups[0], 0)
    assert t == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue))
    assert brown_forsythe(groups) == pytest.approx(tuple(stats.levene(*groups, center="median")))
    assert brown_forsythe(groups[:1]) is None
    assert brown_forsythe([groups[0], [1.0]]) is None
    assert brown_forsythe([[1.0, 1.0], [2.0, 2.0]]) is None


def test_extremes_and_their_control() -> None:
    labels = [f"c{at}" for at in range(1000)]
    means = np.random.default_rng(0).permutation(1000).astype(float)
    top, bottom, random = extremes(labels, means, seed=3)
    assert len(top) == len(bottom) == len(random) == 50
    assert [means[labels.index(str(label))] for label in top[:2]] == [999, 998]
    assert means[labels.index(str(bottom[0]))] == 0
    assert len(set(random)) == 50
    assert random == extremes(labels, means, seed=3)[2]
    assert random != extremes(labels, means, seed=4)[2]
    few = extremes(labels[:28], means[:28])
    assert [len(part) for part in few] == [14, 14, 14]
    assert not set(few[0]) & set(few[1])
    assert extremes(["a"], [1.0]) == ((), (), ())
    assert len(extremes(labels[:100], means[:100])[0]) == 20


def test_net_margins_take_the_neutral_pairs_of_the_same_key_off() -> None:
    found = net_margins([1.0, 2.0, 5.0], ["k", "l", "m"], [0.2, 0.4, 1.0], ["k", "k", "l"])
    assert found.values[:2] == pytest.approx([0.7, 1.0])
    assert np.isnan(found.values[2])
    assert found.matched.tolist() == [True, True, False]
    assert found.missing == 1
    assert net_margins([1.0], ["k"], [], []).missing == 1
