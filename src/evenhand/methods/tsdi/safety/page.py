"""The safety audit's part of the page: verdict, section, and the answers behind its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from evenhand.datasets.safety_prompts import KINDS, category_name
from evenhand.findings.decide import is_found
from evenhand.methods.tsdi.safety.findings import (
    AGREEMENT,
    CHANGE,
    COMPLIANCE,
    KAPPA,
    MACRO,
    OVER_REFUSAL,
    SHARE,
    UNLABELLED,
)
from evenhand.methods.tsdi.safety.grades import FUSED, REJECTIVE
from evenhand.methods.tsdi.safety.opener_shift import SHIFT
from evenhand.methods.tsdi.safety.page_figures import (
    behind,
    category_plot,
    compliance_bars,
    corrected_of,
    in_order,
    opener_plot,
    short_name,
)
from evenhand.methods.tsdi.safety.verdict import lookup, opener_shift, weak_categories
from evenhand.records import Finding
from evenhand.report.blocks import Block, Cell, Panel, Table
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
from evenhand.report.finding_table import (
    FINDING,
    NATS,
    SMALL_SHARE,
    Agreement,
    agreement_table,
    cells,
    finding_table,
    value,
    words,
)
from evenhand.report.finding_table import SHARE as SHARE_UNIT
from evenhand.report.marks import glance_row, key_number
from evenhand.report.page import Glance, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import DASH, percent

LEDE = (
    "A single safety score hides categories that remain unsafe, and safety gained by refusing harmless requests. Is each "
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
    refused = lookup(findings, OVER_REFUSAL, config, kind="borderline")
    complied = lookup(findings, COMPLIANCE, config, kind="benign")
    return stored_verdict(
        verdicts,
        "Safety",
        numbers=(
            *key_number(lookup(findings, SHARE, config), "of harmful requests answered safely"),
            *key_number(refused, "of borderline requests refused"),
            *key_number(complied, "of benign requests complied with"),
            *key_number(opener_shift(findings, config), "refusal openers, whatever the prompt"),
        ),
        glance=Glance("Harmful requests answered safely", tuple(rows)),
        labels={"worse": "A category is weak" if weak else "Mostly unsafe", "even": "No weak category found"},
    )


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row an answer with its label and the grade of each grader; requests that are not benign are folded with it."""
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


def _agreement(findings: Sequence[Finding], config: str) -> list[Agreement]:
    rows = []
    of_config = [f for f in findings if f.config == config]
    for f in of_config:
        if (f.estimand, f.outcome) == (AGREEMENT, KAPPA):
            about = "compliance" if f.slice.get("kind") == "harmless" else "safety"
            rows.append(Agreement(f, f.slice["graders"], f"{about}: Cohen's kappa"))
            rows.append(Agreement(f, f.slice["graders"], f"{about}: same label", raw=True))
    measures = {SHARE: "safe answers", MACRO: "safe, mean of the categories"}
    for f in of_config:
        if f.group is None and f.estimand in (SHARE, MACRO, COMPLIANCE) and "grader" in f.slice:
            what = measures.get(f.estimand, f"complied, {f.slice.get('kind', '')} requests")
            rows.append(Agreement(f, f"{f.slice['grader']} alone", what))
    return rows


def grader_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Kappa and raw agreement of every two graders, and the shares by each grader alone."""
    table = agreement_table(
        [row for config in configs for row in _agreement(findings, config)],
        block_id,
        model="configuration",
        n="n",
        note="answers for agreement, prompts for shares",
        caption="An answer counts as safe if all graders call it safe; each grader alone is reported alongside.",
    )
    return table or finding_table(
        ["there is one grader; the published score uses two"],
        (
            words("configuration", lambda _: "every configuration"),
            words("measure", lambda _: "agreement"),
            cells("value", lambda why: Cell(DASH, reason=why), numeric=True),
        ),
        block_id=block_id,
        title="Agreement of the graders",
    )


def category_agreement(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Counts of equal and unequal labels by category, for every two graders."""
    rows = []
    for config in configs:
        agreements = [f for f in findings if (f.estimand, f.config) == (AGREEMENT, config) and f.group is not None]
        for pair in dict.fromkeys(f.slice["graders"] for f in agreements):
            by_group = {str(f.group): f for f in agreements if f.slice["graders"] == pair}
            rows += [by_group[group] for group in in_order(list(by_group))]
    return finding_table(
        rows,
        (
            words("configuration", lambda f: f.config),
            words("graders", lambda f: f.slice["graders"]),
            words(
                "category",
                lambda f: category_name(str(f.group)),
                evidence=lambda f: behind(f.config, "harmful", str(f.group)),
                wide=True,
            ),
            FINDING.estimate("same label"),
            FINDING.field("both safe", "both"),
            FINDING.field("both unsafe", "neither"),
            FINDING.field("first alone safe", "first_only"),
            FINDING.field("second alone safe", "second_only"),
            FINDING.field("without a label", "missing"),
        ),
        block_id=block_id,
        title="The graders by category",
    )


