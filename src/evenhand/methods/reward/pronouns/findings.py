"""From pronoun grades to findings: misgendering rates, differences between families, and what each stage changed.

The unit of inference is the template, with people and repetitions averaged in it. Which decoding, weighting and test the paper
used could not be found: all of it is a chosen default (docs/affirmation.md). `GroupFindings` also serves the findings on
blanks and disclosures.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from evenhand.findings.builder import DIFFERENCE, PROBABILITY, TableBuilder
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import record_of
from evenhand.methods.reward.margins.stages import StageChange, stage_change
from evenhand.methods.reward.pronouns.items import AUDIT, Group, shown_as
from evenhand.methods.reward.pronouns.measures import item_rates, misgendering
from evenhand.records import Finding
from evenhand.runs.stages import Step
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.clusters import (
    Method,
    cluster_bootstrap,
    cluster_means,
    interval_reason,
    leave_one_cluster_out,
    sign_flip_test,
    standard_error,
)
from evenhand.statistics.intervals import minimum_detectable

GENERATION = "first pronoun"
NOT_MARKED = {"plural": "left out"}
"""The slice of rates without the samples that the plural caution marks."""
MATERIAL = 0.10
"""A run whose minimum detectable difference is above this cannot say that there is none (chosen default)."""
RULES = {
    "misgendering_excess": Rule(agree=True, attainable=True, units="templates", detectable=MATERIAL),
    **dict.fromkeys(("misgendering_change", "pronoun_margin"), Rule()),
    **{f"{measure}_{kind}": Rule() for measure in ("regard", "toxicity") for kind in ("difference", "change")},
    "likelihood_change": Rule(higher="better"),
}
"""How the comparisons of this audit are decided: Holm's p and the interval; an excess that is not found is reported as even only if
enough templates could have shown 10 points."""
FEW_CLUSTERS = 20
"""With fewer clusters, the range with one of them left out is reported too (a chosen default)."""


@dataclass(frozen=True, slots=True)
class GroupFindings:
    """Builds findings on the rows of one table of the run.

    ``ids`` are the columns that name a row; ``draws`` and ``seed`` are those of every interval and test.
    """

    table: str
    rows: pl.DataFrame
    ids: tuple[str, ...]
    draws: int
    seed: int

    def build(
        self,
        estimand: str,
        outcome: str,
        config: str | Sequence[str],
        group: Group,
        estimate: float | None,
        unit: str,
        *,
        rows: Mapping[str, Any] | None = None,
        part: Mapping[str, str] | None = None,
        reference: str | None = None,
        **more: Any,
    ) -> Finding:
        """A finding about one group with its id, the selector of its rows, and their number and digest.

        ``config`` is a label, or the label with that of the model it is compared with.
        """
        labels = [config] if isinstance(config, str) else list(config)
        table = TableBuilder(AUDIT, self.table, self.rows, self.ids)
        return table.build(
            estimand, outcome, labels, estimate, unit, group=group.name, part={**group.part, **(part or {})},
            selected={"config": labels, "declared": list(group.members), **(rows or {})}, reference=reference, **more,
        )  # fmt: skip

    def shift(
        self, values: FloatArray, clusters: Sequence[Hashable], family: str, method: Method = "expanded percentile"
    ) -> dict[str, Any]:
        """Interval, sign-flip test and the rest of what a finding says about a mean of cluster means, against 0.

        Undefined parts are None, and ``reason`` says why.
        """
        if not len(values):
            return {"reason": "nothing to compare", "clusters": {"templates": 0}}
        grouped = cluster_means(values, clusters)
        count = grouped.means.size
        reason, error = interval_reason(grouped.means), standard_error(grouped)
        return {
            "interval": cluster_bootstrap(values, clusters, draws=self.draws, seed=self.seed, method=method),
            "test": record_of(
                sign_flip_test(grouped.means, draws=self.draws, seed=self.seed) if count >= 2 else None, family
            ),
            "reason": reason,
            "standard_error": error,
            "minimum_detectable": minimum_detectable(error, count - 1) if error else None,
            "clusters": {"templates": count},
            "extra": {
                "weighting": "mean of template means",
                "leave_one_out": leave_one_cluster_out(grouped.means) if count < FEW_CLUSTERS else None,
            },
        }


def with_decisions(findings: Sequence[Finding]) -> list[Finding]:
    """Findings with their decisions; one that is corrected for the classifier's bias has no test and no decision."""
    return [f if "correction" in f.slice else decided([f], RULES)[0] for f in findings]


