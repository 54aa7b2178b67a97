"""The pair table of a reward audit, cut the ways its figures need: by stage, group and fate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from evenhand.methods.reward.margins.statistics.reward import FATES

STAGE_ORDER = ("base", "sft", "dpo", "sft-dpo")
STAGE_TITLES = {"base": "base", "sft": "SFT", "dpo": "DPO", "sft-dpo": "SFT+DPO", "": "policy", "policy": "policy"}


@dataclass(frozen=True, slots=True)
class Step:
    """One comparison of the run: a policy against its reference, at a stage of a family."""

    family: str
    stage: str
    policy: str
    reference: str
    ratio: str = "reward"

    @property
    def is_total(self) -> bool:
        """Whether it sums the stages that make it up."""
        return self.ratio == "total shift" and bool(self.stage)

    @property
    def title(self) -> str:
        """``base to SFT``, with the family where there are several."""
        before = "base" if self.is_total else {"sft": "base", "dpo": "base", "sft-dpo": "SFT"}.get(self.stage)
        words = f"{before} to {STAGE_TITLES[self.stage]}" if before else f"{self.reference} to {self.policy}"
        return f"{self.family}: {words}" if self.family else words


class PairRows:
    """``pairs.parquet`` of one run. Figures show scored harm pairs of the scope ``sentence`` (else the first scope)."""

    def __init__(self, pairs: pl.DataFrame):
        scopes = pairs["scope"].unique(maintain_order=True).to_list()
        self.scope = "sentence" if "sentence" in scopes else scopes[0] if scopes else ""
        self.all = pairs
        self.harm = pairs.filter(
            (pl.col("scope") == self.scope) & (pl.col("kind") == "harm") & (pl.col("status") == "scored")
        )

    @cached_property
    def steps(self) -> list[Step]:
        """The comparisons, in the order of the stages."""
        names = self.all.select("family", "stage", "policy", "reference", "ratio").unique(maintain_order=True)
        steps = [Step(**row) for row in names.iter_rows(named=True)]
        order = {stage: place for place, stage in enumerate(STAGE_ORDER)}
        return sorted(steps, key=lambda step: (step.family, order.get(step.stage, len(order))))

    @cached_property
    def families(self) -> list[str]:
        """The families, "" for a run without names of families."""
        return list(dict.fromkeys(step.family for step in self.steps))

    @cached_property
    def groups(self) -> list[tuple[str, str]]:
        """(pair set, group), in the order of the table."""
        return [
            tuple(row)
            for row in self.harm.select("pair_set", "group")
            .unique(maintain_order=True)
            .sort("pair_set", "group", descending=[True, False])
            .iter_rows()
        ]

    def of(self, step: Step, pair_set: str, group: str) -> pl.DataFrame:
        """The scored harm pairs of one comparison about one group."""
        return self.harm.filter(
            (pl.col("family") == step.family)
            & (pl.col("stage") == step.stage)
            & (pl.col("policy") == step.policy)
            & (pl.col("reference") == step.reference)
            & (pl.col("pair_set") == pair_set)
            & (pl.col("group") == group)
        )

    def level(self, step: Step, pair_set: str, group: str, column: str) -> float | None:
        """Mean over predicates of ``m_ref`` or ``m_pi``, in nats; None without pairs."""
        rows = self.of(step, pair_set, group)
        if rows.is_empty():
            return None
        means = rows.group_by("cluster_id", maintain_order=True).agg(pl.col(column).mean())[column]
        return float(means.to_numpy().mean())

    def panels(self, step: Step) -> list[tuple[str, str, pl.DataFrame]]:
        """(pair set, group, pairs) of a comparison, for groups that have pairs."""
        parts = ((pair_set, group, self.of(step, pair_set, group)) for pair_set, group in self.groups)
        return [(pair_set, group, part) for pair_set, group, part in parts if not part.is_empty()]

    def fates(self, step: Step, pair_set: str, group: str) -> dict[str, float]:
        """Share of pairs by fate."""
        rows = self.of(step, pair_set, group)
        counts = dict(rows["class"].value_counts().iter_rows())
        return {word: counts.get(word, 0) / max(1, rows.height) for word in FATES}
