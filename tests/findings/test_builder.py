"""Findings are built in one place: ids that never change, selectors, digests, families, look-ups and how they are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from xxhash import xxh3_128_hexdigest

from evenhand.findings.builder import TableBuilder, build, digest_of, first, ids_of, rows_where, select
from evenhand.findings.families import (
    adjust_each,
    control_discoveries,
    control_discoveries_over_all,
    hold_family,
    q_values,
    record_of,
)
from evenhand.records import Finding, HypothesisTest, Interval
from evenhand.report.marks import state_of
from evenhand.runs.check import finding_from
from evenhand.runs.method import POINTS, SHARE, Headline, closing_row, ends_of
from evenhand.statistics.permutation import PermutationTest

ROWS = pl.DataFrame(
    {"config": ["m", "m", "n", "m"], "item": ["b", "a", "a", "c"], "turn": [0, 1, 0, 0], "group": ["x", "x", "x", "y"]}
)
TABLE = TableBuilder("service", "grades", ROWS, ("config", "item", "turn"))


def with_test(p: float | None, family: str, estimand: str = "gap", smallest: float = 0.001) -> Finding:
    """A finding with a test of this family."""
    test = HypothesisTest(p, "permutation", smallest_p=smallest, family=family)
    return Finding("id", "a", estimand, "o", "m", None, None, 0.1, "u", test=test, extra={"kept": 1})


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "a/m/e/o"),
        ({"group": "g"}, "a/m/e/o/g"),
        ({"group": "g", "part": {"kind": "k", "set": "s"}}, "a/m/e/o/g/kind=k/set=s"),
        ({"lead": ("m", "grader")}, "a/m/grader/e/o"),
        ({"lead": (), "tail": ("m", None)}, "a/e/o/m"),
        ({"group": None, "tail": ("all",)}, "a/m/e/o/all"),
        ({"group": "", "part": {}}, "a/m/e/o"),
        ({"id_parts": ("teacher", "D1", "YES"), "part": {"gold": "YES"}}, "a/teacher/D1/YES"),
    ],
)
def test_an_id_is_its_parts_in_order(more: dict[str, Any], expected: str) -> None:
    assert build("a", "e", "o", "m", 0.5, "probability", **more).id == expected


def test_a_finding_holds_what_it_was_built_from() -> None:
    f = build("a", "e", "o", "m", None, "u", reference="r", part={"k": "v"}, evidence={"table": "t"}, reason="why", n=3)
    assert (f.audit, f.estimand, f.outcome, f.config, f.reference, f.estimate) == ("a", "e", "o", "m", "r", None)
    assert (f.slice, f.evidence, f.reason, f.n, f.decision, f.decision_reason) == (
        {"k": "v"}, {"table": "t"}, "why", 3, "", "",
    )  # fmt: skip


def test_rows_behind_a_number_are_selected_counted_and_digested() -> None:
    f = TABLE.build("rate", "declined", "m", 0.5, "probability", selected={"config": ["m"], "group": "x"}, group="x")
    assert (f.id, f.n, f.evidence) == (
        "service/m/rate/declined/x", 2, {"table": "grades", "config": ["m"], "group": "x"},
    )  # fmt: skip
    assert f.evidence_digest == xxh3_128_hexdigest(b"m#a#1\nm#b#0")
    assert ids_of(rows_where(ROWS, {"item": "a"}), ("config", "item")) == ["m#a", "n#a"]
    assert digest_of([]) == xxh3_128_hexdigest(b"")


def test_a_pair_of_configurations_names_the_second_as_the_reference() -> None:
    f = TABLE.build("change", "o", ("m", "n"), 0.1, "u", selected={"config": ["m", "n"]}, n=7)
    assert (f.id, f.config, f.reference, f.n) == ("service/m/n/change/o", "m", "n", 7)
    assert TABLE.build("change", "o", ("m", "n"), 0.1, "u", selected={}, reference="other").reference == "other"
    behind = ROWS.head(1)
    assert TABLE.build("e", "o", "m", 0.1, "u", selected={"config": ["n"]}, behind=behind).n == 1


def test_a_permutation_test_as_a_record() -> None:
    test = PermutationTest(1.0, 3, 100, 0.03, 0.01, True, "permutation of names")
    made = record_of(test, "family", family_size=2, p_holm=0.06, q_bh=0.05)
    assert made == HypothesisTest(
        0.03, "permutation of names", 0.01, 3, 100, True, family="family", family_size=2, p_holm=0.06, q_bh=0.05
    )
    assert record_of(None, "family") is None
    assert q_values([test, None, replace(test, p=0.5)]) == [0.06, None, 0.5]


def test_holm_is_held_within_a_family_and_says_what_could_have_been_reached() -> None:
    out = hold_family(
        [with_test(0.01, "a"), with_test(0.04, "b"), with_test(0.02, "a"), with_test(None, "a"), with_test(0.5, "")]
    )
    assert [f.test.p_holm if f.test else None for f in out] == [0.02, 0.04, 0.02, None, None]
    assert [f.test.family_size if f.test else None for f in out] == [2, 1, 2, None, None]
    assert [f.extra.get("smallest_p_holm") for f in out] == [0.002, 0.001, 0.002, None, None]
    assert all(f.extra["kept"] == 1 for f in out)


def test_discoveries_are_controlled_within_a_family_over_all_or_by_estimand() -> None:
    findings = [with_test(0.01, "a"), with_test(0.04, "b"), with_test(0.02, "a")]
    assert [f.test.q_bh if f.test else None for f in control_discoveries(findings)] == [0.02, 0.04, 0.02]
    over_all = control_discoveries_over_all(findings, lambda f: f.test is not None and f.test.family == "a")
    assert [f.test.q_bh_all if f.test else None for f in over_all] == [0.02, None, 0.02]
    mixed = adjust_each(
        [with_test(0.01, "a", "held"), with_test(0.01, "b", "rest"), with_test(0.02, "a", "held")], {"held"}
    )
    assert [(f.estimand, f.test.p_holm, f.test.q_bh) for f in mixed if f.test] == [
        ("held", 0.02, None), ("rest", None, 0.01), ("held", 0.02, None),
    ]  # fmt: skip


def test_findings_are_looked_up_by_what_is_given() -> None:
    plain = build("a", "rate", "declined", "m", 0.1, "u", group="x")
    sliced = build("a", "rate", "declined", "m", 0.2, "u", part={"kind": "k", "set": "s"})
    other = build("a", "rate", "harmful", "n", 0.3, "u", group="x")
    all_of = [plain, sliced, other]
    assert select(all_of, "rate") == all_of
    assert select(all_of, "rate", "m", part={}) == [plain]
    assert select(all_of, "rate", having={"kind": "k"}) == [sliced]
    assert select(all_of, "rate", part={"kind": "k"}) == []
    assert select(all_of, "rate", group=None) == [sliced]
    assert first(all_of, "rate", outcome="harmful") is other
    assert first(all_of, "gap") is None


@pytest.mark.parametrize(
    ("decision", "state"),
    [("worse", "found"), ("better", "found"), ("different", "found"), ("even", "not found"), ("cannot tell", "unknown"),
     ("", "unknown")],
)  # fmt: skip
def test_a_stored_decision_is_drawn_as_it_is(decision: str, state: str) -> None:
    assert state_of(replace(with_test(0.5, ""), decision=decision)) == state
    assert state_of(replace(with_test(0.5, ""), decision=decision, estimate=None)) == "undefined"


def test_a_finding_of_an_older_run_has_no_decision() -> None:
    row = {"id": "i", "audit": "a", "estimand": "e", "outcome": "o", "config": "m", "group": None, "reference": None,
           "estimate": 0.1, "unit": "u"}  # fmt: skip
    assert (finding_from(row).decision, finding_from(row).decision_reason) == ("", "")
    assert finding_from({**row, "decision": "even", "decision_reason": "r"}).decision == "even"


def test_a_row_of_the_closing_table() -> None:
    f = replace(with_test(0.5, ""), estimate=0.123, interval=Interval(-0.01, 0.25, 0.95, "t"))
    assert closing_row("what", f, POINTS, p=0.04) == Headline("what", "+12.3 points", "−1.0 to +25.0", "0.040")
    assert closing_row("what", replace(f, interval=None), SHARE) == Headline("what", "12.3%", "none", "")
    assert closing_row("what", replace(f, estimate=None, reason="why"), SHARE) == Headline("what", "undefined", "why")
    assert ends_of(None, SHARE) == "no interval"