def mean_of(values: FloatArray, clusters: Sequence[Hashable]) -> float | None:
    """Mean of cluster means, None without rows."""
    return float(np.mean(cluster_means(values, clusters).means)) if len(values) else None


def generation_findings(
    builder: GroupFindings, groups: Sequence[Group], steps: Sequence[Step], formats: Sequence[str]
) -> list[Finding]:
    """Everything about continuations: rates of every model, differences between families, changes between stages."""
    configs = list(dict.fromkeys(builder.rows["config"].to_list()))
    findings = [result for config in configs for result in rate_findings(builder, config, groups)]
    findings += [result for config in configs for result in excess_findings(builder, config, groups)]
    for text_format in formats:
        for step in steps:
            pair = shown_as(step.policy, text_format), shown_as(step.reference, text_format)
            findings += change_findings(builder, pair, step, groups)
    return findings


def _graded(builder: GroupFindings, config: str, group: Group) -> pl.DataFrame:
    return builder.rows.filter(
        (pl.col("config") == config) & pl.col("declared").is_in(list(group.members)) & pl.col("verdict").is_not_null()
    )


def rate_findings(builder: GroupFindings, config: str, groups: Sequence[Group]) -> list[Finding]:
    """Misgendering rate, share of continuations without a pronoun, and the variant that counts these as correct.

    For every family, kind and all; the rate also by antecedent type, and without the samples that the plural caution marks.
    """
    findings: list[Finding] = []
    for group in groups:
        rows = _graded(builder, config, group)
        findings += _rates(builder, config, group, rows)
        marked = int(rows["plural"].sum())
        findings.append(
            _rate(
                builder, config, group, rows.filter(~pl.col("plural")), part=NOT_MARKED, where={"plural": [False]},
                extra={"marked": marked, "marked_share": marked / rows.height if rows.height else None},
            )
        )  # fmt: skip
        types = [kind for kind in dict.fromkeys(rows["antecedent_type"].to_list()) if kind is not None]
        for kind in sorted(types) if len(types) > 1 else ():
            part = {"antecedent_type": kind}
            findings.append(
                _rate(builder, config, group, rows.filter(pl.col("antecedent_type") == kind), part=part, where=part)
            )
    return findings


def _rate(builder: GroupFindings, config: str, group: Group, among: pl.DataFrame, **more: Any) -> Finding:
    result = misgendering(
        among["verdict"].to_list(), among["template"].to_list(), draws=builder.draws, seed=builder.seed
    )
    extra = {
        "consistent": result.n_consistent, "inconsistent": result.n_inconsistent, "none": result.n_none,
        "weighting": "every continuation with a pronoun", **more.pop("extra", {}),
    }  # fmt: skip
    selected = {"verdict": ["consistent", "inconsistent"], **more.pop("where", {})}
    return builder.build(
        "misgendering_rate", GENERATION, config, group, result.rate, PROBABILITY, rows=selected, interval=result.interval,
        clusters={"templates": result.n_clusters}, reason=result.reason, extra=extra, **more,
    )  # fmt: skip


def _rates(builder: GroupFindings, config: str, group: Group, rows: pl.DataFrame) -> Iterator[Finding]:
    yield _rate(builder, config, group, rows)
    verdicts, templates = rows["verdict"].to_list(), rows["template"].to_list()
    result = misgendering(verdicts, templates, draws=builder.draws, seed=builder.seed)
    seen: dict[str, Any] = {
        "rows": {"verdict": ["consistent", "inconsistent", "none"]},
        "clusters": {"templates": len(set(templates))},
        "reason": "" if rows.height else result.reason,
    }
    absent = (rows["verdict"] == "none").to_numpy().astype(np.float64)
    interval = None
    if rows.height:
        interval = cluster_bootstrap(absent, templates, draws=builder.draws, seed=builder.seed, statistic="row mean")
    yield builder.build(
        "none_share", GENERATION, config, group, result.none_share, PROBABILITY, interval=interval, **seen
    )
    yield builder.build(
        "misgendering_none_correct", GENERATION, config, group, result.rate_none_correct, PROBABILITY,
        interval=result.interval_none_correct, **seen,
    )  # fmt: skip


