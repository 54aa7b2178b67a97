"""The section of a method that declares none: its verdicts, every finding in a table, and the rows behind them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from xxhash import xxh3_64_hexdigest

from evenhand.records import HARMFUL, Finding
from evenhand.report.blocks import Block, Cell, Filter, Note, Table
from evenhand.report.build import Part, show_command
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import Shown, cells, finding_table, first_p, words
from evenhand.report.page import Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import items_from
from evenhand.wording import DASH, defined, group_label, number, p_value, percent, points

_FACETS = ("config", "group", "label", "grader")
_MOST_VALUES = 200
"""A column with more values is not offered as a filter: a reader could not choose among them."""
_TEXTS = ("text", "response", "answer")
_PROMPTS = ("prompt", "context", "question")
_IDS = ("item_id", "id", "pair_id")
_NO_COLUMN = frozenset({"table"})
_UNSAFE = HARMFUL | {"harmful", "unsafe"}


def generic_part(loaded: LoadedRun) -> Part:
    """Verdicts as the run stored them, a table of its findings, and its rows where it wrote any."""
    method, result, name = loaded.method, loaded.result, loaded.audit
    evidence = _evidence(loaded) if loaded.has_rows else Evidence((), (), show_command(loaded, loaded.audit))
    facets = {facet.key for facet in evidence.facets}
    table = all_findings(loaded.findings, f"{_id(name)}-findings", facets)
    blocks: list[Block] = [table or Note(text="This method stored no findings.")]
    if not evidence.rows:
        blocks.append(Note(text="This method stored no rows, so no responses can be opened from its numbers."))
    return Part(
        verdicts=[_verdict(loaded, verdict) for verdict in result["verdicts"]],
        section=Section(_id(name), method.title, _sentence(method.summary), tuple(blocks)),
        evidence=evidence,
        methods=[(term, text) for term, text in result["methods"]],
        caveats=list(result["caveats"]),
    )


def _id(name: str) -> str:
    """An id for the page, with a digest where the name itself cannot be one."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"method-{plain}" if plain == name else f"method-{plain or 'x'}-{xxh3_64_hexdigest(name.encode())[:8]}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _verdict(loaded: LoadedRun, stored: Mapping[str, Any]) -> Verdict:
    config = str(stored.get("config") or "")
    detail = str(stored.get("detail") or "")
    sample = (
        f"evenhand sample {shlex.quote(str(loaded.run.folder))} --audit {shlex.quote(loaded.audit)} --out labels.csv"
    )
    advice = str(stored.get("advice") or "")
    return Verdict(
        audit=f"{loaded.method.title}, {config}" if config else loaded.method.title,
        tone=stored["tone"],
        headline=str(stored["headline"]),
        detail=detail,
        more=tuple(map(str, stored.get("also") or ())),
        unknowns=tuple(map(str, stored.get("unknowns") or ())),
        actions=((advice, sample),) if advice else (),
    )


def estimate_text(value: float | None, unit: str) -> str:
    """A number with its unit: probabilities in percent, their differences in percentage points, anything else as it is."""
    if not defined(value):
        return DASH
    if unit == "difference of probabilities":
        return f"{points(value)} points"
    if unit == "probability" or unit.startswith("share"):
        return percent(value)
    return f"{number(value)} {unit}".strip()


def interval_text(finding: Finding) -> str:
    """The interval in the unit of its estimate, without repeating the unit; a dash where there is none."""
    interval = finding.interval
    if interval is None or not (defined(interval.low) and defined(interval.high)):
        return DASH
    ends = [estimate_text(end, finding.unit) for end in (interval.low, interval.high)]
    suffix = " points" if finding.unit == "difference of probabilities" else f" {finding.unit}"
    return " to ".join(end.removesuffix(suffix) for end in ends)


def decision_text(finding: Finding) -> str:
    """The stored decision with its reason; empty for a finding that decides nothing."""
    return f"{finding.decision}: {finding.decision_reason}" if finding.decision_reason else finding.decision


_NAMES: tuple[Shown[Finding], ...] = (
    words("estimand", lambda f: f.estimand.replace("_", " ")),
    words("outcome", lambda f: f.outcome),
    words("configuration", lambda f: f.config),
    words("group", lambda f: "all" if f.group is None else group_label(f.group)),
    words("compared with", lambda f: "" if f.reference is None else group_label(f.reference)),
    words("part", lambda f: ", ".join(f"{key} {value}" for key, value in f.slice.items())),
)
"""What names a finding; a column that is empty for every finding is left out."""


