"""The difference audit's part of a report, read from its run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from evenhand.methods.dart.difference.report.figures import (
    LABELS,
    REASONS,
    behind,
    benchmark_table,
    beside_table,
    label_bars,
    pair_table,
    reason_table,
)
from evenhand.report.blocks import Block, Details
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, GlanceRow, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import percent

LEDE = (
    "Some questions are answered rightly only by seeing that groups differ, others only by treating them alike. Does the model "
    "know which is which?"
)
_LABELS = {"worse": "Differences are not told apart", "even": "Differences are told apart"}
_GRAVITY = ("worse", "provisional", "unknown", "even")


def difference_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the answers behind them."""
    result, findings = loaded.result, loaded.findings
    configs = [verdict["config"] for verdict in result["verdicts"]]
    blocks: list[Block] = []
    bars = label_bars(findings, configs, "difference-labels")
    blocks += [bars] if bars else []
    asked = {f.config for f in findings if f.estimand == "accuracy"}
    blocks += [beside_table(findings, c, f"difference-beside-{k}") for k, c in enumerate(configs) if c in asked]
    blocks += [table for table in (pair_table(findings, "difference-pairs"),) if table]
    more: list[Block] = [t for t in (benchmark_table(findings, configs, "difference-benchmarks"),) if t]
    if asked:
        more.append(reason_table(findings, configs, "difference-reasons"))
    blocks += (
        [Details(summary="By benchmark, and why some answers hold no conclusion", blocks=tuple(more))] if more else []
    )
    return Part(
        verdicts=[_verdict(loaded)],
        section=Section("difference", "Difference", LEDE, tuple(blocks)),
        evidence=_evidence(loaded, f"evenhand show {shlex.quote(str(loaded.run.folder))}"),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=list(result["caveats"]),
    )


def _verdict(loaded: LoadedRun) -> Verdict:
    first, *others = sorted(loaded.result["verdicts"], key=lambda verdict: _GRAVITY.index(verdict["tone"]))
    rows = []
    for estimand, title, gold in LABELS:
        for f in loaded.findings:
            if (f.estimand, f.config, f.outcome) == (estimand, first["config"], "tolerant") and not f.slice:
                low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
                label = f"{title}: right in {percent(f.estimate)}"
                rows.append(
                    GlanceRow(
                        title, f.estimate, percent(f.estimate, 0), label, low, high, False, behind(f.config, gold)
                    )
                )
    return Verdict(
        audit="Difference",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        glance=Glance("Right answers", tuple(rows)) if rows else None,
        more=(*first["also"], *(verdict["headline"] for verdict in others)),
        unknowns=tuple(text for verdict in (first, *others) for text in verdict["unknowns"]),
        label=_LABELS.get(first["tone"], ""),
    )


def _said(row: Mapping[str, Any]) -> str:
    if row["failed"]:
        return "failed"
    return str(row["tolerant"] or row["option"] or REASONS[row["reason"]])


def _evidence(loaded: LoadedRun, command: str) -> Evidence:
    """One row an answer, with what was read from it."""
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    rows = []
    for row in loaded.rows.iter_rows(named=True):
        strict = row["strict"] or "nothing"
        flags = (
            (f"strict parser: {strict}",)
            if row["form"] == "analysis" and strict != (row["tolerant"] or "nothing")
            else ()
        )
        facets = {"audit": "difference", "config": row["config"], "form": row["form"], "gold": row["gold"] or "no label",
                  "said": _said(row), "benchmark": row["benchmark"] or "none"}  # fmt: skip
        prompt = "\n\n".join(content for _, content in json.loads(items[row["item_id"]]["chat"]))
        rows.append(EvidenceRow(row["item_id"], facets, prompt, row["text"] or "", row["repetition"], flags=flags))
    facets_shown = (
        Facet("audit", "Audit", {"difference": "Difference"}),
        Facet("config", "Configuration", {}, strata=True),
        Facet("form", "Form", {"analysis": "analysis", "choice": "multiple choice"}, strata=True),
        Facet("gold", "Label", {"YES": "groups differ", "NO": "groups alike"}, strata=True),
        Facet("said", "Answer", {}, strata=True),
        Facet("benchmark", "Benchmark", {}),
    )
    return Evidence(facets_shown, rows, command)