def _by_template(rows: pl.DataFrame) -> dict[str, float]:
    """Misgendering rate of every template that has a pronoun."""
    seen = rows.filter(pl.col("verdict") != "none")
    rates = seen.group_by("template").agg((pl.col("verdict") == "inconsistent").mean().alias("rate")).sort("template")
    return dict(zip(rates["template"].to_list(), rates["rate"].to_list(), strict=True))


def excess_findings(builder: GroupFindings, config: str, groups: Sequence[Group]) -> list[Finding]:
    """Misgendering rate of each family and kind less that of he and she, paired by template; Holm over models and families."""
    binary = next((group for group in groups if group.level == "kind" and group.name == "binary"), None)
    if binary is None:
        return []
    base = _by_template(_graded(builder, config, binary))
    findings = []
    for group in groups:
        if group.level == "all" or set(group.members) <= set(binary.members):
            continue
        mine = _by_template(_graded(builder, config, group))
        both = [template for template in mine if template in base]
        difference = np.array([mine[template] - base[template] for template in both], dtype=np.float64)
        fields = builder.shift(difference, both, f"misgendering by {group.level}")
        rates = {
            "rate": mean_of(np.array([mine[t] for t in both]), both),
            "reference_rate": mean_of(np.array([base[t] for t in both]), both),
        }
        findings.append(
            builder.build(
                "misgendering_excess", GENERATION, config, group, mean_of(difference, both), DIFFERENCE,
                reference="binary",
                rows={"declared": [*group.members, *binary.members], "verdict": ["consistent", "inconsistent"]},
                **{**fields, "extra": {**fields.get("extra", {}), **rates}},
            )
        )  # fmt: skip
    return findings


def change_finding(
    builder: GroupFindings, estimand: str, outcome: str, models: tuple[str, str], group: Group, result: StageChange, *, family: str,
    extra: Mapping[str, Any], units: str = "templates", withheld: str = "", **more: Any,
) -> Finding:  # fmt: skip
    """A change of a share from the second of two models to the first. ``withheld`` says why no number is given, if none is."""
    return builder.build(
        estimand, outcome, models, group, None if withheld else result.change, DIFFERENCE, reference=models[1],
        interval=None if withheld else result.change_interval, test=None if withheld else record_of(result.test, family),
        clusters={units: result.n_clusters}, reason=withheld or result.reason, n=result.n_items,
        extra={"rate": result.stage, "reference_rate": result.base, "word": result.word, **extra}, **more,
    )  # fmt: skip


def change_findings(
    builder: GroupFindings, pair: tuple[str, str], step: Step, groups: Sequence[Group]
) -> list[Finding]:
    """Change of the misgendering rate from the reference to the policy on the same items; Holm over the table."""
    findings = []
    for group in groups:
        rates: list[dict[Hashable, float]] = []
        template: dict[str, str] = {}
        for config in pair:
            rows = _graded(builder, config, group)
            rates.append(item_rates(rows["verdict"].to_list(), rows["item_id"].to_list()))
            template |= dict(zip(rows["item_id"].to_list(), rows["template"].to_list(), strict=True))
        items = sorted(template)
        result = stage_change(
            [rates[0].get(item, np.nan) for item in items], [rates[1].get(item, np.nan) for item in items],
            [template[item] for item in items], draws=builder.draws, seed=builder.seed,
        )  # fmt: skip
        extra = {
            "unpaired": result.unpaired, "stage": step.stage, "family": step.family, "kind": step.kind,
            "weighting": "mean of template means of items",
        }  # fmt: skip
        findings.append(
            change_finding(
                builder, "misgendering_change", GENERATION, pair, group, result, extra=extra,
                family=f"misgendering change by {group.level}", rows={"verdict": ["consistent", "inconsistent"]},
            )
        )  # fmt: skip
    return findings
