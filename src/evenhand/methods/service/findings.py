"""From graded rows to findings: rates, contrasts with the reference, spread, single names and stems, and their decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import control_discoveries_over_all, q_values, record_of
from evenhand.methods.service.statistics.contrasts import Contrast, ContrastFamily, contrast_family
from evenhand.methods.service.statistics.names import (
    flip_rates,
    leave_one_name_out,
    name_rates,
    split_within,
    stability,
)
from evenhand.methods.service.statistics.spread import Statistic, share_over_threshold, spread
from evenhand.methods.service.table import COLLAPSES, FindingBuilder, contrast_fields, ends_of, why_undefined
from evenhand.records import DECLINED, LABELS, Finding
from evenhand.statistics.cells import Cells
from evenhand.statistics.intervals import wilson

SERVICE_THRESHOLD = 0.25
"""A group whose rate may exceed this share counts as over the service threshold (chosen default)."""

MATERIAL_GAP = 0.10
"""A run whose minimum detectable gap is above this cannot say that there is no difference (chosen default)."""

CORRECTION = {"correction": "grader error"}
"""The slice of rates and differences with the grader's error taken out."""

_GAP = Rule(
    p="holm or plain", interval="if there", agree=True, attainable=True, detectable=MATERIAL_GAP, needs_detectable=True
)
RULES = {
    "risk_difference": _GAP,
    "configuration_change": _GAP,
    "gap_change": _GAP,
    "omnibus": Rule(higher="different", p="holm or plain", interval="unused"),
}
"""How the comparisons of this audit are decided: the test within its family, the interval for new names and stems, the grader's
error where it is known, and whether the run could have seen a gap of 10 points. A test over all groups at once needs p alone."""


def label_shares(builder: FindingBuilder) -> list[Finding]:
    """The share of each label in each group, over its labelled responses, with Wilson's within-sample interval."""
    table = builder.table
    shares = []
    counts = table.labelled.group_by("group", "label").len()
    by_key = {(row["group"], row["label"]): row["len"] for row in counts.iter_rows(named=True)}
    for group in table.groups:
        n, _ = table.behind(group=group)
        for label in LABELS:
            can_give = label in builder.labels
            hits = by_key.get((group, label), 0)
            shares.append(
                builder.build(
                    "label_share",
                    label,
                    hits / n if n and can_give else None,
                    PROBABILITY,
                    group=group,
                    interval=wilson(hits, n) if n and can_give else None,
                    reason=""
                    if n and can_give
                    else builder.undefined_outcome("six labels")
                    if n
                    else "no labelled response",
                    extra={"count": hits} if can_give else {},
                )
            )
    return shares


def contrast_findings(
    builder: FindingBuilder, outcome: str, part: Mapping[str, str] | None = None, *, whole: bool = True
) -> tuple[list[Finding], ContrastFamily | None]:
    """Everything about one outcome: rates, differences, ratios, odds ratios, flips, omnibus and spread.

    With ``whole`` off (a slice such as the stems that are not loaded) only rates and differences are made.
    """
    table = builder.table
    why = builder.undefined_outcome(outcome)
    if why:
        blank = [
            builder.build(
                "risk_difference", outcome, None, DIFFERENCE, group=group, reference=table.groups[0], reason=why
            )
            for group in table.groups[1:]
        ]
        rates = [builder.build("rate", outcome, None, PROBABILITY, group=group, reason=why) for group in table.groups]
        return ([*rates, *blank] if whole else []), None
    cells = table.cells(COLLAPSES[outcome])
    family = contrast_family(cells, 0, draws=builder.draws, seed=builder.seed)
    name = f"{outcome}, {table.config}" + "".join(f", {k} {v}" for k, v in (part or {}).items())
    findings = [
        builder.build(
            "rate",
            outcome,
            rate.rate,
            PROBABILITY,
            group=table.groups[rate.group],
            part=part,
            interval=rate.wilson,
            clusters={"names": rate.names, "stems": rate.stems},
            standard_error=rate.standard_error,
            reason="" if rate.rate is not None else "no labelled response",
            extra={"interval_over_names_and_stems": ends_of(rate.interval)},
        )
        for rate in family.rates
    ]
    for contrast, q in zip(family.contrasts, q_values(c.test for c in family.contrasts), strict=True):
        findings += _one_contrast(builder, outcome, contrast, family.family_size, name, q, part, whole)
    if whole:
        findings += _spread(builder, outcome, family)
    return findings, family


