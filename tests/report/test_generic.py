"""The section of a method that declares none: complete, inert, and honest about what it cannot link to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evenhand import registry
from evenhand.records import HypothesisTest, Interval
from evenhand.registry import Method
from evenhand.report.blocks import Note, Table
from evenhand.report.build import build_report
from evenhand.report.generic import all_findings, estimate_text, generic_part, interval_text
from evenhand.runs.load import load


@pytest.fixture(scope="module")
def toy(support: Any) -> ModuleType:
    return support("plugin_toy")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Method]:
    """``installed(fold="why")`` declares the toy's method for the time of a test."""

    def declare(**fields: Any) -> Method:
        method = Method("theirs", "Their method", "what it does", **fields)
        monkeypatch.setattr(registry.METHODS, "_added", {"theirs": method})
        return method

    return declare


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, "probability", "25.0%"),
        (0.25, "share of responses", "25.0%"),
        (-0.25, "difference of probabilities", "−25.0 points"),
        (1234.5, "words", "1,234 words"),
        (2, "", "2"),
        (None, "words", "—"),
        (float("nan"), "words", "—"),
    ],
)
def test_numbers_carry_their_unit(value: float | None, unit: str, text: str) -> None:
    assert estimate_text(value, unit) == text


def test_intervals_do_not_repeat_the_unit(toy: ModuleType) -> None:
    assert interval_text(toy.finding()) == "10.0% to 40.0%"
    assert interval_text(toy.finding(unit="words", interval=Interval(1.5, 2.5, 0.95, "toy"))) == "1.5 to 2.5"
    points = toy.finding(unit="difference of probabilities")
    assert interval_text(points) == "+10.0 to +40.0"
    assert interval_text(toy.finding(interval=None)) == "—"


def test_the_adjusted_p_comes_first(toy: ModuleType) -> None:
    tests = [
        HypothesisTest(0.01, "toy", p_holm=0.04),
        HypothesisTest(0.01, "toy", q_bh=0.03),
        HypothesisTest(0.01, "toy"),
        None,
    ]
    table = all_findings([toy.finding(test=test) for test in tests], "t", set())
    assert [(row[-2].text, row[-2].sort) for row in table.rows] == [
        ("0.040", 0.04),
        ("0.030", 0.03),
        ("0.010", 0.01),
        ("—", None),
    ]


def test_every_finding_is_a_row_and_empty_columns_are_left_out(toy: ModuleType) -> None:
    findings = [toy.finding(), toy.finding(group=None, estimate=None, reason="no rows", slice={"topic": "tea"})]
    table = all_findings(findings, "t", {"audit", "config", "group"})
    titles = ["estimand", "outcome", "group", "compared with", "part", "estimate", "95% interval", "p", "n"]
    assert [column.title for column in table.columns] == titles
    first, second = table.rows
    assert [cell.text for cell in first] == [
        "share of cake", "cake", "a", "b", "", "25.0%", "10.0% to 40.0%", "0.040", "4",
    ]  # fmt: skip
    assert first[5].evidence == {"audit": "theirs", "config": "m", "group": "a"}
    assert [cell.text for cell in second][2:6] == ["all", "b", "topic tea", "—"]
    assert second[5].reason == "no rows"
    assert "part" not in [column.title for column in all_findings(findings[:1], "t", set()).columns]
    other = toy.finding(config="n")
    assert "configuration" in [column.title for column in all_findings([*findings, other], "t", set()).columns]


def test_decisions_are_a_column_with_their_reasons(toy: ModuleType) -> None:
    findings = [
        toy.finding(decision="worse"),
        toy.finding(group="c", decision="cannot tell", decision_reason="too few stems"),
        toy.finding(group=None),
    ]
    table = all_findings(findings, "t", set())
    assert [column.title for column in table.columns][-2:] == ["n", "decision"]
    assert [row[-1].text for row in table.rows] == ["worse", "cannot tell: too few stems", ""]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_level_other_than_95_is_not_called_so(toy: ModuleType) -> None:
    table = all_findings([toy.finding(interval=Interval(0.1, 0.4, 0.9, "toy"))], "t", set())
    assert "interval" in [column.title for column in table.columns]


def test_a_number_links_only_to_rows_that_the_page_can_select(toy: ModuleType) -> None:
    several = toy.finding(evidence={"table": "grades", "config": ["m"], "group": ["a", "b"]})
    unknown = toy.finding(evidence={"table": "grades", "colour": ["red"]})
    none = toy.finding(evidence={})
    table = all_findings([several, unknown, none], "t", {"audit", "config", "group"})
    assert [row[-4].evidence for row in table.rows] == [None, None, None]


def test_the_page_of_an_unknown_method_is_complete_and_inert(
    toy: ModuleType, tmp_path: Path, inert: Callable[..., None]
) -> None:
    hostile = [toy.finding(toy.HOSTILE, group=toy.HOSTILE), toy.finding()]
    page = build_report(toy.write_run(tmp_path / "run", hostile)).read_text(encoding="utf-8")
    inert(page, "method-theirs", "method-theirs-findings")
    for text in (
        "detail",
        "also this",
        "unknown",
        "by hand",
        "a caveat",
        "25.0%",
        "headline &lt;script&gt;",
        "not installed",
    ):
        assert text in page


def test_a_title_of_its_own_and_texts_that_stay_closed(
    toy: ModuleType, tmp_path: Path, installed: Callable[..., Method]
) -> None:
    run = toy.write_run(tmp_path / "run", text="plain")
    unknown = generic_part(load(run))
    assert all("not installed" in row.fold for row in unknown.evidence.rows)
    installed()
    part = generic_part(load(run))
    assert part.section.title == "Their method"
    assert part.section.lede == "What it does."
    assert part.verdicts[0].actions[0][1] == f"evenhand sample {run} --audit theirs --out labels.csv"
    assert {row.facets["label"]: row.fold for row in part.evidence.rows} == {
        "answer": "",
        "harmful answer": "harmful answer",
    }
    assert {row.facets["label"]: (row.prompt, row.text) for row in part.evidence.rows} == {
        "answer": ("ask plain", "reply plain"),
        "harmful answer": ("", "ask plain\n\nreply plain"),
    }
    installed(fold="they may offend")
    assert {row.fold for row in generic_part(load(run)).evidence.rows} == {"they may offend"}


def test_without_findings_or_rows_the_section_says_so(toy: ModuleType, tmp_path: Path) -> None:
    part = generic_part(load(toy.write_run(tmp_path / "run", (), rows=False)))
    assert [block.text for block in part.section.blocks if isinstance(block, Note)] == [
        "This method stored no findings.",
        "This method stored no rows, so no responses can be opened from its numbers.",
    ]
    assert not any(isinstance(block, Table) for block in part.section.blocks)
    build_report(tmp_path / "run")


@pytest.mark.parametrize(("name", "section"), [("a-b", "method-a-b"), ("a_b", "method-a-b-"), ("Ä", "method-x-")])
def test_any_name_makes_an_id(toy: ModuleType, tmp_path: Path, name: str, section: str) -> None:
    part = generic_part(load(toy.write_run(tmp_path / "run", (), name=name, rows=False)))
    assert part.section.id.startswith(section)
    build_report(tmp_path / "run")
