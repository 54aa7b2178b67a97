"""A DART repair's part of a report, read from its run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.methods.dart.difference.report.figures import beside_table, pair_table
from evenhand.methods.dart.drift.report.build import pair_evidence
from evenhand.methods.dart.drift.report.figures import kind_bars, slice_table
from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Block, Cell, Column, Details, Note, Table
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow
from evenhand.report.page import Glance, GlanceRow, Section, Verdict
from evenhand.report.scales import nice_scale
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import read_table
from evenhand.wording import DASH, between, count, percent, point_range, points

LEDE = (
    "Explanations are distilled from a teacher, audited for harm drift, and repaired where they drifted. What did each step do, on "
    "questions that it was not trained on?"
)
_GRAVITY = ("worse", "provisional", "unknown", "even")


def _one(findings: Sequence[Finding], estimand: str, config: str, outcome: str = "") -> Finding | None:
    for f in findings:
        if f.estimand == estimand and f.config == config and outcome in ("", f.outcome) and not f.slice:
            return f
    return None


def dart_part(loaded: LoadedRun) -> Part:
    """Verdicts, the systems side by side, reductions beside their control, and the pairs behind them."""
    findings = loaded.findings
    facts: Mapping[str, Any] = loaded.manifest["audits"]["dart"]
    rule = str(loaded.manifest["plan"]["config"]["combine"])
    names = list(dict.fromkeys(f.config for f in findings if f.estimand == "accuracy"))
    blocks: list[Block] = [
        Note(text=text[6:], tone="caution") for text in loaded.result["caveats"] if text.startswith("ERROR ")
    ]
    blocks += [_accuracy_bars(findings, names), _system_table(findings, names, rule)]
    reductions = _reduction_table(findings, facts)
    blocks += [reductions] if reductions else []
    for name in names[1:]:
        own = [f for f in findings if f.config == name]
        inner = [
            b
            for b in (kind_bars(own, f"dart-kinds-{_id(name)}"), slice_table(own, f"dart-slices-{_id(name)}"))
            if b is not None
        ]
        blocks.append(Details(summary=f"Drift of the {name} model by severity, kind and question", blocks=tuple(inner)))
    pairs = pair_table(findings, "dart-pairs")
    more: list[Block] = [beside_table(findings, name, f"dart-beside-{_id(name)}") for name in names]
    blocks.append(
        Details(summary="Every system beside what takes no understanding", blocks=(*more, *([pairs] if pairs else [])))
    )
    blocks.append(Details(summary="What the teacher's rules dropped", blocks=(_dropped_table(findings),)))
    return Part(
        verdicts=[_verdict(loaded, findings, names)],
        section=Section("dart", "DART", LEDE, tuple(blocks)),
        evidence=_evidence(loaded),
        methods=[(term, text) for term, text in loaded.result["methods"]],
        caveats=[text for text in loaded.result["caveats"] if not text.startswith("ERROR ")],
    )


def _id(name: str) -> str:
    return name.lower().replace(" (", "-").replace(")", "")


def _accuracy_bars(findings: Sequence[Finding], names: Sequence[str]) -> Bars:
    groups, data = [], []
    for name in names:
        bars = []
        for estimand, title in (("diff_accuracy", "groups differ"), ("equal_accuracy", "groups are alike")):
            f = _one(findings, estimand, name, "tolerant")
            if f is None:
                continue
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            told = f"{name}, {title}: right in {percent(f.estimate)}"
            bars.append(Bar(title, f.estimate, percent(f.estimate, 0), told, low, high, f.reason))
            data.append((Cell(name), Cell(title), Cell(percent(f.estimate), sort=f.estimate), Cell(between(low, high))))
        groups.append(BarGroup(name, tuple(bars)))
    columns = (Column("model"), Column("where"), Column("right", numeric=True), Column("95 % interval"))
    return Bars(
        id="dart-accuracy",
        title="Right answers on test, step by step",
        caption="M0 is the model before the repair.",
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2),
        groups=tuple(groups),
        data=Table(id="dart-accuracy-data", columns=columns, rows=tuple(data)),
    )


def _system_table(findings: Sequence[Finding], names: Sequence[str], rule: str) -> Table:
    rows = []
    for name in [*names, "no-op repair"]:
        cells = [Cell(name if name != "no-op repair" else "distilled, drawn anew (no-op repair)")]
        for estimand in ("accuracy", "abstain_rate"):
            f = _one(findings, estimand, name, "tolerant")
            ends = f"{percent(f.estimate)} ({between(f.interval.low, f.interval.high)})" if f and f.interval else DASH
            cells.append(Cell(ends, sort=f.estimate if f else None))
        drift = _one(findings, "drift_rate", name, rule)
        alone = _one(findings, "drift_rate", name, "judge_only")
        second = _one(findings, "second_grader", name)
        for f in (drift, alone, second):
            told = f"{count(f.extra['count'])} of {count(f.n)} ({percent(f.estimate)})" if f else DASH
            cells.append(Cell(told, sort=f.estimate if f else None))
        if name == "M0":
            null = next((f for f in findings if f.estimand == "null_rate"), None)
            told = (
                f"{count(null.extra['count'])} of {count(null.n)} ({percent(null.estimate)}), drawn anew"
                if null
                else DASH
            )
            cells[3] = Cell(told)
        rows.append(tuple(cells))
    columns = (
        Column("model"), Column("right", numeric=True), Column("no conclusion", numeric=True),
        Column("drifted explanations", numeric=True, help="screen and judge"),
        Column("by the judge alone", numeric=True),
        Column("by the second grader", numeric=True, help="leaves out what it cannot judge; echo shares no string with the judge"),
    )  # fmt: skip
    return Table(
        id="dart-systems",
        columns=columns,
        rows=tuple(rows),
        title="Every system on the same test questions",
        caption="An inductive repair never saw the test questions; a transductive one was audited and repaired on them.",
    )


def _reduction_table(findings: Sequence[Finding], facts: Mapping[str, Any]) -> Table | None:
    what = {
        "drift_reduction": "fewer drift cases", "noop_reduction": "by drawing anew alone (no-op)",
        "reduction_beyond_noop": "beyond that", "second_reduction": "fewer by the second grader",
    }  # fmt: skip
    rows = []
    for f in findings:
        if f.estimand not in what:
            continue
        part = f"{what[f.estimand]}, {f.slice['wording']} wordings" if f.slice else what[f.estimand]
        ends = f.interval
        shown = points(f.estimate) if f.estimand == "reduction_beyond_noop" else percent(f.estimate)
        told = DASH
        if ends:
            told = (
                point_range(ends.low, ends.high)
                if f.estimand == "reduction_beyond_noop"
                else between(ends.low, ends.high)
            )
        counts = f"{count(f.extra['before'])} → {count(f.extra['after'])}"
        rows.append(
            (Cell(f.config), Cell(part), Cell(counts), Cell(shown, sort=f.estimate, reason=f.reason), Cell(told))
        )
    for protocol, state in facts["protocols"].items():
        fates = state.get("fates")
        if fates:
            told = f"{fates['persisting']} persist, {fates['fixed']} fixed, {fates['created']} new"
            rows.append(
                (Cell(f"repaired ({protocol})"), Cell("what became of the cases"), Cell(told), Cell(DASH), Cell(DASH))
            )
    if not rows:
        return None
    columns = (
        Column("model"), Column(""), Column("drift cases"), Column("reduction", numeric=True), Column("95 % interval"),
    )  # fmt: skip
    return Table(
        id="dart-reductions",
        columns=columns,
        rows=tuple(rows),
        title="What the repair took away",
        caption="Counts are pairs (question and repetition) on test. Drift that goes away when the distilled model is merely drawn "
        "again is no merit of the repair.",
    )


def _dropped_table(findings: Sequence[Finding]) -> Table:
    rows = tuple(
        (Cell(f.slice["benchmark"]), Cell(f.slice["gold"]), Cell(count(f.extra["count"])), Cell(count(f.n)),
         Cell(percent(f.estimate), sort=f.estimate))
        for f in findings
        if f.estimand == "teacher_dropped"
    )  # fmt: skip
    columns = (
        Column("benchmark"), Column("label"), Column("dropped", numeric=True), Column("asked", numeric=True),
        Column("share", numeric=True),
    )  # fmt: skip
    return Table(
        id="dart-dropped", columns=columns, rows=rows, title="Training questions without an accepted explanation"
    )


def _verdict(loaded: LoadedRun, findings: Sequence[Finding], names: Sequence[str]) -> Verdict:
    told = sorted(loaded.result["verdicts"], key=lambda verdict: _GRAVITY.index(verdict["tone"]))
    first, *others = told
    rows = []
    for name in names:
        f = _one(findings, "accuracy", name, "tolerant")
        if f is not None:
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            rows.append(
                GlanceRow(
                    name, f.estimate, percent(f.estimate, 0), f"{name}: right in {percent(f.estimate)}", low, high
                )
            )
    return Verdict(
        audit="DART",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        glance=Glance("Right answers on test", tuple(rows)) if rows else None,
        more=(*first["also"], *(text for other in others for text in (other["headline"], other["detail"]) if text)),
        unknowns=tuple(text for verdict in told for text in verdict["unknowns"]),
        label={"worse": "Not repaired", "even": "Drift was reduced"}.get(first["tone"], ""),
    )


def _evidence(loaded: LoadedRun) -> Evidence:
    """Pairs of M0 and every later model on test."""
    command = f"evenhand show {shlex.quote(str(loaded.run.folder))} --audit dart"
    folder = loaded.run.folder / "dart"
    rows: list[EvidenceRow] = []
    facets: tuple[Any, ...] = ()
    for path in sorted(folder.glob("pairs-*-test.parquet")):
        name = path.stem.removeprefix("pairs-").removesuffix("-test")
        part = pair_evidence(read_table(path), command, "dart", model=name)
        rows += part.rows
        facets = part.facets
    return Evidence(facets, rows, command)
