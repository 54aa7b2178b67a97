"""Decision metrics, DiffAware and CtxtAware, and their intervals; also on the published numbers."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar as reference

from evenhand.methods.dart.difference import measures as awareness
from evenhand.methods.dart.difference.answers import parse_option
from evenhand.methods.dart.difference.cases import BENCHMARKS, read_benchmarks
from evenhand.methods.dart.difference.measures import (
    ChoiceCounts,
    Decisions,
    choice_counts,
    decisions,
    discrimination,
    discrimination_interval,
    mcnemar,
    ratio_interval,
)

ANSWERS = st.lists(st.tuples(st.booleans(), st.sampled_from(["YES", "NO", ""])), min_size=1, max_size=40)


def _decide(rows: list[tuple[bool, str]]) -> Decisions:
    return decisions([g for g, _ in rows], [a == "YES" for _, a in rows], [a == "NO" for _, a in rows])


def test_by_hand() -> None:
    d = Decisions(tp=6, fn=1, fp=5, tn=2, none_yes=3, none_no=3)
    assert (d.n, d.n_yes, d.n_no) == (20, 10, 10)
    assert d.accuracy == 0.4
    assert (d.diff_accuracy, d.equal_accuracy) == (0.6, 0.2)
    assert d.precision_yes == 6 / 11
    assert d.abstain_rate == 0.3
    assert d.yes_rate == 11 / 14
    assert d.parsed_accuracy == 8 / 14
    assert d.balanced_accuracy == pytest.approx(0.4)
    assert d.macro_f1 == pytest.approx((12 / 21 + 4 / 13) / 2)


@settings(deadline=None)
@given(ANSWERS)
def test_accuracies_and_f1_agree_with_scikit_learn(rows: list[tuple[bool, str]]) -> None:
    found = _decide(rows)
    gold = ["YES" if g else "NO" for g, _ in rows]
    said = [a or "none" for _, a in rows]
    assert found.accuracy == pytest.approx(metrics.accuracy_score(gold, said))
    assert found.n == len(rows)
    if len(set(gold)) == 1:
        assert found.balanced_accuracy is None
        assert found.macro_f1 is None
        return
    labels = ["YES", "NO"]
    assert found.macro_f1 == pytest.approx(
        metrics.f1_score(gold, said, labels=labels, average="macro", zero_division=0)
    )
    recall = metrics.recall_score(gold, said, labels=labels, average=None, zero_division=0)
    assert [found.diff_accuracy, found.equal_accuracy] == pytest.approx(list(recall))
    assert found.balanced_accuracy == pytest.approx(recall.mean())
    if "none" not in said:
        assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(gold, said))
        assert found.parsed_accuracy == pytest.approx(metrics.accuracy_score(gold, said))
        assert found.abstain_rate == 0
    if "YES" in said:
        precision = metrics.precision_score(gold, said, labels=["YES"], average=None, zero_division=0)
        assert found.precision_yes == pytest.approx(float(precision[0]))


def test_what_is_undefined_is_none_and_never_0() -> None:
    nothing = decisions([], [], [])
    single = decisions([True, True], [1, 0], [0, 1])
    mute = decisions([True, False], [0, 0], [0, 0])
    assert (nothing.accuracy, nothing.abstain_rate, nothing.macro_f1) == (None, None, None)
    assert (single.equal_accuracy, single.balanced_accuracy, single.macro_f1) == (None, None, None)
    assert single.diff_accuracy == 0.5
    assert (mute.precision_yes, mute.yes_rate, mute.parsed_accuracy) == (None, None, None)
    assert (mute.accuracy, mute.abstain_rate, mute.macro_f1) == (0, 1, 0)


def test_repetitions_are_averaged_within_an_item_first() -> None:
    found = decisions([True, True, False, False], [1, 1 / 4, 1 / 2, 0], [0, 1 / 4, 1 / 2, 2 / 3])
    assert (found.tp, found.fn, found.none_yes) == pytest.approx((1.25, 0.25, 0.5))
    assert (found.fp, found.tn, found.none_no) == pytest.approx((0.5, 0.5 + 2 / 3, 1 / 3))
    assert found.n == pytest.approx(4)
    assert found.accuracy == pytest.approx((1.25 + 0.5 + 2 / 3) / 4)


@settings(deadline=None)
@given(ANSWERS, st.integers(2, 4))
def test_equal_repetitions_change_no_metric(rows: list[tuple[bool, str]], times: int) -> None:
    once = _decide(rows)
    gold, said = [g for g, _ in rows], [[a] * times for _, a in rows]
    again = decisions(gold, [s.count("YES") / times for s in said], [s.count("NO") / times for s in said])
    assert again == once


# --- DiffAware and CtxtAware ---------------------------------------------------------------------------------------


def test_choices_by_hand() -> None:
    right = [0, 1, 0, 1, 2, 2, 2]
    said = np.eye(3)[[0, 1, 1, 2, 0, 2, 2]]
    found = choice_counts(right, said)
    assert found == ChoiceCounts(a=2, b=1, c=1, de=1, f=2)
    assert found.diff_aware == 0.5
    assert found.ctxt_aware == pytest.approx(2 / 3)


def test_fractional_choices_and_guessing() -> None:
    found = choice_counts([0, 1, 2], np.full((3, 3), 1 / 3))
    assert (found.a, found.b, found.c) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (found.de, found.f) == pytest.approx((2 / 3, 1 / 3))
    even = choice_counts([0, 1, 2, 2], np.full((4, 3), 1 / 3))
    assert even.diff_aware == pytest.approx(1 / 3)
    assert even.ctxt_aware == pytest.approx(1 / 3), "three-way guessing gives 1/3 on each"


def test_undefined_awareness() -> None:
    assert choice_counts([], np.zeros((0, 3))) == ChoiceCounts(0, 0, 0, 0, 0)
    equal_only = choice_counts([2, 2], np.eye(3)[[2, 2]])
    assert (equal_only.diff_aware, equal_only.ctxt_aware) == (None, None)
    always_equal = choice_counts([0, 2], np.eye(3)[[2, 2]])
    assert (always_equal.diff_aware, always_equal.ctxt_aware) == (0.0, None)
    assert choice_counts([2], np.eye(3)[[0]]).ctxt_aware == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_choices_agree_with_counting(rows: list[tuple[int, int]]) -> None:
    found = choice_counts([r for r, _ in rows], np.eye(3)[[s for _, s in rows]] if rows else [])
    assert found.a == sum(r < 2 and s == r for r, s in rows)
    assert found.b == sum(r < 2 and s < 2 and s != r for r, s in rows)
    assert found.c == sum(r < 2 and s == 2 for r, s in rows)
    assert found.de == sum(r == 2 and s < 2 for r, s in rows)
    assert found.f == sum(r == 2 and s == 2 for r, s in rows)


# --- paired tests and intervals ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_agrees_with_statsmodels(rows: list[tuple[bool, bool]]) -> None:
    found = mcnemar([a for a, _ in rows], [b for _, b in rows])
    table = [[sum((a, b) == (x, y) for a, b in rows) for y in (True, False)] for x in (True, False)]
    assert (found.lost, found.gained) == (table[0][1], table[1][0])
    discordant = found.gained + found.lost
    if not discordant:
        assert (found.p, found.smallest_p) == (None, None)
        return
    assert found.p == pytest.approx(float(reference(table, exact=True).pvalue))
    assert found.smallest_p == pytest.approx(stats.binomtest(0, discordant).pvalue)
    assert found.p is not None
    assert found.p >= found.smallest_p * (1 - 1e-9)  # type: ignore[operator]


def test_the_bootstrap_is_that_of_all_redraws_of_whole_scenarios() -> None:
    top, bottom, names = [1, 0, 1, 1, 0, 1, 2], [1, 1, 1, 1, 1, 1, 4], ["p", "p", "q", "q", "q", "r", "s"]
    sums = {n: (sum(t for t, m in zip(top, names, strict=True) if m == n),
                sum(b for b, m in zip(bottom, names, strict=True) if m == n)) for n in "pqrs"}  # fmt: skip
    exact: Counter[float] = Counter()
    for drawn in product("pqrs", repeat=4):
        exact[sum(sums[n][0] for n in drawn) / sum(sums[n][1] for n in drawn)] += 1
    values = sorted(exact.elements())
    found = ratio_interval(top, bottom, names, draws=200_000, level=0.9)
    assert found is not None
    assert found.low == pytest.approx(np.quantile(values, 0.05), abs=1e-9)
    assert found.high == pytest.approx(np.quantile(values, 0.95), abs=1e-9)
    assert found.level == 0.9
    assert found.method == "percentile bootstrap over 4 scenarios"


def test_the_bootstrap_of_single_rows_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    right = (rng.random(300) < 0.7).astype(float)
    found = ratio_interval(right, np.ones(300), list(range(300)), draws=9_999)
    oracle = stats.bootstrap(
        (right,), np.mean, n_resamples=9_999, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.01)


def test_rows_of_one_scenario_are_no_evidence_of_their_own() -> None:
    right = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    names = [f"s{k}" for k in range(6)]
    one = ratio_interval(right, np.ones(6), names)
    many = ratio_interval(right * 20, np.ones(120), names * 20)
    assert one is not None
    assert many is not None
    assert (many.low, many.high) == (one.low, one.high)


def test_intervals_that_cannot_be_given() -> None:
    assert ratio_interval([1, 1], [1, 1], ["a", "a"]) is None
    assert ratio_interval([], [], []) is None
    assert ratio_interval([1, 0, 0], [1, 0, 0], ["a", "b", "c"]) is None, "three draws in ten hold no denominator"
    assert discrimination_interval([True, False], [1, 0], ["a", "b"]) is None
    assert discrimination_interval([True, True], [1, 0], ["a", "b"]) is None


def test_discrimination() -> None:
    assert discrimination([True, True, False, False], [1, 0.5, 0.25, 0]) == pytest.approx(0.625)
    assert discrimination([True, False], [1, 0]) == 1
    assert discrimination([True, False], [1, 1]) == 0
    for gold in ([], [True], [False, False]):
        assert discrimination(gold, [1.0] * len(gold)) is None


def test_the_interval_of_discrimination_agrees_with_redrawing_by_hand() -> None:
    rng = np.random.default_rng(1)
    gold = np.tile([True, False], 40)
    yes = np.where(gold, rng.random(80), rng.random(80) / 2)
    names = [k // 4 for k in range(80)]
    found = discrimination_interval(gold, yes, names, draws=4_000, seed=5)
    drawn = []
    for _ in range(4_000):
        rows = np.concatenate([np.flatnonzero(np.array(names) == s) for s in rng.integers(0, 20, 20)])
        drawn.append(yes[rows][gold[rows]].mean() - yes[rows][~gold[rows]].mean())
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.015)
    point = discrimination(gold, yes)
    assert point is not None
    assert found.low < point < found.high


def test_many_scenarios_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    right = np.tile([1.0, 0.0, 1.0], 20)
    whole = ratio_interval(right, np.ones(60), list(range(60)), draws=4_000)
    monkeypatch.setattr(awareness, "_CELLS", 60 * 700)
    pieces = ratio_interval(right, np.ones(60), list(range(60)), draws=4_000)
    assert whole is not None
    assert pieces is not None
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=0.03)
    assert ratio_interval(right, np.ones(60), list(range(60)), draws=4_000) == pieces


Finder = Callable[[str], Path]
COUNTS = ("A_diff_correct", "B_diff_wrong_group", "C_diff_said_equal", "DE_equal_named_a_group", "F_equal_correct")
Options = dict[tuple[str, str], dict[str, list[int | None]]]


@pytest.fixture(scope="module")
def stored(public_data: Finder) -> list[dict[str, str]]:
    path = public_data("difference_awareness") / "published_diffaware_ctxtaware.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def options(public_data: Finder) -> Options:
    """(model, benchmark) -> condition -> the option of every completion."""
    found: Options = defaultdict(dict)
    path = public_data("difference_awareness") / "mc_completions_system0.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["model"], row["benchmark"]][row["condition"]] = [parse_option(text) for text in row["completions"]]
    return found


@pytest.mark.data
def test_formulas_reproduce_all_stored_values(stored: list[dict[str, str]]) -> None:
    assert len(stored) == 360
    undefined = 0
    for row in stored:
        found = ChoiceCounts(*(float(row[name]) for name in COUNTS))
        assert found.diff_aware == pytest.approx(float(row["diffaware"]), abs=2e-4)
        if math.isnan(float(row["ctxtaware"])):
            undefined += 1
            assert found.ctxt_aware is None
        else:
            assert found.ctxt_aware == pytest.approx(float(row["ctxtaware"]), abs=2e-4)
    assert undefined == 4


@pytest.mark.data
def test_completions_reproduce_the_stored_values(
    public_data: Finder, stored: list[dict[str, str]], options: Options
) -> None:
    right: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    for case in read_benchmarks(public_data("difference_awareness")).cases:
        right[case.benchmark, case.condition].append(case.right)
    exact, cells = 0, 0
    for row in stored:
        if row["system_prompt_id"] != "0" or row["benchmark"] == "N1":  # N1 rows are a rebuild
            continue
        said = options[row["model"], row["benchmark"]]
        pairs = [(r, s) for k in ("diff", "equal") for r, s in zip(right[row["benchmark"], k], said[k], strict=True)]
        kept = [(r, s) for r, s in pairs if r is not None and s is not None]
        found = choice_counts([r for r, _ in kept], np.eye(3)[[s for _, s in kept]])
        assert found.diff_aware == pytest.approx(float(row["diffaware"]), abs=0.01)
        assert found.ctxt_aware == pytest.approx(float(row["ctxtaware"]), abs=0.01)
        cells += 1
        exact += [found.a, found.b, found.c, found.de, found.f] == [int(row[name]) for name in COUNTS]
    assert cells == 70
    assert exact >= 63


@pytest.mark.parametrize(
    ("model", "overall", "differ", "equal"), [("llama-3.1-8b", 56.8, 70.2, 43.4), ("gpt-4o", 67.3, 68.1, 66.5)]
)
@pytest.mark.data
def test_zero_shot_reference(options: Options, model: str, overall: float, differ: float, equal: float) -> None:
    gold: list[bool] = []
    said: list[int | None] = []
    for name in BENCHMARKS:
        for condition, answers in options[model, name].items():
            gold += [condition == "diff"] * len(answers)
            said += answers
    found = decisions(gold, [s in (0, 1) for s in said], [s == 2 for s in said])
    assert found.n == 16_000
    told = (found.accuracy, found.diff_accuracy, found.equal_accuracy)
    assert [100 * value for value in told if value is not None] == pytest.approx([overall, differ, equal], abs=0.15)


@pytest.mark.data
def test_scenario_intervals_agree_with_the_stored_ones(
    public_data: Finder, stored: list[dict[str, str]], options: Options
) -> None:
    """On D1 every row is a scenario, so both conditions pooled or not give the published bounds within noise."""
    (row,) = (r for r in stored if (r["model"], r["benchmark"], r["system_prompt_id"]) == ("gpt-4o", "D1", "0"))
    cases = [c for c in read_benchmarks(public_data("difference_awareness"), ["D1"]).cases if c.gold == "YES"]
    said = options["gpt-4o", "D1"]["diff"]
    hit = [float(s == case.right) for case, s in zip(cases, said, strict=True)]
    found = ratio_interval(hit, [float(s is not None) for s in said], [case.scenario for case in cases], draws=9_999)
    assert found is not None
    bounds = (float(row["diffaware_lo"]), float(row["diffaware_hi"]))
    assert (found.low, found.high) == pytest.approx(bounds, abs=0.006)