def change_table(findings: Sequence[Finding], block_id: str, *, by_category: bool) -> Table | None:
    """Configurations in pairs on the same prompts: over all of each kind, or by category of the harmful ones."""

    def about(f: Finding) -> str:
        kind = f.slice.get("kind", "harmful")
        return category_name(f.group) if f.group else "safe, harmful" if kind == "harmful" else f"complied, {kind}"

    return finding_table(
        [f for f in findings if f.estimand == CHANGE and (f.group is not None) is by_category],
        (
            words("configuration", lambda f: f.config),
            words("against", lambda f: f.reference),
            words("category" if by_category else "requests", about),
            FINDING.field("before", "first", SHARE_UNIT),
            FINDING.field("after", "second", SHARE_UNIT),
            FINDING.estimate("change, points"),
            FINDING.interval(),
            FINDING.p(note=f"paired by prompt; Holm over the {'categories' if by_category else 'kinds'}"),
            FINDING.decision("change", is_found),
            FINDING.size("prompts"),
        ),
        block_id=block_id,
        title="Configurations compared on the same prompts" + (", by category" if by_category else ""),
        sortable=True,
    )


def opener_table(findings: Sequence[Finding], config: str, block_id: str) -> Table | None:
    """The openers one by one at the first position."""
    first = next(
        (f for f in findings if (f.estimand, f.config) == (SHIFT, config) and f.slice.get("position") == "1"), None
    )
    tokens: list[tuple[str, float, float, float]] = list(first.extra.get("tokens") or ()) if first else []
    return finding_table(
        tokens,
        (
            words("token", lambda row: f"“{row[0]}”"),
            value("shift, nats", lambda row: row[1], NATS),
            words("95 % interval", lambda row: NATS.range(row[1] - 1.96 * row[2], row[1] + 1.96 * row[2])),
            value(
                "mean probability",
                lambda row: row[3],
                SMALL_SHARE,
                note="the larger of both models', over the random contexts",
            ),
        ),
        block_id=block_id,
        title=f"{config}: openers at the first token",
        sortable=True,
    )


def borderline_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Compliance by category of the borderline and benign requests."""
    rows = []
    for config in configs:
        for kind in ("borderline", "benign"):
            by_group = {
                str(f.group): f
                for f in findings
                if (f.estimand, f.config) == (COMPLIANCE, config) and f.group is not None and f.slice == {"kind": kind}
            }
            rows += [by_group[group] for group in in_order(list(by_group))]
    return finding_table(
        rows,
        (
            words("configuration", lambda f: f.config),
            words("requests", lambda f: f.slice["kind"]),
            words(
                "category",
                lambda f: category_name(str(f.group)),
                evidence=lambda f: behind(f.config, f.slice["kind"], str(f.group)),
                wide=True,
            ),
            FINDING.estimate("complied"),
            FINDING.interval(),
            FINDING.size("prompts"),
        ),
        block_id=block_id,
        title="Harmless requests by category",
        sortable=True,
    )


def unlabelled_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Answers that failed, were empty, unclear or cut, by kind and category; only totals are shown if there are none."""

    def kind(f: Finding) -> str:
        return f.slice.get("kind", "harmful")

    return finding_table(
        [
            f
            for f in findings
            if f.estimand == UNLABELLED and f.config in configs and (f.group is None or f.estimate or f.extra["cut"])
        ],
        (
            words("configuration", lambda f: f.config),
            words("requests", kind),
            words(
                "category",
                lambda f: category_name(f.group) if f.group else "all",
                evidence=lambda f: behind(f.config, kind(f), f.group or ""),
                wide=True,
            ),
            words("no label", lambda f: percent(f.estimate), numeric=True),
            FINDING.field("failed", "failed"),
            FINDING.field("empty", "empty"),
            FINDING.field("unclear", "unclear"),
            FINDING.field("cut", "cut", note="stopped at the token limit"),
            FINDING.field("cut, no label", "cut_unlabelled"),
            FINDING.size("answers"),
        ),
        block_id=block_id,
        title="Answers without a label",
    )
