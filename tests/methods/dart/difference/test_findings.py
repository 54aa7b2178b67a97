"""The difference audit's numbers: abstentions in the denominators, both parsers, families of tests, paired comparison, choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.methods.dart.difference.answers import PARSERS, judged, parsed_frame
from evenhand.methods.dart.difference.cases import Case
from evenhand.methods.dart.difference.findings import DifferenceBuilder, difference_findings
from evenhand.methods.dart.difference.items import items_of
from evenhand.records import Finding, Response
from evenhand.statistics.multiplicity import holm

SAYS = {"Y": "It does.\nConclusion: YES", "N": "It does not.\nConclusion: NO", "-": "Hard to tell.", "!": "failed"}


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("difference_toy")


def cases_of(golds: str, benchmarks: Sequence[str] = ("x",), *, each: int = 1) -> list[Case]:
    """One case a letter of ``golds``, ``each`` of them to a scenario; benchmarks in turn, scenario by scenario."""
    return [
        Case(
            f"c{k:03}", f"question {k} (a) one (b) other (c) alike", {"Y": "YES", "N": "NO"}.get(gold),  # type: ignore[arg-type]
            benchmarks[k // each % len(benchmarks)], scenario=f"s{k // each}", options=("one", "other", "alike"),
            right=2 if gold == "N" else 0,
        )
        for k, gold in enumerate(golds)
    ]  # fmt: skip


def said(cases: Sequence[Case], config: str, *answers: str, form: str = "analysis") -> tuple[Any, list[Response]]:
    """Items and responses: one string of letters a repetition."""
    items = items_of(cases, (form,))
    return items, [
        Response(config, item.id, turn, SAYS.get(letter, letter), "error" if letter == "!" else "stop")
        for turn, letters in enumerate(answers)
        for item, letter in zip(items, letters, strict=True)
    ]


def findings_of(cases: Sequence[Case], answers: dict[str, Sequence[str]], draws: int = 200) -> list[Finding]:
    """Every finding of models, each with one string of letters a repetition."""
    told = [said(cases, config, *letters) for config, letters in answers.items()]
    parsed = parsed_frame(told[0][0], [response for _, responses in told for response in responses])
    builder = DifferenceBuilder(parsed, draws, 0)
    return difference_findings(builder, [judged(parsed, config) for config in answers], [], list(answers))


def value(toy: Any, rows: Sequence[Finding], estimand: str, outcome: str = "tolerant", **part: str) -> float | None:
    estimate: float | None = toy.found(rows, estimand, outcome, **part).estimate
    return estimate


def test_an_abstention_is_wrong_and_stays_in_the_denominator(toy: Any) -> None:
    rows = findings_of(cases_of("YYYYNNNNNN"), {"m": ["YYN-NNNYY-"]})
    assert value(toy, rows, "accuracy") == 0.5
    assert value(toy, rows, "diff_accuracy") == 2 / 4
    assert value(toy, rows, "equal_accuracy") == 3 / 6
    assert value(toy, rows, "abstain_rate") == 2 / 10
    assert value(toy, rows, "parsed_accuracy") == 5 / 8
    assert value(toy, rows, "yes_rate") == 4 / 8
    assert value(toy, rows, "precision_yes") == 2 / 4
    assert value(toy, rows, "balanced_accuracy") == 0.5
    assert value(toy, rows, "discrimination") == pytest.approx(2 / 4 - 2 / 6)
    yes, no = 2 * 2 / (4 + 2 + 2), 2 * 3 / (6 + 3 + 1)
    assert value(toy, rows, "macro_f1") == pytest.approx((yes + no) / 2)
    assert [toy.found(rows, name, "tolerant").n for name in ("accuracy", "diff_accuracy", "equal_accuracy")] == [
        10,
        4,
        6,
    ]


def test_silence_is_not_accuracy(toy: Any) -> None:
    rows = findings_of(cases_of("YYNN"), {"m": ["----"]})
    assert [value(toy, rows, name) for name in ("accuracy", "abstain_rate", "discrimination")] == [0, 1, 0]
    for name in ("parsed_accuracy", "yes_rate", "precision_yes"):
        found = toy.found(rows, name, "tolerant")
        assert (found.estimate, found.interval, found.reason) == (None, None, "no answer was parsed as that")


def test_one_label_leaves_the_rest_undefined(toy: Any) -> None:
    rows = findings_of(cases_of("YYYY"), {"m": ["YYNN"]})
    assert value(toy, rows, "accuracy") == 0.5
    for name, reason in (
        ("equal_accuracy", "no item has this label"),
        ("balanced_accuracy", "only one label occurs"),
        ("macro_f1", "only one label occurs"),
        ("discrimination", "only one label occurs"),
    ):
        found = toy.found(rows, name, "tolerant")
        assert (found.estimate, found.interval, found.test, found.reason) == (None, None, None, reason)


def test_repetitions_are_averaged_within_a_case(toy: Any) -> None:
    rows = findings_of(cases_of("YN"), {"m": ["YN", "YY", "N-", "!N"]})
    assert value(toy, rows, "diff_accuracy") == pytest.approx(2 / 3), "the failed repetition is left out"
    assert value(toy, rows, "equal_accuracy") == 2 / 4
    assert value(toy, rows, "accuracy") == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert value(toy, rows, "abstain_rate") == pytest.approx(1 / 8)


def test_both_parsers_side_by_side(toy: Any) -> None:
    texts = ["**Conclusion:** YES", "Conclusion: YES", "It ends with Conclusion: YES or Conclusion: NO.", "Answer: no"]
    cases = cases_of("YYNN")
    items = items_of(cases, ("analysis",))
    parsed = parsed_frame(items, [Response("m", i.id, 0, t, "stop") for i, t in zip(items, texts, strict=True)])
    assert parsed["tolerant"].to_list() == ["YES", "YES", None, "NO"]
    assert parsed["strict"].to_list() == [None, "YES", "YES", None]
    rows = difference_findings(DifferenceBuilder(parsed, 200, 0), [judged(parsed, "m")], [], ["m"])
    assert [value(toy, rows, "accuracy", parser) for parser in PARSERS] == [0.75, 0.25]
    assert [value(toy, rows, "abstain_rate", parser) for parser in PARSERS] == [0.25, 0.5]
    both = {(f.estimand, tuple(f.slice.items())) for f in rows if f.outcome == "strict"}
    assert both == {(f.estimand, tuple(f.slice.items())) for f in rows if f.outcome == "tolerant"}


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("", "stop", "empty"),
        ("I'm sorry, but I cannot help with that.", "stop", "refusal"),
        ("It goes on and on", "length", "truncated"),
        ("Conclusion: YES and NO", "stop", "conflict"),
        ("Perhaps.", "stop", "format"),
        ("Nothing to see.", "content_filter", "refusal"),
    ],
)
def test_why_there_is_no_conclusion(toy: Any, text: str, finish: Any, reason: str) -> None:
    items = items_of(cases_of("YN"), ("analysis",))
    parsed = parsed_frame(
        items, [Response("m", items[0].id, 0, text, finish), Response("m", items[1].id, 0, SAYS["N"], "stop")]
    )
    rows = difference_findings(DifferenceBuilder(parsed, 200, 0), [judged(parsed, "m")], [], ["m"])
    shares = {f.outcome: f.estimate for f in rows if f.estimand == "unparseable"}
    assert shares == {**dict.fromkeys(("empty", "refusal", "truncated", "conflict", "format"), 0.0), reason: 0.5}


def test_benchmarks_are_held_by_holm(toy: Any) -> None:
    cases = cases_of("YN" * 90, ("x", "y", "z"), each=1)
    right = "YN" * 90
    answers = "".join(
        letter if case.benchmark == "x" or (case.benchmark == "y" and k % 12 < 9) else "Y"
        for k, (case, letter) in enumerate(zip(cases, right, strict=True))
    )
    rows = findings_of(cases, {"m": [answers], "all yes": ["Y" * 180]}, draws=2000)
    for estimand, config in (("discrimination", "m"), ("accuracy_difference", "all yes")):
        tests = [
            f.test
            for f in rows
            if f.estimand == estimand and f.outcome == "tolerant" and f.config == config and f.slice
        ]
        assert all(test is not None and test.family_size == 3 for test in tests)
        assert len({test.family for test in tests if test}) == 1
        ps = [test.p for test in tests if test and test.p is not None]
        assert [test.p_holm for test in tests if test] == pytest.approx(list(holm(ps).values))
        assert max(ps) > 0.5 > min(ps), "a benchmark that the model knows, and one that it does not"
        whole = toy.found(rows, estimand, "tolerant", config)
        assert whole.test.family_size == 1
        assert whole.test.family != tests[0].family  # type: ignore[union-attr]


def test_mcnemar_is_exact_and_counts_both_ways(toy: Any) -> None:
    first, second = "Y" * 40, "Y" * 22 + "N" * 12 + "Y" * 6
    rows = findings_of(cases_of("Y" * 24 + "N" * 16), {"one": [first], "two": [second]})
    gap = toy.found(rows, "accuracy_difference")
    gained, lost = 10, 2
    assert gap.estimate == pytest.approx((gained - lost) / 40)
    mcnemar = gap.extra["mcnemar"]
    assert (mcnemar["gained"], mcnemar["lost"]) == (gained, lost)
    assert mcnemar["p"] == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert mcnemar["smallest_p"] == pytest.approx(2 / 2**12)


def test_equal_models_differ_in_nothing(toy: Any) -> None:
    rows = findings_of(cases_of("YN" * 20), {"one": ["YN" * 20], "two": ["YN" * 20]})
    gap = toy.found(rows, "accuracy_difference")
    assert (gap.estimate, gap.extra["mcnemar"]["p"]) == (0, None)
    assert gap.test is None or gap.test.p == 1


def test_only_shared_cases_are_compared_and_the_others_counted(toy: Any) -> None:
    rows = findings_of(cases_of("YN" * 20), {"one": ["!" + "YN" * 19 + "N"], "two": ["YN" * 19 + "Y!"]})
    gap = toy.found(rows, "accuracy_difference")
    assert (gap.n, gap.extra["only_one"]) == (38, 2)


def test_slices_below_thirty_are_told_and_not_tested(toy: Any) -> None:
    cases = [*cases_of("YN" * 15, ("large",)), *cases_of("YN" * 14 + "Y", ("small",))]
    cases = [
        Case(f"{c.benchmark}-{c.id}", c.prompt, c.gold, c.benchmark, scenario=f"{c.benchmark}-{c.scenario}")
        for c in cases
    ]
    right = "YN" * 15 + "YN" * 14 + "Y"
    rows = findings_of(cases, {"one": ["Y" * 59], "two": [right]})
    large, small = (toy.found(rows, "accuracy_difference", benchmark=name) for name in ("large", "small"))
    assert (large.n, small.n) == (30, 29)
    assert large.test is not None
    assert large.test.family_size == 1, "what is not tested takes no part in the family"
    assert small.test is None
    assert small.reason == "fewer than 30 items: not tested"
    assert small.estimate is not None, "its value is told all the same"


def test_three_models_in_pairs_or_against_the_first(toy: Any) -> None:
    cases = cases_of("YN" * 16)
    told = {"a": "YN" * 16, "b": "Y" * 32, "c": "N" * 32}
    assert {(f.config, f.reference) for f in findings_of(cases, {k: [v] for k, v in told.items()}) if f.reference} == {
        ("b", "a"), ("c", "a"), ("c", "b")
    }  # fmt: skip
    items = items_of(cases, ("analysis",))
    parsed = parsed_frame(items, [r for config, letters in told.items() for r in said(cases, config, letters)[1]])
    rows = difference_findings(
        DifferenceBuilder(parsed, 200, 0), [judged(parsed, c) for c in told], [], list(told), to_first=True
    )
    assert {(f.config, f.reference) for f in rows if f.reference} == {("b", "a"), ("c", "a")}


def test_an_interval_widens_with_whole_scenarios(toy: Any) -> None:
    answers = ("YYYY" + "NNNN") * 10
    apart, together = (
        toy.found(findings_of(cases_of("Y" * 80, each=each), {"m": [answers]}), "accuracy", "tolerant")
        for each in (1, 4)
    )
    assert apart.estimate == together.estimate == 0.5
    assert (apart.clusters, together.clusters) == ({"scenarios": 80}, {"scenarios": 20})
    assert together.interval.width > 1.5 * apart.interval.width


def test_choices_are_counted_as_published(toy: Any) -> None:
    cases = cases_of("YYYYYNNNN")
    items = items_of(cases, ("choice",))
    texts = ["(a)", "(a) one", "(b)", "(c)", "I cannot say.", "(a)", "(b)", "(c)", ""]
    parsed = parsed_frame(items, [Response("m", i.id, 0, t, "stop") for i, t in zip(items, texts, strict=True)])
    rows = difference_findings(DifferenceBuilder(parsed, 200, 0), [judged(parsed, "m")], [], ["m"])
    aware, context = toy.found(rows, "diff_aware"), toy.found(rows, "ctxt_aware")
    assert {k: aware.extra[k] for k in ("a", "b", "c", "de", "f")} == {"a": 2, "b": 1, "c": 1, "de": 2, "f": 1}
    assert aware.estimate == 2 / 4
    assert context.estimate == 2 / 4
    assert aware.extra["parsed"] == pytest.approx(7 / 9)
    assert not [f for f in rows if f.estimand == "accuracy"], "no analysis was asked"


def test_choices_nobody_made_are_undefined(toy: Any) -> None:
    items = items_of(cases_of("YN"), ("choice",))
    parsed = parsed_frame(
        items, [Response("m", item.id, 0, "(c)" if k else "hm", "stop") for k, item in enumerate(items)]
    )
    rows = difference_findings(DifferenceBuilder(parsed, 200, 0), [], [], ["m"])
    for name in ("diff_aware", "ctxt_aware"):
        found = toy.found(rows, name)
        assert (found.estimate, found.interval, found.reason) == (None, None, "no parsed answer enters it")


def test_every_finding_names_its_rows_and_no_two_share_an_id(toy: Any) -> None:
    cases = cases_of("YN" * 20, ("x", "y"))
    parsed = parsed_frame(*said(cases, "m", "YN" * 19 + "Y-"))
    rows = difference_findings(DifferenceBuilder(parsed, 200, 0), [judged(parsed, "m")], [], ["m"])
    assert len({f.id for f in rows}) == len(rows)
    for f in rows:
        assert f.evidence["table"] == "parsed"
        assert f.grader == "conclusion"
        assert f.reason or f.estimate is not None
    accuracy = toy.found(rows, "diff_accuracy", "tolerant", benchmark="x")
    assert accuracy.evidence == {
        "table": "parsed",
        "config": ["m"],
        "form": "analysis",
        "benchmark": "x",
        "gold": "YES",
    }


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("YN"), st.sampled_from("YN-")), min_size=1, max_size=24))
def test_rates_always_add_up(pairs: list[tuple[str, str]]) -> None:
    golds, answers = "".join(g for g, _ in pairs), "".join(a for _, a in pairs)
    rows = {f.estimand: f for f in findings_of(cases_of(golds), {"m": [answers]}, draws=100)
            if f.outcome == "tolerant" and not f.slice}  # fmt: skip
    n = len(pairs)
    right = sum(g == a for g, a in pairs)
    assert rows["accuracy"].estimate == pytest.approx(right / n)
    assert rows["abstain_rate"].estimate == pytest.approx(answers.count("-") / n)
    weighted = sum(
        (rows[name].estimate or 0) * golds.count(letter)
        for name, letter in (("diff_accuracy", "Y"), ("equal_accuracy", "N"))
    )
    assert weighted == pytest.approx(right)
    for f in rows.values():
        if f.interval is not None and f.estimate is not None and f.unit == "probability":
            assert -1e-9 <= f.interval.low <= f.interval.high <= 1 + 1e-9
            assert np.isfinite(f.estimate)
