"""Findings as one tidy frame, the rows of a run behind one of them, and a run in a few lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from html import escape
from typing import Any, Final

import polars as pl

from evenhand.errors import BadInput
from evenhand.records import Finding
from evenhand.runs.load import LoadedRun
from evenhand.safe_text import clean, terminal_safe

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
        choices = "; ".join(f"{name}= {_some(values, 8)}" for name, values in differing.items())
        raise BadInput(
            f"{len(findings)} findings '{first.estimand}' fit, and they rest on different rows.",
            do=f"Choose by {choices}.",
        )
    if not first.evidence:
        raise BadInput(f"'{first.id}' rests on no rows of the run: it was measured on the model itself.")
    return _selected(loaded, first.evidence)


def _selected(loaded: LoadedRun, evidence: Mapping[str, Any]) -> pl.DataFrame:
    """The rows that a finding selects, with their texts if the audit's rows hold the same ones."""
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


_HEAD = ("audit", "verdict", "main number", "95% interval", "group")
_TONES = {"worse": "worse", "provisional": "provisional", "even": "even", "unknown": "cannot tell"}
_WIDTHS = (12, 52, 36, 20, 16)


def summary_table(audits: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, ...]]:
    """A row for each verdict of each audit, in the columns of ``audit, verdict, main number, 95% interval, group``.

    The main number is the first of the audit's closing table, and is shown once. An audit without findings has one row.
    """
    rows: list[tuple[str, ...]] = []
    for name, result in audits.items():
        if result is None:
            rows.append((name, "no findings", "", "", ""))
            continue
        first = result["headlines"][0] if result["headlines"] else {}
        number = (f"{first['what']}: {first['value']}", str(first.get("interval", ""))) if first else ("", "")
        verdicts = result["verdicts"] or [{}]
        several = len({verdict.get("config") for verdict in verdicts}) > 1
        for place, verdict in enumerate(verdicts):
            words = f"{verdict['config']}: {verdict['headline']}" if several else verdict.get("headline", "")
            tone = verdict.get("tone", "")
            verdict_text = f"{_TONES.get(tone, tone)}: {words}" if tone else "no verdict"
            shown = number if place == 0 else ("", "")
            rows.append((name if place == 0 else "", verdict_text, *shown, verdict.get("group") or ""))
    return rows


def summary_text(title: str, rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """The table in plain text, cells folded to their column; nothing in a cell acts on the terminal."""
    if not rows:
        return "\n".join(map(terminal_safe, (title, *notes)))
    folded = [
        [textwrap.wrap(terminal_safe(cell), width) or [""] for cell, width in zip(row, _WIDTHS, strict=True)]
        for row in (_HEAD, *rows)
    ]
    widths = [max(len(line) for row in folded for line in row[at]) for at in range(len(_HEAD))]
    lines = [terminal_safe(title)]
    for place, cells in enumerate(folded):
        for at in range(max(map(len, cells))):
            parts = [
                (cell[at] if at < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)
            ]
            lines.append("  ".join(parts).rstrip())
        if place == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join([*lines, *map(terminal_safe, notes)])


def summary_html(title: str, rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """The table as HTML without script or style sheet; every text is escaped."""
    left = ' style="text-align:left;vertical-align:top"'
    head = "".join(f'<th scope="col"{left}>{_html(cell)}</th>' for cell in _HEAD)
    body = "".join("<tr>" + "".join(f"<td{left}>{_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    below = "".join(f"<div>{_html(note)}</div>" for note in notes)
    caption = f'<caption style="text-align:left">{_html(title)}</caption>'
    return f"<div><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}</div>"


def _html(text: str) -> str:
    return escape(clean(text))