def all_findings(findings: Sequence[Finding], block_id: str, facets: set[str]) -> Table | None:
    """Every finding as a row, with its decision if any of them decides something; None if there are no findings.

    Numbers open their rows if ``facets`` (the filters of the page) can select them.
    """

    def estimate(f: Finding) -> Cell:
        behind = _behind(f, facets)
        label = f"rows behind {_NAMES[0].cell(f).text}, {_NAMES[3].cell(f).text}" if behind else ""
        return Cell(estimate_text(f.estimate, f.unit), f.estimate, f.reason, behind, label)

    def tested(f: Finding) -> Cell:
        p = first_p(f, "p_holm", "q_bh", "p")
        return Cell(p_value(p), sort=p)

    several = len({f.config for f in findings}) > 1
    names = [
        column
        for column in _NAMES
        if any(column.cell(f).text for f in findings) and (several or column.head.title != "configuration")
    ]
    interval = "95% interval" if _all_95(findings) else "interval"
    return finding_table(
        findings,
        (
            *names,
            cells("estimate", estimate, numeric=True),
            words(interval, interval_text, numeric=True),
            cells("p", tested, numeric=True, note="Adjusted within its family where the method adjusts."),
            cells("n", lambda f: Cell(f"{f.n:,}", sort=f.n), numeric=True),
            *([words("decision", decision_text)] if any(f.decision for f in findings) else []),
        ),
        block_id=block_id,
        title="All findings",
        caption="Every number that the method stored, in the order in which it stored them.",
        sortable=True,
    )


def _all_95(findings: Sequence[Finding]) -> bool:
    return all(finding.interval is None or round(finding.interval.level, 6) == 0.95 for finding in findings)


def _behind(finding: Finding, facets: set[str]) -> Filter | None:
    """The page's filter for the rows of a finding; None where the page cannot select exactly those."""
    chosen = {column: values for column, values in finding.evidence.items() if column not in _NO_COLUMN}
    if not chosen or not set(chosen) <= facets:
        return None
    selected = {"audit": finding.audit}
    for column, values in chosen.items():
        several = list(values) if isinstance(values, list | tuple) else [values]
        if len(several) != 1:
            return None
        selected[column] = str(several[0])
    return selected


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row a row of the method's frame, with its text and prompt; texts with a harmful label stay closed."""
    rows, fold = loaded.rows, loaded.method.fold
    text, prompt, key = (_first(rows, names) for names in (_TEXTS, _PROMPTS, _IDS))
    if text is None and prompt is None:
        return Evidence((), (), show_command(loaded, loaded.audit))
    asked = _asked(loaded) if prompt is None and "item_id" in rows.columns else {}
    named = [column for finding in loaded.findings for column in finding.evidence]
    columns = [column for column in dict.fromkeys((*_FACETS, *named)) if _is_facet(rows, column)]
    evidence_rows = []
    for at, row in enumerate(rows.iter_rows(named=True)):
        label = str(row.get("label") or "")
        repetition = row.get("repetition")
        closed = fold or (label if label in _UNSAFE else "")
        before = _word(row[prompt]) if prompt is not None else asked.get(row.get("item_id"), "")
        after = _word(row[text]) if text is not None else ""
        evidence_rows.append(
            EvidenceRow(
                id=str(row[key]) if key is not None else f"row {at + 1}",
                facets={"audit": loaded.audit, **{column: _word(row[column]) for column in columns}},
                # Only the text is closed, so a prompt that must stay closed too goes into it.
                prompt="" if closed else before,
                text="\n\n".join(filter(None, (before, after))) if closed else after,
                repetition=repetition if isinstance(repetition, int) else 0,
                flags=tuple(filter(None, (label,))),
                fold=closed,
            )
        )
    facets = [Facet("audit", "Audit", {loaded.audit: loaded.method.title})]
    for column in columns:
        names = (
            {value: group_label(value) for row in evidence_rows if (value := row.facets[column])}
            if column == "group"
            else {}
        )
        facets.append(Facet(column, column.replace("_", " ").capitalize(), names, strata=column in _FACETS))
    return Evidence(tuple(facets), evidence_rows, show_command(loaded, loaded.audit))


def _asked(loaded: LoadedRun) -> dict[Any, str]:
    """Item id to what the user's messages ask, where the method wrote its items."""
    if not loaded.run.table(loaded.audit, "items").exists():
        return {}
    return {
        item.id: "\n\n".join(message.content for message in item.chat if message.role == "user")
        for item in items_from(loaded.items)
    }


def _first(rows: pl.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if rows.schema.get(name) == pl.String), None)


def _is_facet(rows: pl.DataFrame, column: str) -> bool:
    kind = rows.schema.get(column)
    return kind is not None and not kind.is_nested() and rows[column].n_unique() <= _MOST_VALUES


def _word(value: Any) -> str:
    return "" if value is None else str(value)
