"""The safety audit's part of a report, read from its run."""

from __future__ import annotations

import json
import shlex
from typing import Any

import polars as pl

from evenhand.datasets.safety_prompts import KINDS, category_name
from evenhand.methods.tsdi.safety.findings import COMPLIANCE, OVER_REFUSAL, SHARE
from evenhand.methods.tsdi.safety.report.figures import (
    behind,
    category_plot,
    compliance_bars,
    corrected_of,
    in_order,
    opener_plot,
    short_name,
)
from evenhand.methods.tsdi.safety.report.tables import (
    agreement_table,
    borderline_table,
    category_agreement,
    change_table,
    opener_table,
    unlabelled_table,
)
from evenhand.methods.tsdi.safety.table import FUSED, REJECTIVE
from evenhand.methods.tsdi.safety.verdict import one, opener_shift, weak_categories
from evenhand.report.blocks import Block, Details, Panel, Panels
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Section, Verdict
from evenhand.report.scales import ends
from evenhand.runs.load import LoadedRun
from evenhand.wording import between, nats, nats_range, percent

LEDE = (
    "One safety score hides single categories that stay unsafe, and safety bought by refusing harmless requests. Is each category "
    "of harmful requests answered safely, and what is refused beside it?"
)
_GRAVITY = ("worse", "provisional", "unknown", "even")
_FOLDED = {"harmful": "a harmful request and its answer", "borderline": "a borderline request and its answer"}


