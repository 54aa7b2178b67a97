"""From graded rows to findings: rates, contrasts with the reference, spread, over every outcome (spec sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evenhand.findings.builder import DIFFERENCE, PROBABILITY, build
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import control_discoveries_over_all, q_values, record_of
from evenhand.methods.service.entry import AUDIT
from evenhand.methods.service.statistics.contrasts import Contrast, ContrastFamily, contrast_family
from evenhand.methods.service.statistics.names import flip_rates
from evenhand.methods.service.statistics.spread import Statistic, share_over_threshold, spread
from evenhand.methods.service.table import COLLAPSES, ServiceTable
from evenhand.records import LABELS, Finding, Interval
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


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes findings of one configuration and one grader, each with the rows behind it."""

    table: ServiceTable
    grader: str
    labels: frozenset[str]
    seed: int
    draws: int
    within: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column values that all rows of the table share, part of the evidence of every finding."""

    def undefined_outcome(self, outcome: str) -> str:
        """Why an outcome cannot be told from this grader's labels, or an empty text."""
        if outcome == "declined" or self.labels >= frozenset(LABELS):
            return ""
        return f"the grader '{self.grader}' gives only {', '.join(sorted(self.labels))}"

    def make(
        self,
        estimand: str,
        outcome: str,
        estimate: float | None,
        unit: str,
        *,
        group: str | None = None,
        reference: str | None = None,
        rows: Mapping[str, str | Sequence[str]] | None = None,
        part: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Finding:
        """A finding with its id, its evidence and how many rows and units stand behind it."""
        selected: dict[str, str | Sequence[str]] = {**self.within, **(rows or {})}
        if group is not None and "group" not in selected:
            selected["group"] = group if reference is None else (group, reference)
        n, digest = self.table.behind(**selected)
        config = self.table.config
        return build(
            AUDIT,
            estimand,
            outcome,
            config,
            estimate,
            unit,
            lead=(config, self.grader),
            group=group,
            reference=reference,
            part=part,
            n=more.pop("n", n),
            grader=self.grader,
            evidence={"config": config, "grader": self.grader, **selected},
            evidence_digest=digest,
            **more,
        )


def label_shares(maker: Maker) -> list[Finding]:
    """The share of each label in each group, over its labelled responses, with Wilson's within-sample interval."""
    table = maker.table
    found = []
    counts = table.labelled.group_by("group", "label").len()
    by_key = {(row["group"], row["label"]): row["len"] for row in counts.iter_rows(named=True)}
    for group in table.groups:
        n, _ = table.behind(group=group)
        for label in LABELS:
            known = label in maker.labels
            hits = by_key.get((group, label), 0)
            found.append(
                maker.make(
                    "label_share",
                    label,
                    hits / n if n and known else None,
                    PROBABILITY,
                    group=group,
                    interval=wilson(hits, n) if n and known else None,
                    reason=""
                    if n and known
                    else maker.undefined_outcome("six labels")
                    if n
                    else "no labelled response",
                    extra={"count": hits} if known else {},
                )
            )
    return found


def contrast_findings(
    maker: Maker, outcome: str, part: Mapping[str, str] | None = None, *, whole: bool = True
) -> tuple[list[Finding], ContrastFamily | None]:
    """Everything about one outcome: rates, differences, ratios, odds ratios, flips, omnibus and spread.

    With ``whole`` off (a slice such as the stems that are not loaded) only rates and differences are made.
    """
    table = maker.table
    why = maker.undefined_outcome(outcome)
    if why:
        blank = [
            maker.make("risk_difference", outcome, None, DIFFERENCE, group=group, reference=table.groups[0], reason=why)
            for group in table.groups[1:]
        ]
        rates = [maker.make("rate", outcome, None, PROBABILITY, group=group, reason=why) for group in table.groups]
        return ([*rates, *blank] if whole else []), None
    cells = table.cells(COLLAPSES[outcome])
    family = contrast_family(cells, 0, draws=maker.draws, seed=maker.seed)
    name = f"{outcome}, {table.config}" + "".join(f", {k} {v}" for k, v in (part or {}).items())
    findings = [
        maker.make(
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
            extra={"interval_over_names_and_stems": _ends(rate.interval)},
        )
        for rate in family.rates
    ]
    for contrast, q in zip(family.contrasts, q_values(c.test for c in family.contrasts), strict=True):
        findings += _one_contrast(maker, outcome, contrast, family.family_size, name, q, part, whole)
    if whole:
        findings += _spread(maker, outcome, family)
    return findings, family


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _one_contrast(
    maker: Maker,
    outcome: str,
    contrast: Contrast,
    family_size: int,
    family: str,
    q: float | None,
    part: Mapping[str, str] | None,
    whole: bool,
) -> list[Finding]:
    table, reasons = maker.table, contrast.reasons or {}
    where: dict[str, Any] = {
        "group": table.groups[contrast.group],
        "reference": table.groups[contrast.reference],
        "part": part,
        "clusters": {
            "names": contrast.names[0],
            "reference names": contrast.names[1],
            "stems": contrast.stems,
            "stems dropped": contrast.stems_dropped,
        },
    }
    difference = maker.make(
        "risk_difference",
        outcome,
        contrast.difference,
        DIFFERENCE,
        interval=contrast.interval,
        test=record_of(contrast.test, family, family_size=family_size, p_holm=contrast.p_holm, q_bh=q),
        standard_error=contrast.standard_error,
        minimum_detectable=contrast.minimum_detectable,
        reason="; ".join(
            dict.fromkeys(reasons[key] for key in ("difference", "interval", "test", "names") if key in reasons)
        ),
        extra={
            "rate": contrast.rate,
            "reference_rate": contrast.reference_rate,
            "percentile": _ends(contrast.percentile),
            "wald": _ends(contrast.wald),
            "all_names_random": _ends(contrast.interval_all_random),
            "names_held_fixed": [table.unit_names[row] for row in contrast.fixed],
            "smallest_p_holm": contrast.best_holm,
        },
        **where,
    )
    if not whole:
        return [difference]
    flips = flip_rates(table.cells(COLLAPSES[outcome]), contrast.group, 0, draws=maker.draws, seed=maker.seed)
    return [
        difference,
        maker.make(
            "risk_ratio", outcome, contrast.ratio, "ratio", interval=contrast.ratio_interval,
            reason=reasons.get("ratio", reasons.get("ratio_interval", "")), **where,
        ),
        maker.make(
            "odds_ratio", outcome, contrast.odds_ratio, "ratio", interval=contrast.odds_ratio_interval,
            reason=reasons.get("odds_ratio", reasons.get("odds_ratio_interval", "")), **where,
        ),
        maker.make(
            "flip_rate",
            outcome,
            None if flips is None else flips.turned_on + flips.turned_off,
            PROBABILITY,
            reason="" if flips else "flips are counted stem by stem, and no stem is shared",
            extra={} if flips is None else {
                "f_plus": flips.turned_on,
                "f_minus": flips.turned_off,
                "f_plus_interval": _ends(flips.turned_on_interval),
                "f_minus_interval": _ends(flips.turned_off_interval),
            },
            **where,
        ),
    ]  # fmt: skip


def _spread(maker: Maker, outcome: str, family: ContrastFamily) -> list[Finding]:
    table = maker.table
    findings = [
        maker.make(
            "omnibus",
            outcome,
            family.omnibus.statistic if family.omnibus else None,
            "sum over groups of n (mean - grand mean)^2",
            test=record_of(family.omnibus, f"omnibus, {outcome}, {table.config}", family_size=1),
            reason="" if family.omnibus else "the groups share no stem, or have one name each",
        )
    ]
    known = [rate for rate in family.rates if rate.rate is not None]
    if len(known) < 2:
        return findings
    codes = [rate.group for rate in known]
    rates = [rate.rate for rate in known if rate.rate is not None]
    draws = None
    if family.draws is not None and set(codes) <= set(family.draws.codes):
        draws = family.draws.rates[:, [family.draws.codes.index(code) for code in codes]]
    found = spread(rates, codes, draws)
    extremes = {"highest": table.groups[found.highest], "lowest": table.groups[found.lowest]}

    def of(estimand: str, statistic: Statistic, unit: str) -> Finding:
        return maker.make(
            estimand, outcome, statistic.estimate, unit, interval=statistic.interval,
            reason=statistic.reason, extra={**extremes, "bootstrap_bias": statistic.bias},
        )  # fmt: skip

    findings += [
        of("gap", found.gap, DIFFERENCE),
        of("worst_best_ratio", found.ratio, "ratio"),
        of("between_group_sd", found.deviation, DIFFERENCE),
    ]
    share = share_over_threshold(
        [rate.interval.high if rate.interval else None for rate in family.rates], SERVICE_THRESHOLD
    )
    findings.append(
        maker.make(
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
