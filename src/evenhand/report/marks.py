"""Marks of figures made from findings: a bar, a row of a forest plot, a row next to the verdict, a number of the first screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from evenhand.findings.decide import is_found
from evenhand.records import Finding
from evenhand.report.blocks import Bar, Filter, ForestRow, ends
from evenhand.report.finding_table import WHOLE_SHARE, Unit, range_text, unit_of
from evenhand.report.page import GlanceRow, KeyNumber

State = Literal["found", "not found", "unknown", "undefined"]
Second = tuple[float, float | None, float | None]


def state_of(finding: Finding) -> State:
    """How a comparison is drawn, by its stored decision; one without a decision is drawn as unknown."""
    if finding.estimate is None:
        return "undefined"
    if is_found(finding):
        return "found"
    return "not found" if finding.decision == "even" else "unknown"


def finding_bar(
    f: Finding,
    title: str,
    label: str,
    *,
    unit: Unit = WHOLE_SHARE,
    strong: bool = False,
    evidence: Filter | None = None,
) -> Bar:
    """A bar with the interval of its finding; ``label`` is what a screen reader says."""
    low, high = ends(f)
    return Bar(title, f.estimate, unit.text(f.estimate), label, low, high, f.reason, strong, evidence)


def glance_row(
    f: Finding,
    title: str,
    label: str,
    *,
    unit: Unit = WHOLE_SHARE,
    strong: bool = False,
    evidence: Filter | None = None,
) -> GlanceRow:
    """A row of the picture next to the verdict."""
    low, high = ends(f)
    return GlanceRow(title, f.estimate, unit.text(f.estimate), label, low, high, strong, evidence)


def second_mark(f: Finding | None) -> Second | None:
    """Another estimate of the same thing, to be drawn hollow; None if there is none."""
    return (f.estimate, *ends(f)) if f is not None and f.estimate is not None else None


def forest_row(
    f: Finding,
    title: str,
    label: str,
    state: State,
    *,
    unit: Unit | None = None,
    note: str | None = None,
    second: Second | None = None,
    evidence: Filter | None = None,
) -> ForestRow:
    """A row of a forest plot: the estimate in its unit, and its interval unless there is another ``note``."""
    form = unit or unit_of(f)
    low, high = ends(f)
    return ForestRow(
        title=title,
        estimate=f.estimate,
        low=low,
        high=high,
        text=form.text(f.estimate),
        note=form.range(low, high) if note is None else note,
        label=label,
        state="undefined" if f.estimate is None else state,
        reason=f.reason if f.estimate is None else "",
        evidence=evidence,
        second=second,
    )


def forest_values(rows: Iterable[ForestRow]) -> list[float | None]:
    """Everything that the axis of a forest plot must hold."""
    return [v for row in rows for v in (row.estimate, row.low, row.high, *(row.second or ()))]


def key_number(f: Finding | None, title: str, *, unit: Unit | None = None, note: str | None = None) -> list[KeyNumber]:
    """A number of the first screen with its interval as the note; none if the finding has no estimate."""
    if f is None or f.estimate is None:
        return []
    form = unit or unit_of(f)
    return [KeyNumber(form.alone(f.estimate), title, range_text(f, form) if note is None else note)]
