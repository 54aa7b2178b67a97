"""The safety audit's part of the page: verdict, section, and the answers behind its figures."""

from __future__ import annotations

from typing import Any

import polars as pl

from evenhand.datasets.safety_prompts import KINDS, category_name
from evenhand.methods.tsdi.safety.findings import COMPLIANCE, OVER_REFUSAL, SHARE
from evenhand.methods.tsdi.safety.page_figures import (
    behind,
    category_plot,
    compliance_bars,
    corrected_of,
    in_order,
    opener_plot,
    short_name,
)
from evenhand.methods.tsdi.safety.page_tables import (
    borderline_table,
    category_agreement,
    change_table,
    grader_table,
    opener_table,
    unlabelled_table,
)
from evenhand.methods.tsdi.safety.table import FUSED, REJECTIVE
from evenhand.methods.tsdi.safety.verdict import one, opener_shift, weak_categories
from evenhand.report.blocks import Block, Panel
from evenhand.report.build import (
    Part,
    answer_of,
    by_gravity,
    evidence_of,
    folded,
    method_part,
    one_each,
    present,
    prompt_of,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.marks import glance_row, key_number
from evenhand.report.page import Glance, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import percent

LEDE = (
    "One safety score hides single categories that stay unsafe, and safety bought by refusing harmless requests. Is each "
    "category of harmful requests answered safely, and what else is refused?"
)
_FOLDED = {"harmful": "a harmful request and its answer", "borderline": "a borderline request and its answer"}


def safety_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the answers behind them."""
    findings = loaded.findings
    configs = [verdict["config"] for verdict in loaded.result["verdicts"]]
    held_back = set(loaded.result["facts"]["provisional"])
    plots = [
        category_plot(
            findings,
            config,
            f"safety-categories-{k}",
            held_back=config in held_back,
            corrected=corrected_of(config, configs),
        )
        for k, config in enumerate(configs)
    ]
    panels = [Panel(config, (plot,)) for config, plot in zip(configs, plots, strict=True)]
    blocks: list[Block] = [
        *one_each(panels, block_id="safety-configurations", title="Safety by category"),
        *present(
            compliance_bars(findings, configs, "safety-compliance"),
            change_table(findings, "safety-changes", by_category=False),
            *(opener_plot(findings, config, f"safety-openers-{k}") for k, config in enumerate(configs)),
            grader_table(findings, configs, "safety-agreement"),
        ),
        *folded(
            "By category: graders, comparisons, harmless requests; single openers; answers without a label",
            category_agreement(findings, configs, "safety-agreement-categories"),
            change_table(findings, "safety-changes-categories", by_category=True),
            borderline_table(findings, configs, "safety-harmless"),
            *(opener_table(findings, config, f"safety-opener-tokens-{k}") for k, config in enumerate(configs)),
            unlabelled_table(findings, configs, "safety-unlabelled"),
        ),
    ]
    return method_part(
        loaded,
        section_id="safety",
        title="Safety",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, held_back)],
        evidence=_evidence(loaded),
    )


def _verdict(loaded: LoadedRun, held_back: set[str]) -> Verdict:
    findings, verdicts = loaded.findings, by_gravity(loaded)
    config = verdicts[0]["config"]
    weak = set() if config in held_back else {f.group for f in weak_categories(findings, config)}
    groups = {
        str(f.group): f for f in findings if (f.estimand, f.config) == (SHARE, config) and f.group and not f.slice
    }
    rows = []
    for group in in_order(list(groups)):
        f = groups[group]
        label = f"{category_name(group)}: {percent(f.estimate)} of harmful requests answered safely"
        link = behind(config, "harmful", group)
        rows.append(glance_row(f, short_name(group), label, strong=group in weak, evidence=link))
    refused = one(findings, OVER_REFUSAL, config, kind="borderline")
    complied = one(findings, COMPLIANCE, config, kind="benign")
    return stored_verdict(
        verdicts,
        "Safety",
        numbers=(
            *key_number(one(findings, SHARE, config), "of harmful requests answered safely"),
            *key_number(refused, "of borderline requests refused"),
            *key_number(complied, "of benign requests complied with"),
            *key_number(opener_shift(findings, config), "refusal openers, whatever the prompt"),
        ),
        glance=Glance("Harmful requests answered safely", tuple(rows)),
        labels={"worse": "A category is weak" if weak else "Mostly unsafe", "even": "No weak category found"},
    )


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row an answer with its label and what each grader said; requests that are not benign stay folded with it."""
    primary = loaded.result["facts"]["grader"]
    by_grader: dict[tuple[Any, ...], list[str]] = {}
    for row in loaded.grades.filter(pl.col("grader") != FUSED).iter_rows(named=True):
        key = row["config"], row["item_id"], row["repetition"]
        why = f" ({row['evidence']})" if row["evidence"] else ""
        by_grader.setdefault(key, []).append(f"{row['grader']}: {row['label'] or row['missing']}{why}")
    rows = []
    for row in loaded.rows.filter(pl.col("grader").is_in([primary, REJECTIVE])).iter_rows(named=True):
        kind, prompt, text = row["stratum"], prompt_of(row["chat"]), answer_of(row)
        fold = _FOLDED.get(kind, "")
        flags = tuple(by_grader[row["config"], row["item_id"], row["repetition"]])
        rows.append(
            EvidenceRow(
                id=row["item_id"],
                facets={
                    "audit": "safety",
                    "config": row["config"],
                    "kind": kind,
                    "category": row["group"],
                    "said": row["label"] or row["missing"],
                },
                prompt="" if fold else prompt,
                text=f"Request:\n{prompt}\n\nAnswer:\n{text or '(no text)'}" if fold else text,
                repetition=row["repetition"],
                flags=(*flags, "cut at the token limit") if row["truncated"] else flags,
                fold=fold,
            )
        )
    categories = {row.facets["category"] for row in rows}
    facets = (
        Facet("config", "Configuration", {}, strata=True),
        Facet("kind", "Request", {kind: kind for kind in KINDS}, strata=True),
        Facet("category", "Category", {slug: category_name(slug) for slug in categories}, strata=True),
        Facet("said", "Label", {}),
    )
    return evidence_of(loaded, "safety", "Safety", facets, rows)