def safety_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the answers behind them."""
    result, findings = loaded.result, loaded.findings
    configs = [verdict["config"] for verdict in result["verdicts"]]
    held_back = set(result["facts"]["provisional"])
    panels = []
    for k, config in enumerate(configs):
        plot = category_plot(
            findings,
            config,
            f"safety-categories-{k}",
            held_back=config in held_back,
            corrected=corrected_of(config, configs),
        )
        panels.append(Panel(config, (plot,)))
    blocks: list[Block] = list(panels[0].blocks)
    if len(panels) > 1:
        blocks = [Panels(id="safety-configurations", title="Safety by category", panels=tuple(panels))]
    blocks += [block for block in (compliance_bars(findings, configs, "safety-compliance"),) if block]
    blocks += [block for block in (change_table(findings, "safety-changes", by_category=False),) if block]
    for k, config in enumerate(configs):
        blocks += [block for block in (opener_plot(findings, config, f"safety-openers-{k}"),) if block]
    blocks.append(agreement_table(findings, configs, "safety-agreement"))
    more: list[Block] = [
        block for block in (category_agreement(findings, configs, "safety-agreement-categories"),) if block
    ]
    more += [block for block in (change_table(findings, "safety-changes-categories", by_category=True),) if block]
    more += [block for block in (borderline_table(findings, configs, "safety-harmless"),) if block]
    for k, config in enumerate(configs):
        more += [block for block in (opener_table(findings, config, f"safety-opener-tokens-{k}"),) if block]
    more.append(unlabelled_table(findings, configs, "safety-unlabelled"))
    blocks.append(
        Details(
            summary="By category: graders, comparisons, harmless requests; single openers; answers without a label",
            blocks=tuple(more),
        )
    )
    return Part(
        verdicts=[_verdict(loaded, held_back)],
        section=Section("safety", "Safety", LEDE, tuple(blocks)),
        evidence=_evidence(loaded),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=list(result["caveats"]),
    )


def _verdict(loaded: LoadedRun, held_back: set[str]) -> Verdict:
    findings = loaded.findings
    first, *others = sorted(loaded.result["verdicts"], key=lambda verdict: _GRAVITY.index(verdict["tone"]))
    config = first["config"]
    weak = set() if config in held_back else {f.group for f in weak_categories(findings, config)}
    groups = {
        str(f.group): f for f in findings if (f.estimand, f.config) == (SHARE, config) and f.group and not f.slice
    }
    rows = []
    for group in in_order(list(groups)):
        f = groups[group]
        low, high = ends(f)
        title = short_name(group)
        label = f"{category_name(group)}: {percent(f.estimate)} of harmful requests answered safely"
        rows.append(
            GlanceRow(
                title,
                f.estimate,
                percent(f.estimate, 0),
                label,
                low,
                high,
                group in weak,
                behind(config, "harmful", group),
            )
        )
    labels = {"worse": "A category is weak" if weak else "Mostly unsafe", "even": "No weak category found"}
    return Verdict(
        audit="Safety",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        numbers=tuple(_numbers(loaded, config)),
        glance=Glance("Harmful requests answered safely", tuple(rows)) if rows else None,
        more=(*first["also"], *(text for verdict in others for text in (verdict["headline"], *verdict["also"]))),
        unknowns=tuple(text for verdict in (first, *others) for text in verdict["unknowns"]),
        label=labels.get(first["tone"], ""),
    )


def _numbers(loaded: LoadedRun, config: str) -> list[KeyNumber]:
    """Safe answers, over-refusal, compliance and the shift, where they are defined."""
    out = []
    for estimand, part, title in (
        (SHARE, {}, "of harmful requests answered safely"),
        (OVER_REFUSAL, {"kind": "borderline"}, "of borderline requests refused"),
        (COMPLIANCE, {"kind": "benign"}, "of benign requests complied with"),
    ):
        f = one(loaded.findings, estimand, config, **part)
        if f is not None and f.estimate is not None and f.interval is not None:
            out.append(KeyNumber(percent(f.estimate), title, between(f.interval.low, f.interval.high)))
    shift = opener_shift(loaded.findings, config)
    if shift is not None and shift.interval is not None:
        ends_told = nats_range(shift.interval.low, shift.interval.high)
        out.append(KeyNumber(f"{nats(shift.estimate)} nats", "refusal openers, whatever the prompt", ends_told))
    return out


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row an answer with its label and what each grader said; requests that are not benign stay folded with it."""
    primary = loaded.result["facts"]["grader"]
    said: dict[tuple[Any, ...], list[str]] = {}
    for row in loaded.grades.filter(pl.col("grader") != FUSED).iter_rows(named=True):
        key = row["config"], row["item_id"], row["repetition"]
        why = f" ({row['evidence']})" if row["evidence"] else ""
        said.setdefault(key, []).append(f"{row['grader']}: {row['label'] or row['missing']}{why}")
    rows = []
    for row in loaded.rows.filter(pl.col("grader").is_in([primary, REJECTIVE])).iter_rows(named=True):
        kind = row["stratum"]
        prompt = "\n\n".join(content for _, content in json.loads(row["chat"]))
        text = row["text"] or row["provider_refusal"] or row["error"] or ""
        fold = _FOLDED.get(kind, "")
        flags = tuple(said[row["config"], row["item_id"], row["repetition"]])
        rows.append(
            EvidenceRow(
                id=row["item_id"],
                facets={"audit": "safety", "config": row["config"], "kind": kind, "category": row["group"],
                        "said": row["label"] or row["missing"]},
                prompt="" if fold else prompt,
                text=f"Request:\n{prompt}\n\nAnswer:\n{text or '(no text)'}" if fold else text,
                repetition=row["repetition"],
                flags=(*flags, "cut at the token limit") if row["truncated"] else flags,
                fold=fold,
            )
        )  # fmt: skip
    categories = {row.facets["category"] for row in rows}
    facets = (
        Facet("audit", "Audit", {"safety": "Safety"}),
        Facet("config", "Configuration", {}, strata=True),
        Facet("kind", "Request", {kind: kind for kind in KINDS}, strata=True),
        Facet("category", "Category", {slug: category_name(slug) for slug in categories}, strata=True),
        Facet("said", "Label", {}),
    )
    return Evidence(facets, rows, f"evenhand show {shlex.quote(str(loaded.run.folder))} --audit safety")
