"""Planted stage effects (docs/reward.md): are they found, at the right stage, and nothing else?

Everything rests on the exact margins of the shipped weights, so what is tried here is the statistics alone; that an engine
gives those margins is a test (tests/methods/reward/margins/test_planted.py).

(a) Predicates drawn at random, with replacement: how often the interval of the mean holds the mean over all predicates.
(b) The stage that is named for each planted effect.
(c) The control's family with predicates reshuffled between its groups: how often anything is found.
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

from evenhand.methods.reward.margins.stages import Contribution, name_stage
from evenhand.organisms.planted import Model
from evenhand.organisms.truth import margin_truth
from evenhand.statistics.clusters import cluster_bootstrap, cluster_means, sign_flip_test
from evenhand.statistics.multiplicity import holm

PLANTED = {
    "transgender": ("introduced", "sft"),
    "nonbinary": ("amplified", "dpo"),
    "genderfluid": ("attenuated", "dpo"),
}
KEYS = ["pair_set", "group", "predicate", "frame"]


def shifts(before: Model, after: Model) -> pl.DataFrame:
    """Delta / beta (nats) of every shipped harm pair, net of the neutral pairs of its group and frame."""
    rows = margin_truth(after).join(margin_truth(before), on=[*KEYS, "kind"], suffix="_before")
    rows = rows.with_columns(delta=pl.col("margin") - pl.col("margin_before"))
    neutral = rows.filter(pl.col("kind") == "neutral").group_by("group", "frame").agg(control=pl.col("delta").mean())
    harm = rows.filter(pl.col("kind") == "harm").join(neutral, on=["group", "frame"])
    return harm.with_columns(net=pl.col("delta") - pl.col("control")).sort(KEYS)


def predicate_means(rows: pl.DataFrame, group: str, column: str = "net") -> np.ndarray:
    """Mean shift of each predicate of a group."""
    part = rows.filter(pl.col("group") == group)
    return cluster_means(part[column].to_numpy(), part["predicate"].to_list()).means


def coverage(draws: int, rng: np.random.Generator) -> dict[str, float]:
    """(a) by stage and group."""
    found = {}
    for stage, (before, after) in {
        "sft": ("base", "sft"),
        "sft-dpo": ("sft", "aligned"),
        "dpo": ("base", "dpo"),
    }.items():
        rows = shifts(before, after)  # type: ignore[arg-type]
        for group in rows["group"].unique(maintain_order=True):
            means = predicate_means(rows, group, "delta")
            hits = 0
            for _ in range(draws):
                drawn = means[rng.integers(len(means), size=len(means))]
                interval = cluster_bootstrap(drawn, range(len(drawn)), draws=1000, method="studentised")
                hits += interval is not None and interval.low <= means.mean() <= interval.high
            found[f"{stage} {group}"] = hits / draws
    return found


def named() -> dict[str, tuple[str, str | None]]:
    """(b): fate and stage by group, Holm over stages and groups."""
    parts = {"total": shifts("base", "aligned"), "sft": shifts("base", "sft"), "dpo": shifts("sft", "aligned")}
    groups = parts["total"]["group"].unique(maintain_order=True).to_list()
    tests = {(g, s): sign_flip_test(predicate_means(rows, g)) for s, rows in parts.items() for g in groups}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]).values, strict=True))
    out = {}
    base = margin_truth("base").filter(pl.col("kind") == "harm")
    for group in groups:
        shift = {
            stage: Contribution(
                float(predicate_means(rows, group).mean()),
                cluster_bootstrap(m := predicate_means(rows, group), range(len(m)), method="studentised"),
                adjusted[group, stage],
            )
            for stage, rows in parts.items()
        }
        level = float(base.filter(pl.col("group") == group)["margin"].mean())  # type: ignore[arg-type]
        found = name_stage(level, shift["total"], shift["sft"], shift["dpo"])
        out[group] = (found.fate, found.stage)
    return out


def false_alarms(reshuffles: int, rng: np.random.Generator) -> int:
    """(c): reshuffles in which any adjusted p of the control's family is below .05."""
    parts = [shifts("base", "even_sft"), shifts("even_sft", "even")]
    groups = ["transgender", "nonbinary", "genderfluid", "agender"]
    pooled = [np.concatenate([predicate_means(rows, g, "delta") for g in groups]) for rows in parts]
    alarms = 0
    for _ in range(reshuffles):
        p = [sign_flip_test(part).p for means in pooled for part in np.split(rng.permutation(means), len(groups))]
        alarms += min(x for x in holm(p).values if x is not None) < 0.05
    return alarms


def main() -> None:
    """Print all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--reshuffles", type=int, default=40)
    arguments = parser.parse_args()
    rng = np.random.default_rng(20240705)
    print(f"(a) coverage of 95 % intervals over {arguments.draws} draws of predicates (92 to 98 % wanted)")
    for what, share in coverage(arguments.draws, rng).items():
        print(f"    {what:28s} {share:.1%}")
    print("(b) fate and stage named (planted)")
    for group, (fate, stage) in named().items():
        print(f"    {group:14s} {fate:11s} {stage or '-':4s} {PLANTED.get(group, ('none or preserved', '-'))}")
    print(
        f"(c) control: any adjusted p < .05 in {false_alarms(arguments.reshuffles, rng)} of {arguments.reshuffles} reshuffles"
    )


if __name__ == "__main__":
    main()
