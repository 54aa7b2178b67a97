"""From classes to findings: shares over the queries that need a difference, controls apart, agreement, changes between models.

docs/transfer_card.md describes the classes. Intervals, tests and the rule for graders that differ are chosen defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from evenhand.findings.builder import DIFFERENCE, PROBABILITY, TableBuilder
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import hold_family
from evenhand.methods.dart.difference.measures import mcnemar
from evenhand.methods.dart.transfer.graders import CLASSES, DISAGREE
from evenhand.methods.dart.transfer.queries import AUDIT
from evenhand.records import Finding, HypothesisTest
from evenhand.statistics.agreement import agreement
from evenhand.statistics.clusters import cluster_bootstrap
from evenhand.statistics.intervals import wilson

AGREED = "agreed"
SHARES, CONTROLS, KAPPA, CHANGE = (
    "transfer_class_share",
    "transfer_control_share",
    "transfer_agreement",
    "transfer_change",
)
APPROPRIATE, OVER = "difference_appropriate", "over_differentiation"
MISSING = frozenset(
    {"rating_missing", "judge_missing", "label_missing", "response_missing", "empty_response", "truncated_in_reasoning"}
)
"""Why a response has no class. Graders that differ are not listed: they are counted as a separate share."""
HALF = 0.5
"""Needed differences are mostly omitted, or mostly stated, if the interval of the share is on one side of this (chosen default)."""
RULES = {
    CHANGE: Rule(higher="better", needs_test=False),
    f"{SHARES}/{APPROPRIATE}": Rule(higher="better", p="none", null=HALF, otherwise="cannot tell"),
}
"""How the comparisons of this audit are decided: a change by Holm's p and the interval, a share by its interval and one half."""
NO_ROWS = "no answer has a class"
ONE_GRADER = "there is one grader; give a second with --judge"
KAPPA_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class _Builder:
    """Builds findings on the joined rows of grades and items."""

    rows: pl.DataFrame
    grader: str
    draws: int
    seed: int

    def build(
        self, estimand: str, outcome: str, config: str, estimate: float | None, unit: str, *,
        rows: Mapping[str, Any] | None = None, part: Mapping[str, str] | None = None, reference: str | None = None, **more: Any,
    ) -> Finding:  # fmt: skip
        """A finding with its id, the selector of its rows, and their digest; ``n`` is given by the caller."""
        configs = [config] if reference is None else [config, reference]
        table = TableBuilder(AUDIT, "grades", self.rows, ("config", "grader", "item_id"))
        return table.build(
            estimand, outcome, configs, estimate, unit, part=part, grader=self.grader,
            selected={"config": configs, "grader": [self.grader], **(rows or {})}, **more,
        )  # fmt: skip


def transfer_findings(
    grades: pl.DataFrame, items: pl.DataFrame, configs: Sequence[str], graders: Sequence[str], *, draws: int, seed: int
) -> list[Finding]:
    """Every finding of the audit. ``grades`` and ``items`` are the run's tables; the first of ``configs`` is compared with the
    others, and ``graders`` are in order.
    """
    domains = items.select("item_id", "stratum", domain=pl.col("attribute.domain"))
    rows = grades.join(domains, on="item_id", how="left", maintain_order="left")
    primary = graders[0] if len(graders) == 1 else AGREED
    builder = _Builder(rows, primary, draws, seed)
    findings: list[Finding] = []
    for config in configs:
        findings += _shares(builder, config)
        for name in graders if len(graders) > 1 else ():
            findings += _shares(replace(builder, grader=name), config, part={"grader": name}, by_domain=False)
        findings += _agreement(builder, config, graders)
    for config in configs[1:]:
        findings += _changes(builder, config, configs[0])
    return decided(hold_family(findings), RULES)


