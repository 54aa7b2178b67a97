"""The transfer audit's part of a report, read from its run."""

from __future__ import annotations

import json
import shlex

import polars as pl

from evenhand.methods.dart.transfer.findings import APPROPRIATE, CONTROLS, KAPPA, OVER, SHARES
from evenhand.methods.dart.transfer.report.figures import (
    ALL,
    CLASS_NAMES,
    WRONG,
    agreement_table,
    behind,
    change_table,
    class_bars,
    control_bars,
)
from evenhand.records import Finding
from evenhand.report.blocks import Block, Panel, Panels
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import between, count, number, percent

LEDE = (
    "Open questions of medicine, law, policy and education. In most the right answer rests on a difference between groups; in the "
    "controls people are rightly treated alike. Does the model say what is needed, and no more?"
)
_GRAVITY = ("worse", "provisional", "unknown", "even")


def transfer_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the answers behind them."""
    result, findings = loaded.result, loaded.findings
    configs = list(dict.fromkeys(f.config for f in findings if f.estimand == SHARES))
    panels = []
    for i, config in enumerate(configs):
        bars = class_bars(findings, config, f"transfer-classes-{i}")
        panels.append(Panel(config, (bars, control_bars(findings, config, f"transfer-controls-{i}"))))
    blocks: list[Block] = list(panels[0].blocks)
    if len(panels) > 1:
        blocks = [Panels(id="transfer-models", title="Model by model", panels=tuple(panels), opened=len(panels) - 1)]
    changes = change_table(findings, "transfer-changes")
    blocks += [changes] if changes else []
    blocks.append(agreement_table(findings, configs, "transfer-agreement"))
    return Part(
        verdicts=[_verdict(loaded)],
        section=Section("transfer", "Open questions", LEDE, tuple(blocks)),
        evidence=_evidence(loaded),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=list(result["caveats"]),
    )


def _verdict(loaded: LoadedRun) -> Verdict:
    first, *others = sorted(loaded.result["verdicts"], key=lambda verdict: _GRAVITY.index(verdict["tone"]))
    rows = []
    for f in loaded.findings:
        if (f.estimand, f.outcome, f.config) != (SHARES, APPROPRIATE, first["config"]) or f.estimate is None:
            continue
        if set(f.slice) <= {"domain"}:
            title = f.slice.get("domain", ALL)
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            told = f"{title}: the needed difference is stated in {percent(f.estimate)} of answers"
            link = behind(f.config, APPROPRIATE, f.slice.get("domain", ""), "difference") if f.extra["count"] else None
            rows.append(GlanceRow(title, f.estimate, percent(f.estimate, 0), told, low, high, not f.slice, link))
    return Verdict(
        audit="Open questions",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        numbers=tuple(_numbers(loaded.findings, first["config"])),
        glance=Glance("States the needed difference", tuple(rows)) if rows else None,
        more=(*first["also"], *(verdict["headline"] for verdict in others)),
        unknowns=tuple(text for verdict in (first, *others) for text in verdict["unknowns"]),
    )


def _numbers(findings: list[Finding], config: str) -> list[KeyNumber]:
    """Refusals, over-differentiation and kappa, where they are defined."""
    out = []
    for estimand, outcome, title in (
        (SHARES, "refusal", "refused, where a difference is needed"),
        (CONTROLS, OVER, "of controls over-differentiated"),
    ):
        f = next(
            (f for f in findings if (f.estimand, f.outcome, f.config) == (estimand, outcome, config) and not f.slice),
            None,
        )
        if f is not None and f.estimate is not None and f.interval is not None:
            out.append(KeyNumber(percent(f.estimate), title, between(f.interval.low, f.interval.high)))
    kappa = next((f for f in findings if (f.estimand, f.config) == (KAPPA, config) and f.estimate is not None), None)
    if kappa is not None:
        out.append(
            KeyNumber(number(kappa.estimate, 2), f"kappa, {kappa.slice['graders']}", f"{count(kappa.n)} answers")
        )
    return out


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row an answer, with what counts as its class and what each grader said; wrong or harmful ones stay folded."""
    facts = loaded.result["facts"]
    said: dict[tuple[str, str], list[str]] = {}
    folded = set()
    for row in loaded.grades.filter(pl.col("grader") != "agreed").iter_rows(named=True):
        told = CLASS_NAMES.get(row["label"], row["missing"])
        said.setdefault((row["config"], row["item_id"]), []).append(f"{row['grader']}: {told}")
        if row["label"] == WRONG:
            folded.add((row["config"], row["item_id"]))
    rows = []
    for row in loaded.rows.filter(pl.col("grader") == facts["grader"]).iter_rows(named=True):
        label = row["label"] or row["missing"]
        key = row["config"], row["item_id"]
        flags = (*said[key], f"key fact: {row['key_fact']}")
        rows.append(
            EvidenceRow(
                id=row["item_id"],
                facets={"audit": "transfer", "config": row["config"], "domain": row["domain"], "class": label,
                        "needs": row["stratum"], "group": row["group"]},
                prompt="\n\n".join(content for _, content in json.loads(row["chat"])),
                text=row["text"] or row["provider_refusal"] or row["error"],
                flags=(*flags, "cut at the token limit") if row["truncated"] else flags,
                fold=CLASS_NAMES[WRONG] if key in folded else "",
            )
        )  # fmt: skip
    facets = (
        Facet("audit", "Audit", {"transfer": "Open questions"}),
        Facet("config", "Configuration", {}, strata=True),
        Facet("domain", "Domain", {}, strata=True),
        Facet("needs", "Needs", {"difference": "a difference", "equal": "equal treatment"}),
        Facet("class", "Class", CLASS_NAMES, strata=True),
        Facet("group", "Group", {}),
    )
    return Evidence(facets, rows, f"evenhand show {shlex.quote(str(loaded.run.folder))} --audit transfer")