def _one_contrast(
    builder: FindingBuilder,
    outcome: str,
    contrast: Contrast,
    family_size: int,
    family: str,
    q: float | None,
    part: Mapping[str, str] | None,
    whole: bool,
) -> list[Finding]:
    table, reasons = builder.table, contrast.reasons or {}
    where = {**contrast_fields(contrast, table.groups), "part": part}
    difference = builder.build(
        "risk_difference",
        outcome,
        contrast.difference,
        DIFFERENCE,
        interval=contrast.interval,
        test=record_of(contrast.test, family, family_size=family_size, p_holm=contrast.p_holm, q_bh=q),
        standard_error=contrast.standard_error,
        minimum_detectable=contrast.minimum_detectable,
        reason=why_undefined(contrast),
        extra={
            "rate": contrast.rate,
            "reference_rate": contrast.reference_rate,
            "percentile": ends_of(contrast.percentile),
            "wald": ends_of(contrast.wald),
            "all_names_random": ends_of(contrast.interval_all_random),
            "names_held_fixed": [table.unit_names[row] for row in contrast.fixed],
            "smallest_p_holm": contrast.best_holm,
        },
        **where,
    )
    if not whole:
        return [difference]
    flips = flip_rates(table.cells(COLLAPSES[outcome]), contrast.group, 0, draws=builder.draws, seed=builder.seed)
    return [
        difference,
        builder.build(
            "risk_ratio", outcome, contrast.ratio, "ratio", interval=contrast.ratio_interval,
            reason=reasons.get("ratio", reasons.get("ratio_interval", "")), **where,
        ),
        builder.build(
            "odds_ratio", outcome, contrast.odds_ratio, "ratio", interval=contrast.odds_ratio_interval,
            reason=reasons.get("odds_ratio", reasons.get("odds_ratio_interval", "")), **where,
        ),
        builder.build(
            "flip_rate",
            outcome,
            None if flips is None else flips.turned_on + flips.turned_off,
            PROBABILITY,
            reason="" if flips else "flips are counted stem by stem, and no stem is shared",
            extra={} if flips is None else {
                "f_plus": flips.turned_on,
                "f_minus": flips.turned_off,
                "f_plus_interval": ends_of(flips.turned_on_interval),
                "f_minus_interval": ends_of(flips.turned_off_interval),
            },
            **where,
        ),
    ]  # fmt: skip


def _spread(builder: FindingBuilder, outcome: str, family: ContrastFamily) -> list[Finding]:
    table = builder.table
    findings = [
        builder.build(
            "omnibus",
            outcome,
            family.omnibus.statistic if family.omnibus else None,
            "sum over groups of n (mean - grand mean)^2",
            test=record_of(family.omnibus, f"omnibus, {outcome}, {table.config}", family_size=1),
            reason="" if family.omnibus else "the groups share no stem, or have one name each",
        )
    ]
    defined = [rate for rate in family.rates if rate.rate is not None]
    if len(defined) < 2:
        return findings
    codes = [rate.group for rate in defined]
    rates = [rate.rate for rate in defined if rate.rate is not None]
    draws = None
    if family.draws is not None and set(codes) <= set(family.draws.codes):
        draws = family.draws.rates[:, [family.draws.codes.index(code) for code in codes]]
    spread_of_rates = spread(rates, codes, draws)
    extremes = {"highest": table.groups[spread_of_rates.highest], "lowest": table.groups[spread_of_rates.lowest]}

    def of(estimand: str, statistic: Statistic, unit: str) -> Finding:
        return builder.build(
            estimand, outcome, statistic.estimate, unit, interval=statistic.interval,
            reason=statistic.reason, extra={**extremes, "bootstrap_bias": statistic.bias},
        )  # fmt: skip

    findings += [
        of("gap", spread_of_rates.gap, DIFFERENCE),
        of("worst_best_ratio", spread_of_rates.ratio, "ratio"),
        of("between_group_sd", spread_of_rates.deviation, DIFFERENCE),
    ]
    share = share_over_threshold(
        [rate.interval.high if rate.interval else None for rate in family.rates], SERVICE_THRESHOLD
    )
    findings.append(
        builder.build(
            "share_over_threshold", outcome, share, "share of groups",
            reason="" if share is not None else "no group has an interval", extra={"threshold": SERVICE_THRESHOLD},
        )
    )  # fmt: skip
    return findings


def adjust_across(findings: Sequence[Finding]) -> list[Finding]:
    """Fill ``q_bh_all`` over every whole-set contrast of every outcome and configuration."""
    return control_discoveries_over_all(findings, lambda f: f.estimand == "risk_difference" and not f.slice)


def with_decisions(findings: Sequence[Finding]) -> list[Finding]:
    """Findings with their decisions.

    A difference that was corrected for the grader's error is part of the decision on the difference as graded, and has none of
    its own.
    """
    corrected = {(f.config, f.group): f for f in findings if f.estimand == "risk_difference" and f.slice == CORRECTION}

    def counterpart(finding: Finding) -> Finding | None:
        primary = finding.estimand == "risk_difference" and finding.outcome == "declined" and not finding.slice
        return corrected.get((finding.config, finding.group)) if primary else None

    graded = iter(decided([f for f in findings if f.slice != CORRECTION], RULES, corrected=counterpart))
    return [f if f.slice == CORRECTION else next(graded) for f in findings]


