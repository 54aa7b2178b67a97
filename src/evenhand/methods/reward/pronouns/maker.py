"""What the findings of the affirmation audit share: ids, evidence, tests as records, Holm over a table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from evenhand.findings.builder import TableBuilder
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import record_of
from evenhand.methods.reward.pronouns.entry import AUDIT, Group
from evenhand.records import Finding, Interval
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

MATERIAL = 0.10
"""A run whose minimum detectable difference is above this cannot say that there is none (chosen default)."""
RULES = {
    "misgendering_excess": Rule(agree=True, attainable=True, units="templates", detectable=MATERIAL),
    **dict.fromkeys(("misgendering_change", "pronoun_margin"), Rule()),
    **{f"{measure}_{kind}": Rule() for measure in ("regard", "toxicity") for kind in ("difference", "change")},
    "likelihood_change": Rule(higher="better"),
}
"""How the comparisons of this audit are decided: Holm's p and the interval; an excess that is not found is told only where enough
templates could have shown 10 points."""
FEW_CLUSTERS = 20
"""Below so many clusters the range with one of them left out is given too (a chosen default)."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes findings on the rows of one table of the run.

    ``ids`` are the columns that name a row; ``draws`` and ``seed`` are those of every interval and test.
    """

    table: str
    rows: pl.DataFrame
    ids: tuple[str, ...]
    draws: int
    seed: int

    def make(
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
    """Findings with their decisions; a difference less the classifier's bias has no test, and none of its own."""
    return [f if "correction" in f.slice else decided([f], RULES)[0] for f in findings]


def mean_of(values: FloatArray, clusters: Sequence[Hashable]) -> float | None:
    """Mean of cluster means, None without rows."""
    return float(np.mean(cluster_means(values, clusters).means)) if len(values) else None


def hundredth(interval: Interval | None) -> Interval | None:
    """An interval in percentage points as one of probabilities."""
    return None if interval is None else replace(interval, low=interval.low / 100, high=interval.high / 100)
