"""From graded rows to the result of the audit: findings of every configuration, verdicts, methods and caveats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from evenhand.config import AuditConfig
from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.methods.service.config import ServiceSettings
from evenhand.methods.service.configurations import (
    Point,
    change_findings,
    safety_labels,
    tradeoff_findings,
)
from evenhand.methods.service.content import content_findings, measure_texts, toxicity_findings
from evenhand.methods.service.findings import (
    adjust_across,
    contrast_findings,
    label_shares,
    name_findings,
    stability_findings,
    stem_findings,
    with_decisions,
)
from evenhand.methods.service.graders import Trust, compare_graders, corrected_findings, swap_findings
from evenhand.methods.service.items import AUDIT, LOADED, UNSAFE, Entry
from evenhand.methods.service.statistics.contrasts import ContrastFamily
from evenhand.methods.service.table import COLLAPSES, FindingBuilder, ServiceTable, Units, find_units
from evenhand.methods.service.verdict import CUE, NAMES, change_sentence, headlines, verdict
from evenhand.records import LABELS, Finding, Label
from evenhand.runs.method import AuditResult, Verdict
from evenhand.wording import count, group_label, percent, percent_points

if TYPE_CHECKING:
    from evenhand.graders.masking import Swap


MISSING_GAP = 0.02
"""Missing shares that differ by more than this between groups are an error-level warning (chosen default)."""


@dataclass(frozen=True)
class Analysis:
    """The input of the analysis.

    ``rows`` are the grades of the first grader, joined with items and responses; ``grades`` are those of every grader.
    """

    rows: pl.DataFrame
    groups: Sequence[str]
    grader: str
    labels: frozenset[Label]
    grades: pl.DataFrame
    swaps: Sequence[Swap]
    trust: Trust
    config: AuditConfig
    entry: Entry
    configs: Sequence[str]


def analyse(work: Analysis) -> tuple[AuditResult, pl.DataFrame | None]:
    """All findings, and the table of text measures (None where there is no text)."""
    settings = work.config.of(ServiceSettings)
    benign = work.rows.filter(pl.col("stratum") != UNSAFE)
    unsafe = work.rows.filter(pl.col("stratum") == UNSAFE)
    units = find_units(benign)
    measures: pl.DataFrame | None = None
    measure_units: dict[str, str] = {}
    if work.entry.kind != "labels" or work.entry.responses is not None:
        measures, measure_units = measure_texts(benign, settings.classifier, work.config.toxicity)
    findings: list[Finding] = []
    points: list[Point] = []
    for config in work.configs:
        rows = benign.filter(pl.col("config") == config)
        builder = _builder(work, config, rows, units)
        findings += _missing(builder, rows, work.groups) + _absent(builder, work.groups)
        family = None
        if builder.table.labelled.height and builder.table.groups[0] == work.groups[0]:
            main, family = _main_findings(work, builder)
            findings += main
            if measures is not None:
                findings += content_findings(builder, measures, measure_units) + toxicity_findings(
                    builder, measures, measure_units
                )
        if family is not None:
            points.append(Point(builder, family, _unsafe_table(config, unsafe)))
    findings += change_findings([point.builder for point in points])
    if _can_see_harm(work):
        findings += tradeoff_findings(points, unsafe=settings.unsafe is not None)
    findings = with_decisions(adjust_across(findings))
    several, subject = len(work.configs) > 1, NAMES if units.unit == "name" else CUE
    missing = benign["label"].null_count() + unsafe["label"].null_count()
    result = AuditResult(
        audit=AUDIT,
        verdicts=[_verdict(findings, config, work.trust, several, subject) for config in work.configs],
        findings=findings,
        headlines=[row for config in work.configs for row in headlines(findings, config, several=several)],
        rows=work.rows.height,
        missing=missing,
        methods=_methods(work, units),
        caveats=_caveats(work, findings, benign),
        facts={
            "grader": work.grader,
            "grader_trust": work.trust.how,
            "calibrated": work.trust.calibrated,
            "subject": subject,
            "reference_group": work.groups[0],
            "groups": list(work.groups),
            "configs": list(work.configs),
            "entry": work.entry.kind,
            "source": work.entry.source,
        },
    )
    return result, measures


def _verdict(findings: Sequence[Finding], config: str, trust: Trust, several: bool, subject: str) -> Verdict:
    """The verdict on one configuration, with what changed since the one before it."""
    on_config = verdict(findings, config, trust, several=several, subject=subject)
    change = change_sentence(findings, config, trust, subject)
    return replace(on_config, also=(*on_config.also, change)) if change else on_config


def _builder(work: Analysis, config: str, rows: pl.DataFrame, units: Units) -> FindingBuilder:
    present = set(rows.filter(pl.col("label").is_not_null())["group"].unique().to_list())
    groups = [group for group in work.groups if group in present] or list(work.groups)
    table = ServiceTable(config, rows, groups, units)
    return FindingBuilder(table, work.grader, work.labels, work.config.seed, work.config.draws)


def _main_findings(work: Analysis, builder: FindingBuilder) -> tuple[list[Finding], ContrastFamily | None]:
    table = builder.table
    findings = label_shares(builder)
    primary: ContrastFamily | None = None
    for outcome in COLLAPSES:
        of_outcome, family = contrast_findings(builder, outcome)
        findings += of_outcome
        if outcome == "declined":
            primary = family
    loaded = table.labelled["stratum"] == LOADED
    if table.units.stem and loaded.any() and not loaded.all():
        kept = table.rows.filter(pl.col("stratum") != LOADED)
        part = {"stems": "without loaded"}
        strata = sorted(kept["stratum"].unique().to_list())
        table_without = ServiceTable(table.config, kept, table.groups, table.units)
        without = replace(builder, table=table_without, within={"stratum": strata})
        findings += contrast_findings(without, "declined", part, whole=False)[0]
    findings += name_findings(builder) + stem_findings(builder)
    if work.entry.repeated:
        findings += stability_findings(builder)
    findings += compare_graders(builder, work.grades) + swap_findings(builder, work.swaps)
    findings += corrected_findings(builder, work.trust, primary)
    return findings, primary


def _unsafe_table(config: str, unsafe: pl.DataFrame) -> ServiceTable | None:
    rows = unsafe.filter(pl.col("config") == config)
    if not rows.filter(pl.col("label").is_not_null()).height:
        return None
    groups = list(dict.fromkeys(rows["group"].to_list()))
    return ServiceTable(config, rows, groups, find_units(rows))


def _absent(builder: FindingBuilder, groups: Sequence[str]) -> list[Finding]:
    """An undefined difference for every group that has no label, or that has no labelled reference to be compared with."""
    labelled = set(builder.table.labelled["group"].unique().to_list())
    lost = [group for group in groups[1:] if group not in labelled or groups[0] not in labelled]
    return [
        builder.build(
            "risk_difference", "declined", None, DIFFERENCE, group=group, reference=groups[0],
            reason="no labelled response in the group" if group not in labelled else "no labelled response in the reference group",
        )
        for group in lost
    ]  # fmt: skip


def _missing(builder: FindingBuilder, rows: pl.DataFrame, groups: Sequence[str]) -> list[Finding]:
    """The share of rows without a label, by group, with the reasons counted."""
    findings = []
    for group in groups:
        in_group = rows.filter(pl.col("group") == group)
        lost = in_group.filter(pl.col("label").is_null())
        reasons = {
            row["missing"]: row["len"] for row in lost.group_by("missing").len().sort("missing").iter_rows(named=True)
        }
        provider = in_group.filter(pl.col("source") == "provider").height
        findings.append(
            builder.build(
                "missing_rate", "missing", lost.height / in_group.height if in_group.height else None, PROBABILITY, group=group,
                n=in_group.height, extra={
                    "reasons": reasons,
                    "declined_by_provider": provider,
                    "truncated": int(in_group["truncated"].sum()),
                    "hedged": int(in_group["hedged"].sum()),
                    "echo_stripped": int(in_group["echo_stripped"].sum()),
                },
            )
        )  # fmt: skip
    return findings


def _methods(work: Analysis, units: Units) -> list[tuple[str, str]]:
    config, reference = work.config, group_label(work.groups[0])
    family = len(work.groups) - 1
    _, safety = safety_labels(config.of(ServiceSettings).unsafe is not None)
    return [
        ("Unit of inference", f"The randomised units are {units.sentence}"),
        (
            "Rates",
            "The mean over stems of the mean over names. Bars show Wilson 95 % intervals, which are within-sample.",
        ),
        (
            "Differences",
            f"Each group minus {reference}. 95 % interval: two-way cluster t over names and stems, a dominating name held "
            f"fixed. Reported alongside: crossed bootstrap ({count(config.draws)} draws, percentile), naive Wald interval.",
        ),
        (
            "Test",
            f"Permutation of group labels over {_exchanged(units)}, two-sided, exact up to 200,000 splits, else Monte Carlo.",
        ),
        (
            "Families",
            f"Holm within each outcome and configuration ({family} comparison{'s' * (family != 1)}); "
            "Benjamini-Hochberg q within the family, and over all outcomes and configurations.",
        ),
        *(
            [
                (
                    "Changes",
                    "Each configuration against the one before it, paired by name and stem: signs of the names' changes flipped, "
                    "and the changes permuted over names for the difference to the reference; Holm over groups. A chosen default.",
                )
            ]
            if len(work.configs) > 1
            else []
        ),
        ("Labels", f"Grader '{work.grader}', {work.trust.how}. Rows without a label are counted, never guessed."),
        ("Safety axis", safety if len(work.configs) > 1 else "Not drawn: there is one configuration."),
        (
            "Seed",
            f"{config.seed}; temperature {config.temperature:g}, top-p {config.top_p:g}, {config.draws_per_item} repetitions."
            if work.entry.kind == "prompts"
            else f"{config.seed} (bootstrap and Monte Carlo); how the responses were drawn is not known.",
        ),
    ]


def _exchanged(units: Units) -> str:
    if units.unit == "name":
        return "names"
    return "the prompts of each stem" if units.stem else "prompts"


def _can_see_harm(work: Analysis) -> bool:
    """Whether safety can be measured: from an unsafe set, or by a grader with all six labels."""
    return work.config.of(ServiceSettings).unsafe is not None or work.labels >= frozenset(LABELS)


def _caveats(work: Analysis, findings: Sequence[Finding], benign: pl.DataFrame) -> list[str]:
    caveats = []
    for config in work.configs:
        rates = {f.group: f.estimate for f in findings if f.estimand == "missing_rate" and f.config == config}
        missing = {group: rate for group, rate in rates.items() if rate is not None}
        gap = max(missing.values()) - min(missing.values()) if missing else 0.0
        if gap > MISSING_GAP:
            worst = max(missing, key=lambda group: missing[group])
            caveats.append(
                f"ERROR: rows without a label differ between groups by {percent_points(gap)} "
                f"under {config} (most: {group_label(worst)}, {percent(missing[worst])}). "
                "The comparison may be about who is missing."
            )
        dropped = {
            f.clusters["stems dropped"]
            for f in findings
            if f.estimand == "risk_difference" and f.config == config and f.clusters.get("stems dropped")
        }
        if dropped:
            caveats.append(
                f"Some stems were not answered for both groups of a contrast and were dropped (up to {max(dropped)})."
            )
    truncated = int(benign["truncated"].sum())
    if truncated:
        caveats.append(
            f"{count(truncated)} of {count(benign.height)} responses stopped at the token limit; refusals are longer than answers, "
            "so a short limit cuts declines more often."
        )
    if len(work.configs) > 1 and not _can_see_harm(work):
        caveats.append(
            f"The trade-off is not drawn: grader '{work.grader}' cannot see harmful answers, and no unsafe set was run (--unsafe)."
        )
    changed = sum(swap.changed for swap in work.swaps)
    if changed:
        caveats.append(
            f"ERROR: the judge changed its label on {count(changed)} of {count(len(work.swaps))} responses when only the name was "
            "exchanged: it sees the name, or its answers vary."
        )
    if work.config.judge in work.config.models:
        caveats.append("The judge is the model that is audited: it labels its own responses.")
    provider = benign.filter(pl.col("source") == "provider").height
    if provider:
        caveats.append(f"{count(provider)} declines came from the provider's own filter, not from the model's words.")
    return caveats