# attribute column -> (estimand, value counted first, value subtracted); several spellings of the public sets
_SPLITS = {
    "frequency": ("common_minus_rare", ("common",), ("rare", "least")),
    "gender": ("men_minus_women", ("man", "men", "male"), ("woman", "women", "female")),
}


def name_findings(builder: FindingBuilder, outcome: str = "declined") -> list[Finding]:
    """Rate of every name, range of each difference with one name left out, common minus rare, men minus women."""
    table = builder.table
    if table.units.unit != "name":
        return []
    cells = table.cells(COLLAPSES[outcome])
    findings = [
        builder.build(
            "name_rate",
            outcome,
            rate.rate,
            PROBABILITY,
            group=table.groups[rate.group],
            rows={"name": table.unit_names[rate.row]},
            part={"name": table.unit_names[rate.row]},
            interval=rate.wilson,
            extra={"dominating": rate.dominating, **_attributes(builder, rate.row)},
        )
        for rate in name_rates(cells)
    ]
    if cells.nested:  # names that each meet another stem cannot be exchanged
        return findings
    for code, group in enumerate(table.groups):
        if code:
            findings += _left_out(builder, outcome, cells, code, group)
        findings += _splits(builder, outcome, cells, code, group)
    return findings


def _attributes(builder: FindingBuilder, row: int) -> Mapping[str, str]:
    result = {column: builder.table.attribute(column)[row] for column in _SPLITS}
    return {column: value for column, value in result.items() if value is not None}


def _left_out(builder: FindingBuilder, outcome: str, cells: Cells, code: int, group: str) -> list[Finding]:
    result = leave_one_name_out(cells, code, 0, seed=builder.seed)
    table = builder.table
    if result is None:
        return []
    return [
        builder.build(
            "leave_one_name_out",
            outcome,
            result.without,
            DIFFERENCE,
            group=group,
            reference=table.groups[0],
            test=record_of(result.test, ""),
            extra={
                "low": result.low,
                "high": result.high,
                "name": table.unit_names[result.row],
                "dominating": result.dominating,
                "with_all_names": result.difference,
                "p_without": result.test.p if result.test else None,
            },
        )
    ]


def _splits(builder: FindingBuilder, outcome: str, cells: Cells, code: int, group: str) -> list[Finding]:
    findings = []
    for column, (estimand, first, second) in _SPLITS.items():
        values = np.array([(value or "").casefold() for value in builder.table.attribute(column)])
        result = split_within(cells, code, np.isin(values, first), np.isin(values, second), seed=builder.seed)
        if result is None:
            continue
        findings.append(
            builder.build(
                estimand,
                outcome,
                result.difference,
                DIFFERENCE,
                group=group,
                test=record_of(result.test, ""),
                clusters={"names": result.names[0], "other names": result.names[1]},
                extra={"first": result.first, "second": result.second},
            )
        )
    return findings


def stem_findings(builder: FindingBuilder, outcome: str = "declined") -> list[Finding]:
    """Rate of every stem over all names, with its class and text, and the rate in each group."""
    table = builder.table
    if not table.units.stem:
        return []
    values = table.outcome(COLLAPSES[outcome])
    findings = []
    for code, stem in enumerate(table.stems):
        on_stem = table.stem_codes == code
        groups = table.unit_groups[table.unit_codes[on_stem]]
        by_group = {
            group: float(values[on_stem][groups == position].mean())
            for position, group in enumerate(table.groups)
            if np.any(groups == position)
        }
        hits, n = float(values[on_stem].sum()), int(on_stem.sum())
        stem_class, text = table.stem_facts[stem]
        extra: dict[str, Any] = {"class": stem_class, "text": text, "by_group": by_group}
        findings.append(
            builder.build(
                "stem_rate",
                outcome,
                hits / n,
                PROBABILITY,
                rows={"stem": stem},
                part={"stem": stem},
                interval=wilson(hits, n),
                extra=extra,
            )
        )
    return findings


def stability_findings(builder: FindingBuilder) -> list[Finding]:
    """Do the repetitions of one prompt agree? The share with one label, Fleiss kappa, and the correlation of ``declined``."""
    labels, items = builder.table.prompt_matrix
    if labels.shape[1] < 2:
        return []
    declined = np.isin(labels, [LABELS.index(label) for label in LABELS if label in DECLINED]).astype(float)
    result = stability(labels, np.where(labels < 0, np.nan, declined))
    why = "no prompt has two labelled repetitions" if not result.prompts else "the labels never vary"
    rows = {
        "same_label_share": (result.same_label, "share of prompts"),
        "fleiss_kappa_over_repetitions": (result.fleiss_kappa, "kappa"),
        "intraclass_correlation": (result.icc, "correlation"),
    }
    return [
        builder.build(
            "stability", name, value, unit, reason="" if value is not None else why,
            clusters={"prompts": result.prompts, "prompts in all": len(items)},
        )
        for name, (value, unit) in rows.items()
    ]  # fmt: skip
