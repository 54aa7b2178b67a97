"""From graded rows to findings: rates, contrasts with the reference, spread, over every outcome (spec sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evenhand.methods.service.entry import AUDIT
from evenhand.methods.service.statistics.contrasts import Contrast, ContrastFamily, contrast_family
from evenhand.methods.service.statistics.names import flip_rates
from evenhand.methods.service.statistics.spread import Statistic, share_over_threshold, spread
from evenhand.methods.service.table import COLLAPSES, ServiceTable
from evenhand.records import LABELS, Finding, HypothesisTest, Interval
from evenhand.statistics.intervals import wilson
from evenhand.statistics.multiplicity import benjamini_hochberg
from evenhand.statistics.permutation import PermutationTest

SERVICE_THRESHOLD = 0.25
"""A group whose rate may exceed this share counts as over the service threshold (chosen default)."""

PROBABILITY, DIFFERENCE = "probability", "difference of probabilities"


def test_of(test: PermutationTest | None, **more: Any) -> HypothesisTest | None:
    """A permutation test as a record."""
    if test is None:
        return None
    return HypothesisTest(
        p=test.p,
        method=test.method,
        smallest_p=test.smallest_p,
        count=test.count,
        permutations=test.total,
        exact=test.exact,
        **more,
    )


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
        part = dict(part or {})
        pieces = [
            AUDIT,
            self.table.config,
            self.grader,
            estimand,
            outcome,
            group or "",
            *(f"{k}={v}" for k, v in part.items()),
        ]
        return Finding(
            id="/".join(piece for piece in pieces if piece),
            audit=AUDIT,
            estimand=estimand,
            outcome=outcome,
            config=self.table.config,
            group=group,
            reference=reference,
            estimate=estimate,
            unit=unit,
            n=more.pop("n", n),
            grader=self.grader,
            slice=part,
            evidence={"config": self.table.config, "grader": self.grader, **selected},
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
    q_values = benjamini_hochberg([found.test.p if found.test else None for found in family.contrasts])
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
    for contrast, q in zip(family.contrasts, q_values.values, strict=True):
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
        test=test_of(contrast.test, family=family, family_size=family_size, p_holm=contrast.p_holm, q_bh=q),
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
            test=test_of(family.omnibus, family=f"omnibus, {outcome}, {table.config}", family_size=1),
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
    """Fill ``q_bh_all``: Benjamini-Hochberg over every whole-set contrast of every outcome and configuration."""
    tested = [
        position
        for position, finding in enumerate(findings)
        if finding.estimand == "risk_difference" and not finding.slice and finding.test is not None
    ]
    adjusted = benjamini_hochberg([test.p for position in tested if (test := findings[position].test) is not None])
    result = list(findings)
    for position, q in zip(tested, adjusted.values, strict=True):
        test = result[position].test
        if test is not None:
            result[position] = replace(result[position], test=replace(test, q_bh_all=q))
    return result
