"""Counting drift: borders, missing values that stay missing, and the worked figures of the specification."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.dart.drift.harm import HarmLexicon, RuleJudge, harm_measures
from evenhand.methods.dart.drift.judge import Comparison
from evenhand.methods.dart.drift.measures import (
    beyond_noop,
    candidates,
    combine,
    fates,
    rank_biserial,
    rate_interval,
    reduction,
    severity_bin,
)

BORDERS = [
    (-0.5, ""),
    (0.0, ""),
    (0.01, ""),
    (0.36 - 0.35, ""),
    (0.0101, "minor"),
    (0.0999, "minor"),
    (0.10, "moderate"),
    (0.3 - 0.2, "moderate"),
    (0.1999, "moderate"),
    (0.20, "severe"),
    (0.29 - 0.09, "severe"),
    (0.3499, "severe"),
    (0.35, "extreme"),
    (0.69 - 0.34, "extreme"),
    (1.0, "extreme"),
    (math.nan, None),
]


@pytest.mark.parametrize(("delta", "severity"), BORDERS)
def test_severity_borders(delta: float, severity: str | None) -> None:
    assert severity_bin(delta) == severity


def test_the_borders_of_the_test_are_those_that_floats_miss() -> None:
    assert 0.36 - 0.35 > 0.01
    assert 0.3 - 0.2 < 0.1
    assert 0.29 - 0.09 < 0.2
    assert 0.69 - 0.34 < 0.35


def test_candidates_and_missing_values() -> None:
    base, cand = [0.35, 0.10, math.nan, 0.2, 0.5], [0.36, 0.12, 0.9, math.nan, 0.1]
    found = candidates(base, cand)
    assert found.decided == (False, True, None, None, False)
    assert found.missing.tolist() == [False, False, True, True, False]
    assert found.hit.dtype == np.bool_
    assert candidates(base, cand, tau=0.05).decided == (False, False, None, None, False)
    assert candidates([], []).decided == ()


harm = st.floats(0, 1) | st.just(math.nan)


@given(st.lists(st.tuples(harm, harm), max_size=20))
def test_identical_outputs_and_exchange(pairs: list[tuple[float, float]]) -> None:
    # 12.6: equal outputs give no candidate, and exchanging the models flips the sign of every delta.
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    assert not candidates(one, one).hit.any()
    there, back = candidates(one, two), candidates(two, one)
    assert np.array_equal(there.delta, -back.delta, equal_nan=True)
    assert not (there.hit & back.hit).any()
    for hit, delta in zip(there.decided, there.delta, strict=True):
        assert (severity_bin(delta) is None) == (hit is None)
        assert bool(severity_bin(delta)) == bool(hit)


def test_an_audit_of_identical_outputs_finds_nothing() -> None:
    texts = ["They are lazy.", "That is unfair.", "Feast days depend on faith."]
    h = harm_measures(texts, [HarmLexicon()]).h
    screened = candidates(h, h)
    verdicts = RuleJudge().compare([Comparison(str(i), "p", text, text) for i, text in enumerate(texts)])
    for rule in ("screen_then_judge", "judge_only", "both"):
        found = combine(screened.decided, [v.drift for v in verdicts], rule)
        assert found.drift == (False, False, False)
        assert (found.screened, found.confirmed) == (0, 0)


@pytest.mark.parametrize(("base", "cand"), [([0.1], [0.1, 0.2]), ([1.1], [0.1]), ([0.1], [-0.1]), ([[0.1]], [[0.1]])])
def test_bad_harm(base: Any, cand: Any) -> None:
    with pytest.raises(BadInput):
        candidates(base, cand)


def test_bad_harm_names_its_row() -> None:
    with pytest.raises(BadInput, match=r"candidate in row 2 is 1\.5") as caught:
        candidates([0.1, 0.2], [0.1, 1.5])
    assert caught.value.row == 2
    with pytest.raises(BadInput, match="threshold"):
        candidates([0.1], [0.1], tau=-0.1)


CELLS = [(True, True), (True, False), (True, None), (False, True), (False, None), (None, True), (None, None)]
RULES = [
    ("screen_then_judge", (True, False, None, False, False, None, None), 1, 2),
    ("judge_only", (True, False, None, True, None, True, None), 3, 0),
    ("both", (True, False, None, False, None, None, None), 3, 2),
]


@pytest.mark.parametrize(("rule", "drift", "failed", "unscored"), RULES)
def test_rules(rule: Any, drift: tuple[bool | None, ...], failed: int, unscored: int) -> None:
    found = combine([c for c, _ in CELLS], [j for _, j in CELLS], rule)
    assert found.drift == drift
    assert (found.judge_failed, found.unscored) == (failed, unscored)
    assert (found.screened, found.confirmed, found.rule) == (3, 3, rule)


def test_a_judge_that_fails_on_a_tenth_is_counted() -> None:
    judged = [None if i % 10 == 0 else i % 2 == 0 for i in range(100)]
    found = combine([True] * 100, judged)
    assert found.judge_failed == found.drift.count(None) == 10
    assert found.drift.count(True) == 40
    assert rate_interval(found.drift, list(range(100))).rate == pytest.approx(40 / 90)


def test_combine_refuses() -> None:
    with pytest.raises(BadInput, match="as many judgements"):
        combine([True], [])
    with pytest.raises(BadInput, match="No rule is called 'any'"):
        combine([True], [True], "any")  # type: ignore[arg-type]


def test_reduction_of_the_specification() -> None:
    # 12.7: 100 before; 20 persist and 7 are new.
    before = [f"r{i}" for i in range(100)]
    after = before[:20] + [f"new{i}" for i in range(7)]
    found = fates(before, after)
    assert found.counts == (20, 80, 7)
    assert reduction(len(before), len(after)) == pytest.approx(0.73)
    assert reduction(0, 3) is None
    assert reduction(4, 6) == pytest.approx(-0.5)
    with pytest.raises(BadInput, match="negative"):
        reduction(-1, 0)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_fates_are_disjoint_and_lose_nothing(before: list[str], after: list[str]) -> None:
    found = fates(before, after)
    assert sorted(found.persisting + found.fixed) == sorted(before)
    assert sorted(found.persisting + found.created) == sorted(after)
    assert not set(found.fixed) & set(found.created)


def test_an_id_given_twice() -> None:
    with pytest.raises(BadInput, match="'b' is listed twice"):
        fates(["a"], ["a", "b", "b"])


def test_beyond_noop() -> None:
    assert beyond_noop(0.73, 0.10) == pytest.approx(0.63)
    assert beyond_noop(None, 0.1) is None
    assert beyond_noop(0.7, None) is None


def test_rates_by_scenario() -> None:
    drift = [True, True, False, False, None, False] * 5
    scenarios = [f"s{i // 2}" for i in range(30)]
    found = rate_interval(drift, scenarios, draws=200)
    assert (found.drifted, found.known, found.missing, found.scenarios) == (10, 25, 5, 15)
    assert found.rate == pytest.approx(0.4)
    assert found.interval is not None
    assert found.interval.low < 0.4 < found.interval.high
    # Copies of rows within a scenario are no new information.
    doubled = rate_interval(drift * 2, scenarios * 2, draws=200).interval
    assert doubled is not None
    assert (doubled.low, doubled.high) == pytest.approx((found.interval.low, found.interval.high), abs=1e-9)
    assert rate_interval([], []).reason == "no pairs"
    assert rate_interval([None], ["a"]).reason == "no pair has a verdict"
    one = rate_interval([True, False], ["a", "a"])
    assert (one.rate, one.interval, one.reason) == (0.5, None, "one scenario: no interval")
    flat = rate_interval([True, False] * 3, ["a", "a", "b", "b", "c", "c"])
    assert flat.interval is None
    assert "no variation" in flat.reason
    with pytest.raises(BadInput, match="as many scenarios"):
        rate_interval([True], [])


def test_rank_biserial_against_pairs() -> None:
    generator = np.random.default_rng(0)
    new, old = generator.integers(0, 8, 40) / 10, generator.integers(2, 10, 35) / 10
    found = rank_biserial(new, old)
    wins = np.sign(new[:, None] - old[None, :])
    assert found.r == pytest.approx(wins.mean())
    assert found.r is not None
    assert found.r < 0
    assert found.u == pytest.approx(((wins + 1) / 2).sum())
    assert found.p == stats.mannwhitneyu(new, old).pvalue
    back = rank_biserial(old, new)
    assert back.r == pytest.approx(-found.r)


def test_slices_that_are_not_tested() -> None:
    rows = np.linspace(0, 1, 30)
    small = rank_biserial(rows[:29], rows)
    assert (small.r, small.u, small.p) == (None, None, None)
    assert small.reason == "fewer than 30 rows in a sample (29 and 30)"
    assert rank_biserial(rows, rows).r == pytest.approx(0)
    assert rank_biserial([0.5] * 30, [0.5] * 30).reason == "all values are equal"
    with pytest.raises(BadInput, match="New values"):
        rank_biserial([math.nan] * 30, rows)
