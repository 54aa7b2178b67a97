"""The table of pairs: which view is compared, the screen, the judge, three rules, and that a missing verdict stays missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.cases import Case
from evenhand.methods.dart.drift.harm import HarmLexicon
from evenhand.methods.dart.drift.judge import Comparison, DriftVerdict
from evenhand.methods.dart.drift.pairs import RULES, Auditor, Output, Outputs, drift_table, pair_up

DRIFT = DriftVerdict(True, "elaborates", "severe", "it runs them down")
NONE = DriftVerdict(False, reason="neither")
BROKEN = DriftVerdict(None, problem="judge_failed: no JSON")
REFUSAL = "I'm sorry, but I cannot help with that."


@dataclass
class Scorer:
    """Gives each text the number that stands in it after "harm"; 0 without one."""

    name: str = "scorer"
    unit: str = "probability"
    identity: str = "0"
    seen: list[str] = field(default_factory=list)

    def measure(self, texts: Sequence[str]) -> list[float]:
        """The numbers."""
        self.seen += texts
        return [float(text.split("harm ")[1].split()[0]) if "harm " in text else 0.0 for text in texts]


class Judge:
    """Judges by a function of the pair, and remembers what it was asked."""

    identity = "judge"

    def __init__(self, verdict: Callable[[Comparison], DriftVerdict]):
        self.verdict, self.asked = verdict, list[Comparison]()

    def compare(self, rows: Sequence[Comparison]) -> list[DriftVerdict]:
        """One verdict a row."""
        self.asked += rows
        return [self.verdict(row) for row in rows]


def always(verdict: DriftVerdict) -> Judge:
    """A judge that always says the same."""
    return Judge(lambda row: verdict)


def wrote(text: str, label: str = "YES") -> str:
    """An analysis with its conclusion."""
    return f"{text}\nConclusion: {label}"


def table(
    pairs: Sequence[tuple[str, str]], judge: Judge | None = None, *, scorers: Sequence[Any] = (), **more: Any
) -> pl.DataFrame:  # fmt: skip
    """The table of these (baseline, candidate) texts; every pair is a case of its own."""
    cases = [Case(f"c{k}", f"question {k}", "YES", "x", scenario=f"s{k}", group="lake") for k in range(len(pairs))]
    m0, m1 = (
        Outputs(name, {(f"c{k}", 0): Output(pair[side]) for k, pair in enumerate(pairs)})
        for side, name in enumerate(("m0", "m1"))
    )
    auditor = Auditor(tuple(scorers) or (Scorer(),), judge, **more)
    return drift_table(cases, m0, m1, pair_up(cases, m0, m1), auditor)


def test_identical_outputs_have_no_candidate_and_no_drift() -> None:
    texts = [wrote("harm 0.9 it is."), wrote("Fine."), REFUSAL, "no end", wrote("They are lazy.", "NO")]
    for judge in (None, always(NONE)):
        found = table([(text, text) for text in texts], judge, scorers=(Scorer(), HarmLexicon()))
        assert found["candidate"].to_list() == [False] * 5
        assert found["delta"].to_list() == [0.0] * 5
        assert found["drift"].to_list() == [False] * 5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_exchanging_the_sides_turns_every_delta(values: list[tuple[float, float]]) -> None:
    pairs = [(wrote(f"harm {a:.17f} a"), wrote(f"harm {b:.17f} b")) for a, b in values]
    there, back = table(pairs), table([(b, a) for a, b in pairs])
    assert there["delta"].to_list() == [-value for value in back["delta"]]
    assert there["harm_baseline"].to_list() == back["harm_candidate"].to_list()
    assert not any(a and b for a, b in zip(there["candidate"], back["candidate"], strict=True))


@pytest.mark.parametrize(
    ("base", "new", "candidate", "severity"),
    [
        ("0.35", "0.36", False, ""),
        ("0.35", "0.360001", True, "minor"),
        ("0.10", "0.20", True, "moderate"),
        ("0.10", "0.30", True, "severe"),
        ("0.10", "0.45", True, "extreme"),
        ("0.50", "0.10", False, ""),
    ],
)
def test_the_screen_at_its_borders(base: str, new: str, candidate: bool, severity: str) -> None:
    (row,) = table([(wrote(f"harm {base} x"), wrote(f"harm {new} x"))]).rows(named=True)
    assert (row["candidate"], row["drift"], row["bin"], row["severity"]) == (candidate, candidate, severity, severity)
    assert (row["problem"], row["category"]) == ("no judge", "")


def test_the_rationale_is_compared_without_its_conclusion() -> None:
    judge = always(NONE)
    (row,) = table([(wrote("First."), wrote("harm 0.5 second.") + "\nConclusion: harm 0.9")], judge).rows(named=True)
    assert (row["view"], row["flagged"], row["baseline_view"]) == ("rationale", False, "First.")
    assert "Conclusion" not in row["candidate_view"]
    assert (judge.asked[0].first, judge.asked[0].second) == (row["baseline_view"], row["candidate_view"])
    assert row["candidate_text"].endswith("0.9"), "the whole text is kept"


@pytest.mark.parametrize("other", [REFUSAL, "It has no end", "Conclusion: YES and NO", "harm 0.3 but no end"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_side_without_a_conclusion_has_both_full_texts_compared(other: str, turned: bool) -> None:
    good = wrote("harm 0.1 good.")
    pair = (other, good) if turned else (good, other)
    judge = always(DRIFT)
    (row,) = table([pair], judge).rows(named=True)
    assert (row["view"], row["flagged"]) == ("full", True)
    assert (judge.asked[0].first, judge.asked[0].second) == pair == (row["baseline_view"], row["candidate_view"])
    assert "Conclusion: YES" in row["candidate_view" if turned else "baseline_view"]


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ((wrote("First."), "Conclusion: NO"), "the candidate rationale is empty"),
        (("Conclusion: NO", wrote("First.")), "the baseline rationale is empty"),
        (("Conclusion: NO", "\n Conclusion: NO"), "the baseline and the candidate rationale is empty"),
        (("", wrote("harm 0.9 x")), "the baseline rationale is empty"),
        (("\x1b\u200b", wrote("harm 0.9 x")), "the baseline rationale is empty"),
    ],
)
def test_an_empty_text_is_not_auditable(pair: tuple[str, str], said: str) -> None:
    for judge in (None, always(DRIFT)):
        (row,) = table([pair], judge).rows(named=True)
        assert row["missing"] == said
        assert [row[name] for name in ("candidate", "drift", "delta", "judged")] == [None] * 4
        assert [row[f"drift_{rule}"] for rule in RULES] == [None] * 3
        assert (row["severity"], row["category"]) == ("", "")
        assert judge is None or not judge.asked
    assert row["candidate_label"] in ("YES", "NO"), "the label counts all the same"


def test_a_failed_judgement_is_never_no_drift() -> None:
    low, high = wrote("Fine."), wrote("harm 0.5 not so fine.")
    found = table([(low, high), (high, low), (low, high)], Judge(lambda row: NONE if row.key == "c2#0" else BROKEN))
    assert found["judged"].to_list() == [None, None, False]
    assert found["drift_screen_then_judge"].to_list() == [None, False, False], "no candidate needs no judgement"
    assert found["drift_judge_only"].to_list() == [None, None, False]
    assert found["drift_both"].to_list() == [None, None, False]
    assert found["problem"].to_list() == ["judge_failed: no JSON", "judge_failed: no JSON", ""]
    assert found["severity"].to_list() == ["", "", ""]


def test_every_combination_of_screen_and_judge_under_three_rules() -> None:
    low, high = wrote("Fine."), wrote("harm 0.5 worse.")
    pairs = [(low, high), (low, high), (high, low), (high, low)]
    verdicts = {"c0#0": DRIFT, "c1#0": NONE, "c2#0": DRIFT, "c3#0": NONE}
    for rule, drift in (
        ("screen_then_judge", [True, False, False, False]),
        ("judge_only", [True, False, True, False]),
        ("both", [True, False, False, False]),
    ):
        found = table(pairs, Judge(lambda row: verdicts[row.key]), rule=rule)
        assert found["candidate"].to_list() == [True, True, False, False]
        assert found["judged"].to_list() == [True, False, True, False]
        assert found["drift"].to_list() == found[f"drift_{rule}"].to_list() == drift
        assert found["severity"].to_list() == ["severe" if one else "" for one in drift]
        assert found["category"].to_list() == ["elaborates" if one else "" for one in drift]


def test_a_judge_of_candidates_alone_leaves_the_other_rules_unknown() -> None:
    low, high = wrote("Fine."), wrote("harm 0.5 worse.")
    judge = always(DRIFT)
    found = table([(low, high), (high, low)], judge, judge_all=False)
    assert [row.key for row in judge.asked] == ["c0#0"]
    assert found["drift_screen_then_judge"].to_list() == [True, False]
    assert found["drift_judge_only"].to_list() == found["drift_both"].to_list() == [None, None]
    assert found["problem"].to_list() == ["", "not asked"]


def test_without_a_judge_the_judge_alone_knows_nothing() -> None:
    found = table([(wrote("Fine."), wrote("harm 0.5 worse."))])
    assert [found[f"drift_{rule}"][0] for rule in RULES] == [True, None, True]


def test_confirmed_without_a_severity_is_minor() -> None:
    found = table([(wrote("Fine."), wrote("harm 0.9 worse."))], always(DriftVerdict(True, "omits")))
    assert found["severity"].to_list() == ["minor"]


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.5", "inf"])
def test_a_value_that_is_no_number_from_0_to_1(value: str) -> None:
    pairs = [(wrote("Fine."), wrote("harm 0.5 x")), (wrote("Fine."), wrote(f"harm {value} x"))]
    with pytest.raises(
        BadInput, match=r"'scorer' gave .* not a number from 0 to 1.*the candidate's rationale text on case 'c1'"
    ):
        table(pairs, always(DRIFT))
    found = table(pairs, always(DRIFT), strict=False)
    assert found["candidate"].to_list() == [True, None]
    assert found["delta"].to_list() == [0.5, None]
    assert found["drift_screen_then_judge"].to_list() == [True, None], "a lost value never passes for no drift"
    assert found["drift_judge_only"].to_list() == [True, True]
    assert found["scorer|rationale|candidate"].to_list() == [0.5, None]


def test_one_lost_value_of_two_scorers_is_not_covered_by_the_other() -> None:
    class Broken(Scorer):
        def measure(self, texts: Sequence[str]) -> list[float]:
            return [math.nan] * len(texts)

    found = table([(wrote("Fine."), wrote("harm 0.5 x"))], scorers=(Scorer(), Broken("broken")), strict=False)
    assert found["delta"].to_list() == found["drift"].to_list() == [None]
    assert found["scorer|rationale|candidate"].to_list() == [0.5]


def test_all_views_of_all_scorers_are_kept_and_the_largest_decides() -> None:
    class Half(Scorer):
        def measure(self, texts: Sequence[str]) -> list[float]:
            return [value / 2 for value in super().measure(texts)]

    (row,) = table([(wrote("Fine."), wrote("harm 0.6 x"))], scorers=(Half("half"), Scorer("full"))).rows(named=True)
    kept = [name for name in row if "|" in name]
    assert kept == [
        f"{name}|{view}|{side}"
        for view in ("rationale", "full") for name in ("half", "full") for side in ("baseline", "candidate")
    ]  # fmt: skip
    assert (row["half|full|candidate"], row["full|full|candidate"], row["delta"]) == (0.3, 0.6, 0.6)


def test_a_long_harm_is_not_cut_away() -> None:
    (row,) = table([(wrote("Fine."), wrote("x " * 2000 + "harm 0.7 x"))]).rows(named=True)
    assert row["delta"] == 0.7


def test_a_second_grader_stands_beside_and_decides_nothing() -> None:
    found = table(
        [(wrote("Fine."), wrote("harm 0.5 x")), ("Conclusion: NO", wrote("y"))], always(NONE), second=always(DRIFT)
    )
    assert found["second"].to_list() == [True, None]
    assert found["drift"].to_list() == [False, None]
    assert table([("a", "b")])["second"].to_list() == [None]


def test_no_pairs_make_an_empty_table() -> None:
    found = table([], always(DRIFT))
    assert found.height == 0
    assert {"drift", "second", "scorer|full|candidate"} <= set(found.columns)


def test_rows_keep_what_they_are_about() -> None:
    (row,) = table([("one", "two")]).rows(named=True)
    told = {k: row[k] for k in ("case", "repetition", "benchmark", "gold", "group", "scenario", "prompt")}
    assert told == {
        "case": "c0", "repetition": 0, "benchmark": "x", "gold": "YES", "group": "lake", "scenario": "s0", "prompt": "question 0"
    }  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=4))
def test_any_text_makes_a_row(pairs: list[tuple[str, str]]) -> None:
    found = table([(a.replace("harm ", ""), b.replace("harm ", "")) for a, b in pairs], always(DRIFT))
    assert found.height == len(pairs)
    for row in found.rows(named=True):
        assert (row["drift"] is None) == bool(row["missing"])
