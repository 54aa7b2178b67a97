"""Findings as one tidy frame, and the rows of a run behind one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import polars as pl

from evenhand.errors import BadInput
from evenhand.records import Finding
from evenhand.runs.load import LoadedRun

COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("method", "estimand", "outcome", "config", "group", "reference", "slice"), pl.String),
    "estimate": pl.Float64,
    "unit": pl.String,
    **dict.fromkeys(("low", "high", "p", "p_adjusted"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("decision", "reason", "id"), pl.String),
}
"""Columns of the frame of findings, with their types."""
_FIELDS = ("group", "reference", "config", "outcome")


class Unset(Enum):
    """The value of a filter that is left out."""

    ANY = "any"

    def __repr__(self) -> str:
        return "any"


ANY: Final = Unset.ANY


def findings_frame(audits: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row a finding of every audit, from their JSON form, in the columns of `COLUMNS`.

    ``p_adjusted`` is Holm's within the family, or Benjamini-Hochberg's where Holm's was not computed. ``decision`` is null for
    a finding that decides nothing, and for every finding of a run made before decisions were stored; ``reason`` says why a
    number is undefined, or why the decision is what it is.
    """
    return pl.DataFrame([_row(name, row) for name, rows in audits.items() for row in rows], schema=COLUMNS)


def _row(method: str, row: Mapping[str, Any]) -> dict[str, Any]:
    interval, test = row.get("interval") or {}, row.get("test") or {}
    holm = test.get("p_holm")
    return {
        "method": method,
        **{name: row.get(name) for name in ("estimand", "outcome", "config", "group", "reference", "estimate", "unit")},
        "slice": slice_text(row.get("slice") or {}),
        "low": interval.get("low"),
        "high": interval.get("high"),
        "p": test.get("p"),
        "p_adjusted": test.get("q_bh") if holm is None else holm,
        "n": row.get("n"),
        "decision": row.get("decision") or None,
        "reason": row.get("decision_reason") or row.get("reason") or None,
        "id": row["id"],
    }


def slice_text(values: Mapping[str, Any]) -> str:
    """A slice as text: ``"gender=woman, topic=work"``; empty for a finding over everything."""
    return ", ".join(f"{key}={value}" for key, value in values.items())


def select_findings(
    findings: Sequence[Finding], method: str, estimand: str | None, finding_id: str | None, filters: Mapping[str, Any]
) -> list[Finding]:
    """The findings that fit every filter that is not `ANY`. Raises BadInput, naming what exists, if none does."""
    if finding_id is not None:
        return _fitting(findings, f"The {method} audit has no finding '{finding_id}'.", "id", finding_id)
    if estimand is None:
        raise BadInput("Name the number: its estimand, or its id.", do=f"Estimands: {_listed(findings, 'estimand')}.")
    fitting = _fitting(findings, f"The {method} audit has no estimand '{estimand}'.", "estimand", estimand)
    for name in _FIELDS:
        if filters[name] is not ANY:
            fitting = _fitting(fitting, f"No '{estimand}' has {name} {filters[name]!r}.", name, filters[name])
    wanted = filters["slice"]
    if wanted is ANY:
        return [finding for finding in fitting if not finding.slice] or fitting
    pairs = dict(wanted or {})
    held = [f for f in fitting if all(str(f.slice.get(key)) == str(value) for key, value in pairs.items())]
    if not pairs:
        held = [finding for finding in fitting if not finding.slice]
    if not held:
        there = _some(slice_text(finding.slice) or "{}" for finding in fitting)
        raise BadInput(f"No '{estimand}' has the slice {pairs!r}.", do=f"There are: {there}.")
    return held


def _fitting(findings: Sequence[Finding], what: str, name: str, value: Any) -> list[Finding]:
    held = [finding for finding in findings if getattr(finding, name) == value]
    if not held:
        raise BadInput(what, do=f"There are: {_listed(findings, name)}.")
    return held


def _listed(findings: Iterable[Finding], name: str) -> str:
    return _some(str(getattr(finding, name)) for finding in findings)


def _some(texts: Iterable[str], most: int = 20) -> str:
    there = list(dict.fromkeys(texts))
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return (", ".join(there[:most]) or "none") + more


def rows_of(loaded: LoadedRun, findings: Sequence[Finding]) -> pl.DataFrame:
    """The rows behind findings that all rest on the same rows. Raises BadInput, naming what differs, if they do not."""
    first = findings[0]
    if any(finding.evidence != first.evidence for finding in findings):
        differing = {
            name: sorted({str(getattr(finding, name)) for finding in findings})
            for name in _FIELDS
            if len({getattr(finding, name) for finding in findings}) > 1
        }
        slices = sorted({slice_text(finding.slice) for finding in findings})
        if len(slices) > 1:
            differing["slice"] = slices
        told = "; ".join(f"{name}= {_some(values, 8)}" for name, values in differing.items())
        raise BadInput(
            f"{len(findings)} findings '{first.estimand}' fit, and they rest on different rows.",
            do=f"Choose by {told}.",
        )
    if not first.evidence:
        raise BadInput(f"'{first.id}' rests on no rows of the run: it was measured on the model itself.")
    return _selected(loaded, first.evidence)


def _selected(loaded: LoadedRun, evidence: Mapping[str, Any]) -> pl.DataFrame:
    """The rows that a finding selects, with the texts beside them where the audit's rows hold the same ones."""
    columns = {name: value for name, value in evidence.items() if name != "table"}
    table = evidence.get("table")
    if table is None:  # graded responses: a response without a label is in no number
        return _filtered(loaded.rows.filter(pl.col("label").is_not_null()), columns, "rows")
    view = loaded.rows
    wide = _filtered(view, columns, "rows") if set(columns) <= set(view.columns) else None
    plain = loaded.table(str(table))
    if wide is not None and not set(columns) <= set(plain.columns):
        return wide
    narrow = _filtered(plain, columns, str(table))
    if wide is not None and set(narrow.columns) <= set(wide.columns) and wide.select(narrow.columns).equals(narrow):
        return wide
    return narrow


def _filtered(frame: pl.DataFrame, columns: Mapping[str, Any], what: str) -> pl.DataFrame:
    missing = sorted(set(columns) - set(frame.columns))
    if missing:
        raise BadInput(f"The table '{what}' has no column '{missing[0]}', which selects the rows of this number.")
    for name, value in columns.items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        frame = frame.filter(pl.col(name).is_in(values))
    return frame
