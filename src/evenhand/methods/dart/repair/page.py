"""A DART repair's part of the page: the systems side by side, reductions next to their control, and the pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.findings.builder import first, select
from evenhand.methods.dart.difference.page import baseline_table, finding_of, label_bars, pair_table
from evenhand.methods.dart.drift.page import kind_bars, pair_evidence, slice_table
from evenhand.methods.dart.repair.method import pairs_by_model
from evenhand.methods.dart.repair.result import NOOP
from evenhand.methods.dart.repair.stages import AUDIT, M0, repaired_name, slug
from evenhand.records import Finding
from evenhand.report.blocks import Block, Cell, Table
from evenhand.report.build import Part, by_gravity, folded, method_part, present, show_command, stored_verdict
from evenhand.report.evidence import Evidence, EvidenceRow
from evenhand.report.finding_table import (
    FINDING,
    POINTS,
    SHARE,
    FindingColumns,
    Shown,
    cells,
    finding_table,
    range_text,
    value_cell,
    words,
)
from evenhand.report.marks import glance_row
from evenhand.report.page import Glance
from evenhand.runs.load import LoadedRun
from evenhand.wording import DASH, count, percent

LEDE = (
    "Explanations are distilled from a teacher, audited for harm drift, and repaired where they drifted. What did each step "
    "do, on questions that it was not trained on?"
)
_REDUCTIONS = {
    "drift_reduction": "fewer drift cases",
    "noop_reduction": "by drawing anew alone (no-op)",
    "reduction_beyond_noop": "beyond that",
    "second_reduction": "fewer by the second grader",
}


def dart_part(loaded: LoadedRun) -> Part:
    """Verdicts, the systems side by side, reductions next to their control, and the pairs behind them."""
    findings = loaded.findings
    rule = str(loaded.manifest["plan"]["config"]["combine"])
    names = list(dict.fromkeys(f.config for f in findings if f.estimand == "accuracy"))
    bars = label_bars(
        findings,
        names,
        "dart-accuracy",
        title="Right answers on test, step by step",
        caption=f"{M0} is the model before the repair.",
        linked=False,
    )
    blocks: list[Block] = present(
        bars, _system_table(findings, names, rule), _reduction_table(findings, loaded.manifest["audits"]["dart"])
    )
    for name in names[1:]:
        by_model = [f for f in findings if f.config == name]
        blocks += folded(
            f"Drift of the {name} model by severity, kind and question",
            kind_bars(by_model, f"dart-kinds-{slug(name).lower()}"),
            slice_table(by_model, f"dart-slices-{slug(name).lower()}"),
        )
    blocks += folded(
        "Every system compared with trivial baselines",
        *(baseline_table(findings, name, f"dart-beside-{slug(name).lower()}") for name in names),
        pair_table(findings, "dart-pairs"),
    )
    blocks += folded("What the teacher's rules dropped", _dropped_table(findings))
    rows = [
        glance_row(f, name, f"{name}: right in {percent(f.estimate)}")
        for name in names
        if (f := finding_of(findings, "accuracy", name)) is not None
    ]
    first, *others = by_gravity(loaded)
    verdict = stored_verdict(
        [first, *others],
        "DART",
        glance=Glance("Right answers on test", tuple(rows)),
        also=lambda verdict: verdict["also"] if verdict is first else [text for text in (verdict["detail"],) if text],
        labels={"worse": "Not repaired", "even": "Drift was reduced"},
    )
    return method_part(
        loaded,
        section_id="dart",
        title="DART",
        lede=LEDE,
        blocks=blocks,
        verdicts=[verdict],
        evidence=_evidence(loaded),
    )


def _system_table(findings: Sequence[Finding], names: Sequence[str], rule: str) -> Table | None:
    null = first(findings, "null_rate")

    def rate(title: str, estimand: str) -> Shown[str]:
        return FindingColumns[str](lambda name: finding_of(findings, estimand, name)).estimate(title, interval=True)

    def counted(f: Finding | None) -> str:
        return f"{count(f.extra['count'])} of {count(f.n)} ({percent(f.estimate)})" if f else DASH

    def drifted(name: str) -> Cell:
        if name == M0:
            return Cell(f"{counted(null)}, drawn again" if null else DASH)
        f = finding_of(findings, "drift_rate", name, rule)
        return Cell(counted(f), sort=f.estimate if f else None)

    def drift(title: str, estimand: str, outcome: str = "", note: str = "") -> Shown[str]:
        def cell(name: str) -> Cell:
            f = finding_of(findings, estimand, name, outcome)
            return Cell(counted(f), sort=f.estimate if f else None)

        return cells(title, cell, numeric=True, note=note)

    def title(name: str) -> str:
        return "distilled, drawn again (no-op repair)" if name == NOOP else name

    return finding_table(
        [*names, NOOP],
        (
            words("model", title),
            rate("right", "accuracy"),
            rate("no conclusion", "abstain_rate"),
            cells("drifted explanations", drifted, numeric=True, note="screen and judge"),
            drift("by the judge alone", "drift_rate", "judge_only"),
            drift(
                "by the second grader",
                "second_grader",
                note="leaves out what it cannot judge; echo shares no string with the judge",
            ),
        ),
        block_id="dart-systems",
        title="Every system on the same test questions",
        caption="An inductive repair never saw the test questions; a transductive one was audited and repaired on them.",
    )


def _reduction_table(findings: Sequence[Finding], facts: Mapping[str, Any]) -> Table | None:
    rows: list[tuple[Cell, ...]] = []
    for f in findings:
        if f.estimand not in _REDUCTIONS:
            continue
        what = _REDUCTIONS[f.estimand] + (f", {f.slice['wording']} wordings" if f.slice else "")
        unit = POINTS if f.estimand == "reduction_beyond_noop" else SHARE
        counts = f"{count(f.extra['before'])} → {count(f.extra['after'])}"
        reduction, interval = value_cell(f.estimate, unit, f.reason), Cell(range_text(f, unit))
        rows.append((Cell(f.config), Cell(what), Cell(counts), reduction, interval))
    for protocol, state in facts["protocols"].items():
        if fates := state.get("fates"):
            became = f"{fates['persisting']} persist, {fates['fixed']} fixed, {fates['created']} new"
            about = Cell(repaired_name(protocol)), Cell("what became of the cases"), Cell(became)
            rows.append((*about, Cell(DASH), Cell(DASH)))
    return finding_table(
        rows,
        (
            cells("model", lambda row: row[0]),
            cells("", lambda row: row[1]),
            cells("drift cases", lambda row: row[2]),
            cells("reduction", lambda row: row[3], numeric=True),
            cells("95 % interval", lambda row: row[4]),
        ),
        block_id="dart-reductions",
        title="What the repair removed",
        caption="Counts are pairs (question and repetition) on test. Drift that goes away when the distilled model is merely "
        "drawn again is not the repair's doing.",
    )


def _dropped_table(findings: Sequence[Finding]) -> Table | None:
    return finding_table(
        select(findings, "teacher_dropped"),
        (
            words("benchmark", lambda f: f.slice["benchmark"]),
            words("label", lambda f: f.slice["gold"]),
            FINDING.field("dropped", "count"),
            FINDING.size("asked"),
            FINDING.estimate("share"),
        ),
        block_id="dart-dropped",
        title="Training questions without an accepted explanation",
    )


def _evidence(loaded: LoadedRun) -> Evidence:
    """Pairs of M0 and every later model on test."""
    command = show_command(loaded, "dart")
    parts = [pair_evidence(pairs, command, AUDIT, model=model) for model, pairs in pairs_by_model(loaded)]
    rows: list[EvidenceRow] = [row for part in parts for row in part.rows]
    return Evidence(parts[-1].facets if parts else (), rows, command)