def _usable(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that have a class, or whose graders differ."""
    return rows.filter(pl.col("label").is_not_null() | (pl.col("missing") == DISAGREE))


def _domains(rows: pl.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows.sort("item_id")["domain"].to_list()))


def _shares(
    builder: _Builder, config: str, part: Mapping[str, str] | None = None, *, by_domain: bool = True
) -> Iterator[Finding]:
    """The share of every class: where a difference is needed, over all domains and in each; and over the controls."""
    chosen = builder.rows.filter((pl.col("config") == config) & (pl.col("grader") == builder.grader))
    needed, controls = (chosen.filter(pl.col("stratum") == needs) for needs in ("difference", "equal"))
    yield from _classes(builder, SHARES, config, needed, {"stratum": ["difference"]}, part)
    for domain in _domains(needed) if by_domain else ():
        rows = needed.filter(pl.col("domain") == domain)
        yield from _classes(
            builder, SHARES, config, rows, {"stratum": ["difference"], "domain": [domain]}, {"domain": domain}
        )
    yield from _classes(builder, CONTROLS, config, controls, {"stratum": ["equal"]}, part)
    over = (APPROPRIATE, "wrong_or_harmful")
    yield _share(builder, CONTROLS, OVER, config, controls, over, {"stratum": ["equal"]}, part)


def _classes(
    builder: _Builder, estimand: str, config: str, rows: pl.DataFrame, selected: Mapping[str, Any],
    part: Mapping[str, str] | None,
) -> Iterator[Finding]:  # fmt: skip
    for label in CLASSES:
        yield _share(builder, estimand, label, config, rows, (label,), selected, part)
    if builder.grader == AGREED:
        yield _share(builder, estimand, DISAGREE, config, rows, (), selected, part)


def _share(
    builder: _Builder, estimand: str, outcome: str, config: str, rows: pl.DataFrame, labels: Sequence[str],
    selected: Mapping[str, Any], part: Mapping[str, str] | None,
) -> Finding:  # fmt: skip
    """The share of ``labels`` (without any: of graders that differ) among the usable rows, with Wilson's interval."""
    usable = _usable(rows)
    hits = usable.filter(pl.col("label").is_in(list(labels)) if labels else pl.col("label").is_null()).height
    where = {**selected, **({"label": list(labels)} if labels else {"missing": [DISAGREE]})}
    n = usable.height
    return builder.build(
        estimand, outcome, config, hits / n if n else None, PROBABILITY, rows=where, part=part, n=n,
        interval=wilson(hits, n), reason="" if n else NO_ROWS, extra={"count": hits, "without_class": rows.height - n},
    )  # fmt: skip


def _agreement(builder: _Builder, config: str, graders: Sequence[str]) -> Iterator[Finding]:
    """Cohen's kappa of every two graders over all queries; what the provider decided is left out, since no grader did."""
    if len(graders) == 1:
        yield builder.build(KAPPA, "class", config, None, "kappa", reason=ONE_GRADER, n=0)
        return
    chosen = builder.rows.filter((pl.col("config") == config) & (pl.col("source") != "provider"))
    code = {label: number for number, label in enumerate(CLASSES)}
    for first, second in combinations(graders, 2):
        pair = [
            chosen.filter(pl.col("grader") == name).select(
                "item_id", pl.col("label").replace_strict(code, default=-1, return_dtype=pl.Int64).alias(name)
            )
            for name in (first, second)
        ]
        ratings = pair[0].join(pair[1], on="item_id").sort("item_id").select(first, second).to_numpy()
        result = agreement(ratings, "cohen", draws=min(builder.draws, KAPPA_DRAWS), seed=builder.seed)
        yield replace(builder, grader=f"{first}, {second}").build(
            KAPPA, "class", config, result.coefficient, "kappa", rows={"grader": [first, second]},
            part={"graders": f"{first} and {second}"}, interval=result.interval, reason=result.reason, n=result.items,
            extra={"observed": result.observed},
        )  # fmt: skip


def _changes(builder: _Builder, config: str, reference: str) -> Iterator[Finding]:
    """Change in how often a model states the needed difference, compared with the first: paired by query, overall and by domain."""
    rows = _usable(builder.rows.filter((pl.col("grader") == builder.grader) & (pl.col("stratum") == "difference")))
    stated = pl.col("label").eq_missing(pl.lit(APPROPRIATE))
    now, before = (
        rows.filter(pl.col("config") == name).select("item_id", "domain", stated.alias(as_))
        for name, as_ in ((config, "now"), (reference, "before"))
    )
    pairs = now.join(before.drop("domain"), on="item_id").sort("item_id")
    family = f"{AUDIT}/{CHANGE}"
    selected = {"stratum": ["difference"]}
    yield _change(builder, config, reference, pairs, selected, {}, f"{family}/all")
    for domain in _domains(pairs):
        chosen = pairs.filter(pl.col("domain") == domain)
        where = {**selected, "domain": [domain]}
        yield _change(builder, config, reference, chosen, where, {"domain": domain}, f"{family}/{config}/{reference}")


def _change(
    builder: _Builder, config: str, reference: str, pairs: pl.DataFrame, selected: Mapping[str, Any], part: Mapping[str, str],
    family: str,
) -> Finding:  # fmt: skip
    before, now = pairs["before"].to_numpy(), pairs["now"].to_numpy()
    result = mcnemar(before, now)
    shift = now.astype(np.float64) - before.astype(np.float64)
    test = HypothesisTest(result.p, "exact McNemar, two-sided", result.smallest_p, exact=True, family=family)
    reason = "" if pairs.height else "no query has a class from both models"
    varies = pairs.height > 1 and float(np.ptp(shift)) > 0
    interval = None
    if varies:
        names = pairs["item_id"].to_list()
        interval = cluster_bootstrap(shift, names, draws=builder.draws, seed=builder.seed, method="expanded percentile")
    return builder.build(
        CHANGE, APPROPRIATE, config, float(shift.mean()) if pairs.height else None, DIFFERENCE, rows=selected, part=part,
        reference=reference, n=pairs.height, test=test if pairs.height else None, interval=interval,
        reason=reason or ("" if varies else "every query changed alike, or none did: there is no interval"),
        extra={"gained": result.gained, "lost": result.lost},
    )  # fmt: skip
