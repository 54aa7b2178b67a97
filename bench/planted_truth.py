"""Planted truth (docs/service.md): does the audit find what is planted, and nothing else?

(a) organism/aligned, 20 sampling seeds: the mean estimate of every group against the exact truth of the weights.
(c) organism/even, names reshuffled to groups 40 times: how often anything is found; the same with a planted gap of +.15.
"""

from __future__ import annotations

import argparse
import atexit
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import evenhand
from evenhand.methods.service.statistics.contrasts import contrast_family
from evenhand.organisms.truth import load_truth
from evenhand.records import DECLINED
from evenhand.runs.load import LoadedRun
from evenhand.statistics.cells import cells_from_rows

_RUNS = tempfile.mkdtemp(prefix="evenhand-")
atexit.register(shutil.rmtree, _RUNS, ignore_errors=True)


def audited(model: str, seed: int) -> LoadedRun:
    """One run of the default audit."""
    run = evenhand.audit(
        model, methods=("service",), seed=seed, max_tokens=48, draws=100, grader=("grammar",), report=False,
        out=Path(tempfile.mkdtemp(dir=_RUNS)) / "run",
    )  # fmt: skip
    return run["service"].loaded


def truth_by(model: str, column: str) -> dict[str, float]:
    """Exact decline probability, by group or name, from the shipped weights."""
    rows = load_truth(model).with_columns(declined=pl.col("refusal") + pl.col("harmful refusal"))
    means = rows.group_by(column).agg(pl.col("declined").mean())
    return dict(zip(means[column].to_list(), means["declined"].to_list(), strict=True))


def recovered(seeds: int) -> tuple[list[dict[str, float | str]], dict[str, int], list[str]]:
    """(a): one row a group, how often each name was called dominating, and the ordering by mean estimate."""
    truth = truth_by("aligned", "group")
    estimates: dict[str, list[float]] = {group: [] for group in truth}
    dominating: dict[str, int] = {}
    for seed in range(seeds):
        run = audited("organism/aligned", seed)
        for finding in run.findings:
            if finding.estimand == "rate" and finding.outcome == "declined" and not finding.slice:
                estimates[str(finding.group)].append(float(finding.estimate or 0.0))
            if finding.estimand == "name_rate" and finding.extra["dominating"]:
                name = finding.slice["name"]
                dominating[name] = dominating.get(name, 0) + 1
    rows: list[dict[str, float | str]] = []
    for group, values in estimates.items():
        mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
        rows.append(
            {"group": group, "truth": truth[group], "mean": mean, "error": error, "z": (mean - truth[group]) / error}
        )
    order = [str(row["group"]) for row in sorted(rows, key=lambda row: float(row["mean"]))]
    return sorted(rows, key=lambda row: float(row["truth"])), dominating, order


def even_rows(seeds: int) -> list[pl.DataFrame]:
    """Labelled rows of organism/even, one frame a seed."""
    frames = []
    for seed in range(seeds):
        rows = audited("organism/even", seed).rows.filter(pl.col("label").is_not_null())
        frames.append(rows.with_columns(declined=pl.col("label").is_in(list(DECLINED)).cast(pl.Float64)))
    return frames


def found_in_shuffle(rows: pl.DataFrame, rng: np.random.Generator, planted: float = 0.0) -> tuple[bool, bool]:
    """Reshuffle names to groups of eight; is any contrast found (Holm p < .05), and is the planted one?"""
    names = sorted(rows["name"].unique().to_list())
    stems = sorted(rows["stem"].unique().to_list())
    groups = rng.permutation(np.repeat(np.arange(8), len(names) // 8))
    name = rows["name"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    stem = rows["stem"].cast(pl.Enum(stems)).to_physical().to_numpy().astype(np.int64)
    value = rows["declined"].to_numpy().copy()
    if planted:
        mine = groups[name] == 1
        served = mine & (value == 0)
        value[served & (rng.random(value.size) < planted / (1 - value[mine].mean()))] = 1.0
    family = contrast_family(cells_from_rows(name, stem, value, groups, n_stems=len(stems)), 0, draws=100)
    p_holm = {contrast.group: contrast.p_holm for contrast in family.contrasts}
    return any(p is not None and p < 0.05 for p in p_holm.values()), (p_holm[1] or 1.0) < 0.05


def false_alarms(frames: list[pl.DataFrame], shuffles: int, planted: float = 0.0) -> tuple[int, int]:
    """(c): in how many of the shuffles anything was found, and the planted contrast was."""
    rng = np.random.default_rng(7)
    found = [found_in_shuffle(frames[turn % len(frames)], rng, planted) for turn in range(shuffles)]
    return sum(anything for anything, _ in found), sum(hit for _, hit in found)


def main() -> None:
    """Print the tables of docs/service.md."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--shuffles", type=int, default=40)
    given = options.parse_args()
    rows, dominating, order = recovered(given.seeds)
    print(
        "| group | truth from the weights | mean estimate | Monte Carlo standard error | difference in standard errors |"
    )
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print("| {group} | {truth:.4f} | {mean:.4f} | {error:.4f} | {z:+.2f} |".format(**row))
    expected = [str(row["group"]) for row in rows]
    print(f"ordering right: {order == expected}; called dominating: {dominating} in {given.seeds} runs")
    frames = even_rows(5)
    alarms, _ = false_alarms(frames, given.shuffles)
    _, hits = false_alarms(frames, given.shuffles, planted=0.15)
    print(f"organism/even, {given.shuffles} reshuffles over 5 seeds: something found in {alarms}")
    print(f"the same with a planted gap of +.15: found in {hits}")


if __name__ == "__main__":
    main()
