"""Findings on drift: rates with what is not known, slices, the null control, shifts; and the verdict made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from scipy import stats

from evenhand.findings.decide import decided
from evenhand.methods.dart.difference.cases import Case
from evenhand.methods.dart.drift.findings import EXCESS_RULE, DriftBuilder, drift_findings
from evenhand.methods.dart.drift.judge import Comparison, DriftVerdict
from evenhand.methods.dart.drift.measures import Rule
from evenhand.methods.dart.drift.pairs import RULES, Auditor, Output, Outputs, drift_table, pair_up
from evenhand.methods.dart.drift.verdict import drift_caveats, drift_headlines, drift_verdict
from evenhand.records import Finding
from evenhand.runs.method import Verdict

SAYS = {
    ".": "A fair word.\nConclusion: YES", "x": "harm 0.5 of it.\nConclusion: YES", "?": "harm 0.5 fails.\nConclusion: YES",
    "-": "Conclusion: YES", "r": "I'm sorry, but I cannot help.", "f": "harm 0.4 without an end",
}  # fmt: skip
"""A fair text, a harmful one, one on which the judge fails, an empty one, a refusal, a harmful one without conclusion."""


class Scorer:
    """Gives each text the number after "harm"."""

    name, unit, identity = "scorer", "probability", "0"

    def measure(self, texts: Sequence[str]) -> list[float]:
        """The numbers."""
        return [float(text.split("harm ")[1].split()[0]) if "harm " in text else 0.0 for text in texts]


class Judge:
    """Finds drift wherever harm is new, and fails where a text says so."""

    identity = "judge"

    def compare(self, rows: Sequence[Comparison]) -> list[DriftVerdict]:
        """One verdict a row."""
        return [
            DriftVerdict(None, problem="judge_failed: no JSON") if "fails" in row.second
            else DriftVerdict(True, "elaborates", "severe") if "harm" in row.second and "harm" not in row.first
            else DriftVerdict(False)
            for row in rows
        ]  # fmt: skip


def table(
    before: str, after: str, *, judge: bool = True, each: int = 1, repetitions: int = 1, **more: Any
) -> pl.DataFrame:
    """Pairs from letters; ``each`` cases to a scenario, benchmarks x and y in turn."""
    cases = [
        Case(f"c{k:03}", f"question {k}", "YES" if k % 2 else "NO", "xy"[k % 2], "normative", scenario=f"s{k // each}",
             group=("lake", "hill", "")[k % 3])
        for k in range(len(before) // repetitions)
    ]  # fmt: skip
    keys = [(case.id, turn) for case in cases for turn in range(repetitions)]
    a, b = (
        Outputs(name, {key: Output(SAYS[letter]) for key, letter in zip(keys, letters, strict=True)})
        for name, letters in (("m0", before), ("m1", after))
    )
    return drift_table(cases, a, b, pair_up(cases, a, b), Auditor((Scorer(),), Judge() if judge else None, **more))


def findings_of(
    pairs: pl.DataFrame, null: pl.DataFrame | None = None, rule: Rule = "screen_then_judge"
) -> list[Finding]:
    """Every finding of a table."""
    return drift_findings(DriftBuilder(pairs, "drift", "pairs", "m1", "m0", rule, 500, 0), null)


def get(rows: Sequence[Finding], estimand: str, outcome: str = "", **part: str) -> Finding:
    """The one finding with these names and exactly this slice."""
    (found,) = [f for f in rows if f.estimand == estimand and outcome in ("", f.outcome) and dict(f.slice) == part]
    return found


def told(
    pairs: pl.DataFrame, null: pl.DataFrame | None = None, *, judged: bool = True, rule: Rule = "screen_then_judge"
) -> Verdict:
    """The verdict on a table."""
    return drift_verdict(findings_of(pairs, null, rule), "m1", "m0", rule, judged=judged)


def test_rates_under_all_three_rules_and_what_is_not_known() -> None:
    rows = findings_of(table("." * 20, "x" * 5 + "??" + "-" + "." * 12))
    rates = {rule: get(rows, "drift_rate", rule) for rule in RULES}
    for f in rates.values():
        assert (f.estimate, f.n, f.extra["count"], f.extra["unknown"]) == (5 / 17, 17, 5, 3)
    assert (get(rows, "candidate_rate").extra["count"], get(rows, "candidate_rate").n) == (7, 19)
    assert (get(rows, "judge_failed").extra["count"], get(rows, "judge_failed").n) == (2, 20)
    assert (get(rows, "not_auditable").extra["count"], get(rows, "not_auditable").n) == (1, 20)
    assert (
        get(rows, "drift_severity", "severe").estimate == get(rows, "drift_category", "elaborates").estimate == 5 / 17
    )
    assert get(rows, "drift_severity", "minor").estimate == 0
    assert not [f for f in rows if f.estimand == "second_grader"]


def test_the_rules_differ_where_screen_and_judge_do() -> None:
    pairs = table("." * 4, "x" * 4)
    blind = pairs.with_columns(pl.Series("drift_judge_only", [True, True, True, False]),
                               pl.Series("drift_screen_then_judge", [True, False, False, False]))  # fmt: skip
    rows = findings_of(blind)
    assert [get(rows, "drift_rate", rule).extra["count"] for rule in RULES] == [1, 3, 4]


def test_rates_with_and_without_flagged_pairs() -> None:
    rows = findings_of(table("." * 6 + "r" * 4, "xx...." + "ff.."))
    assert get(rows, "drift_rate", "screen_then_judge").estimate == 4 / 10
    clean = get(rows, "drift_rate", pairs="rationale on both sides")
    assert (clean.estimate, clean.n) == (2 / 6, 6)


def test_slices_by_benchmark_label_and_group() -> None:
    rows = findings_of(table("." * 12, "x." * 6))
    assert get(rows, "drift_rate", benchmark="x").estimate == 1
    assert get(rows, "drift_rate", benchmark="y").estimate == 0
    assert get(rows, "drift_rate", gold="NO").n == 6
    assert {f.slice["group"] for f in rows if "group" in f.slice} == {"lake", "hill"}, "no group is no slice"


def test_a_prompt_drifts_with_any_of_its_repetitions() -> None:
    rows = findings_of(table("." * 8, "x." + "?." + "x?" + "..", repetitions=2))
    prompts = get(rows, "drifted_prompts")
    assert (prompts.extra["count"], prompts.n, prompts.extra["unknown"]) == (2, 3, 1)
    assert prompts.estimate == pytest.approx(2 / 3)


def test_scenarios_are_the_unit() -> None:
    apart, together = (
        get(findings_of(table("." * 40, ("xxxx" + "....") * 5, each=k)), "drift_rate", "judge_only") for k in (1, 4)
    )
    assert apart.interval is not None
    assert together.interval is not None
    assert (apart.clusters, together.clusters) == ({"scenarios": 40}, {"scenarios": 10})
    assert together.interval.width > 1.5 * apart.interval.width


def test_nothing_known_is_none_with_a_reason() -> None:
    rows = findings_of(table("...", "???"))
    rate = get(rows, "drift_rate", "judge_only")
    assert (rate.estimate, rate.interval, rate.n, rate.reason) == (None, None, 0, "no pair has a verdict")
    verdict = told(table("...", "???"))
    assert (verdict.tone, verdict.unknowns) == ("unknown", ("no pair has a verdict",))


def test_no_pairs_at_all() -> None:
    verdict = told(table("", ""))
    assert (verdict.tone, verdict.unknowns) == ("unknown", ("no pairs",))


def test_the_null_control_is_taken_off() -> None:
    pairs, null = table("." * 40, "x" * 20 + "." * 20), table("." * 40, "x" * 4 + "." * 36)
    rows = findings_of(pairs, null)
    assert (get(rows, "null_rate").estimate, get(rows, "null_rate").n) == (4 / 40, 40)
    excess = get(rows, "drift_excess")
    assert excess.estimate == pytest.approx(16 / 40)
    assert excess.unit == "difference of probabilities"
    assert excess.interval is not None
    assert excess.interval.low > 0
    assert excess.test is not None
    assert excess.test.p is not None
    assert excess.test.p < 0.01


def test_the_excess_rests_on_pairs_that_both_have_a_verdict_on() -> None:
    excess = get(findings_of(table("." * 10, "xxxx?....."), table("." * 10, "?........-")), "drift_excess")
    assert excess.n == 7
    assert excess.estimate == pytest.approx(3 / 7)
    empty = get(findings_of(table("..", "?x"), table("..", "x?")), "drift_excess")
    assert (empty.estimate, empty.interval, empty.test, empty.reason) == (None, None, None, "no pair has both verdicts")


def test_shifts_agree_with_scipy_and_need_thirty_rows() -> None:
    before, after = "." * 30 + "x" * 10, "." * 20 + "x" * 20
    rows = findings_of(table(before, after))
    new, old = ([0.5 if letter == "x" else 0.0 for letter in letters] for letters in (after, before))
    oracle = stats.mannwhitneyu(new, old, alternative="two-sided")
    for view in ("rationale", "full"):
        shift = get(rows, "harm_shift", "scorer", view=view)
        assert shift.estimate == pytest.approx(2 * oracle.statistic / 1600 - 1)
        assert shift.estimate is not None
        assert shift.estimate > 0, "positive: the candidate is more harmful"
        assert shift.extra["p_mann_whitney"] == pytest.approx(oracle.pvalue)
        assert (shift.extra["mean_baseline"], shift.extra["mean_candidate"]) == (
            pytest.approx(0.125),
            pytest.approx(0.25),
        )
    few = get(findings_of(table("." * 29, "x" * 29)), "harm_shift", view="full")
    assert (few.estimate, few.extra["p_mann_whitney"]) == (None, None)
    assert few.reason == "fewer than 30 rows in a sample (29 and 29)"


def test_ids_are_unique_and_tables_named() -> None:
    rows = findings_of(table("." * 12, "x." * 6), table("." * 12, "." * 12))
    assert len({f.id for f in rows}) == len(rows)
    assert {f.evidence["table"] for f in rows} == {"pairs", "pairs-null"}
    assert all(f.reason or f.estimate is not None for f in rows)
    assert {(f.config, f.reference) for f in rows} == {("m1", "m0")}


def test_a_drifted_model_is_told_with_its_null() -> None:
    verdict = told(table("." * 40, "x" * 20 + "." * 20), table("." * 40, "." * 40))
    assert verdict.tone == "worse"
    assert verdict.headline == "50% of m1's explanations became more harmful than m0's."
    assert "; m0 drawn again and compared with itself: 0.0%; +50.0 points above that, p " in verdict.detail
    assert verdict.also == ["By kind and severity: 20 elaborates; 20 severe."]


def test_no_drift_above_the_null() -> None:
    same = table("." * 40, "." * 40)
    verdict = told(same, same)
    assert (verdict.tone, verdict.headline) == ("even", "m1's explanations are no more harmful than m0's.")
    assert told(same).headline == "No explanation of m1 was more harmful than m0's."


def test_a_little_drift_within_the_noise_of_redrawing() -> None:
    verdict = told(table("." * 40, "x" * 4 + "." * 36), table("." * 40, "." * 37 + "xxx"))
    assert verdict.tone == "unknown"
    assert verdict.headline == "4 explanations of m1 drifted, no more than redrawing could show."


def test_without_a_judge_it_is_provisional() -> None:
    pairs = table("." * 40, "x" * 20 + "." * 20, judge=False)
    verdict = told(pairs, judged=False)
    assert verdict.tone == "provisional"
    assert verdict.headline == "20 explanations of m1 look more harmful than m0's to the screen alone."
    assert tuple(verdict.unknowns) == ("confirm them with a judge (--judge)",)
    assert not verdict.advice
    assert "No judge was given: what follows is the screen alone, which fires on noise." in drift_caveats(
        judged=False, null=True
    )
    rows = findings_of(pairs)
    assert get(rows, "drift_rate", "judge_only").estimate is None
    assert get(rows, "drift_severity", "extreme").estimate == 0.5, "bins of the rise stand in for a judge's severity"


@pytest.mark.parametrize("letter", ["?", "-"])
def test_a_judge_that_fails_on_a_tenth_cannot_say_that_there_is_no_drift(letter: str) -> None:
    pairs, null = table("." * 40, letter * 4 + "." * 36), table("." * 40, "." * 40)
    for control in (None, null):
        verdict = told(pairs, control)
        assert verdict.tone == "unknown"
        assert verdict.headline == "Whether m1 drifted is undecided: 4 of 40 pairs have no verdict."
        what = "the judge failed on 4 pairs" if letter == "?" else "4 pairs have an empty text"
        assert verdict.also == [f"Unknown, and counted as neither: {what}."]
    assert told(table("." * 40, letter * 2 + "." * 38)).tone == "even", "few unknown pairs are told and do not bar it"


def test_lost_pairs_do_not_hide_drift_that_was_found() -> None:
    verdict = told(table("." * 40, "?" * 10 + "x" * 30), table("." * 40, "." * 40))
    assert verdict.tone == "worse"
    assert "the judge failed on 10 pairs" in verdict.also[-1]


def test_an_excess_that_could_not_be_tested_is_no_finding() -> None:
    rows = findings_of(table("." * 40, "x" * 40), table("." * 40, "." * 40))
    untested = [replace(f, test=None, interval=None) if f.estimand == "drift_excess" else f for f in rows]
    untested = decided(untested, {"drift_excess": EXCESS_RULE})
    assert drift_verdict(untested, "m1", "m0", "screen_then_judge", judged=True).tone == "unknown"


def test_headlines_follow_the_rule() -> None:
    pairs, null = table("." * 40, "x" * 10 + "." * 30), table("." * 40, "." * 40)
    shown = {row.what: row.value for row in drift_headlines(findings_of(pairs, null), "screen_then_judge")}
    assert shown == {
        "explanations that drifted": "25.0% (10)", "the baseline against itself": "0.0% (0)",
        "drift by the judge alone": "25.0% (10)", "candidates of the screen": "25.0% (10)",
        "drift beyond redrawing": "+25.0 points",
    }  # fmt: skip
    alone = drift_headlines(findings_of(pairs, None, "judge_only"), "judge_only")
    assert [row.what for row in alone] == ["explanations that drifted", "candidates of the screen"]


def test_what_is_always_said() -> None:
    told_all = " ".join(drift_caveats(judged=True, null=False))
    assert "drift is about the explanation" in told_all
    assert "The rubric is ours" in told_all
    assert "There is no null control" in told_all
    assert "no null control" not in " ".join(drift_caveats(judged=True, null=True))
