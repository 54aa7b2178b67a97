"""DART on the organism over several seeds: accuracy, drift and reductions with intervals over seeds.

Each seed draws its own outputs, trains its own adapters and is tempted on other rows. Two runs at a time, one thread each.
The interval is Student's t over seeds: it speaks of the recipe on this organism, not of any real model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

SETTINGS = (
    *(
        "--teacher",
        "scripted",
        "--judge",
        "rule",
        "--second",
        "echo",
        "--protocol",
        "both",
        "--batch",
        "16",
        "--accumulation",
        "1",
    ),
    *("--rate", "5e-3", "--repair-rate", "2e-3", "--distil-cap", "2", "--guard", "0.05", "--max-tokens", "64"),
)
"""As `make demo-dart`."""


def one(seed: int, folder: Path) -> dict[str, Any]:
    out = folder / f"seed-{seed}"
    command = [
        sys.executable,
        "-c",
        "from evenhand.cli.main import main; main()",
        "repair",
        "dart",
        "organism/aligned",
        *SETTINGS,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "--seed", str(seed), "--out", str(out)], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    found: dict[str, Any] = json.loads((out / "findings.json").read_text())["audits"]["dart"]
    return found


def value(found: dict[str, Any], estimand: str, config: str, outcome: str = "", **part: str) -> float:
    for f in found["findings"]:
        if f["estimand"] == estimand and f["config"] == config and outcome in ("", f["outcome"]) and f["slice"] == part:
            return float("nan") if f["estimate"] is None else float(f["estimate"])
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda seed: one(seed, Path(folder)), seeds))
    models = ["M0", "distilled", "repaired (inductive)", "repaired (transductive)"]
    rows: list[tuple[str, list[float]]] = []
    for model in models:
        for estimand, what in (
            ("accuracy", "right"), ("diff_accuracy", "right where groups differ"), ("equal_accuracy", "right where they do not"),
            ("abstain_rate", "without a conclusion"),
        ):  # fmt: skip
            rows.append((f"{model}: {what}", [value(run, estimand, model, "tolerant") for run in runs]))
    for model in models[1:]:
        rows.append((f"{model}: drifted", [value(run, "drift_rate", model, "screen_then_judge") for run in runs]))
        rows.append((f"{model}: by the judge alone", [value(run, "drift_rate", model, "judge_only") for run in runs]))
        rows.append((f"{model}: by the second grader", [value(run, "second_grader", model) for run in runs]))
    rows.append(("M0 against itself", [value(run, "null_rate", "distilled") for run in runs]))
    for model in models[2:]:
        for estimand, what in (
            ("drift_reduction", "reduction"), ("noop_reduction", "by redrawing alone"), ("reduction_beyond_noop", "beyond"),
            ("second_reduction", "reduction by the second grader"),
        ):  # fmt: skip
            rows.append((f"{model}: {what}", [value(run, estimand, model) for run in runs]))
        for wording in ("seen", "held-out"):
            rows.append(
                (
                    f"{model}: reduction, {wording} wordings",
                    [value(run, "drift_reduction", model, wording=wording) for run in runs],
                )
            )
    for name, values in rows:
        x = 100 * np.array(values)
        half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else float("nan")
        print(
            f"{name:52s} {x.mean():6.1f} ({x.mean() - half:6.1f} to {x.mean() + half:6.1f})   "
            + " ".join(f"{v:.1f}" for v in x)
        )


if __name__ == "__main__":
    main()
