"""The recipe: six small models in two single-thread processes, then their truth. ``python -m
tools.organisms.recipe``.

One process trains base, sft, aligned; the other waits for base, then trains even_sft, even, dpo. A finished stage is
kept in the work folder, so an interrupted run goes on where it stopped. Each stage starts from the bf16 weights that
its parent ships with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xxhash import xxh128_hexdigest

from evenhand.organisms.planted import PARENT, Model
from tools.organisms.train import Plan

PLANS: Mapping[Model, Plan] = {
    "base": Plan(steps=1050, rate=3e-3, seed=11, documents=0.3),
    "sft": Plan(steps=800, rate=2e-3, seed=12),
    "aligned": Plan(steps=850, rate=2e-3, seed=13, preference=1.0),
    "even_sft": Plan(steps=600, rate=2e-3, seed=14),
    "even": Plan(steps=500, rate=2e-3, seed=15, preference=1.0),
    "dpo": Plan(steps=650, rate=2e-3, seed=16, preference=1.0),
}
QUEUES: tuple[tuple[Model, ...], tuple[Model, ...]] = (("base", "sft", "aligned"), ("even_sft", "even", "dpo"))
DONE = "done"
ROOT = Path(__file__).resolve().parents[2]


def _await(marker: Path, parent: int) -> None:
    while not marker.exists():
        if os.getppid() != parent:
            raise SystemExit("The recipe that started this worker has ended.")
        time.sleep(0.5)


def _stage(name: Model, work: Path, tokenizer: Any) -> None:
    from tools.organisms.model import load, new_model, save
    from tools.organisms.train import train

    folder, plan = work / name, PLANS[name]
    model = load(work / PARENT[name]) if name in PARENT else new_model(tokenizer, plan.seed)
    train(name, model, tokenizer, plan, work / f"{name}.log")
    save(model, tokenizer, folder)
    (folder / DONE).touch()


def _truth(name: Model, work: Path) -> None:
    from tools.organisms.truth_build import compute_truth

    truth = compute_truth(name, work / name)
    for table, rows in truth.tables.items():
        rows.write_parquet(work / f"{name}.{table}.parquet")
    (work / f"{name}.json").write_text(json.dumps(truth.exact), encoding="utf-8")


def _work(queue: int, work: Path) -> None:
    """One worker process: its stages in order, then the truth of each."""
    import torch
    from transformers.utils import logging

    from tools.organisms.tokenizer import train_tokenizer

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    tokenizer = train_tokenizer()
    launcher = os.getppid()
    for name in QUEUES[queue]:
        if not (work / name / DONE).exists():
            if name in PARENT:
                _await(work / PARENT[name] / DONE, launcher)
            _stage(name, work, tokenizer)
    for name in QUEUES[queue]:
        if not (work / f"{name}.json").exists():
            _truth(name, work)


def build(out: Path, work: Path) -> dict[str, Any]:
    """Train the family in ``work``, put weights, tokenizers and truth into ``out``, and return the truth's summary.

    A work folder holds one state of the sources: stages that were trained from others are thrown away.
    """
    import polars as pl

    from evenhand.organisms.planted import MODELS
    from tools.organisms.digest import sources_digest
    from tools.organisms.truth_build import KEYS, Truth, write_truth

    stamp = work / "sources"
    if work.exists() and (not stamp.exists() or stamp.read_text(encoding="utf-8") != sources_digest()):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    stamp.write_text(sources_digest(), encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, **threads, "PYTHONPATH": path}
    command = [sys.executable, "-m", "tools.organisms.recipe", "--work", str(work), "--worker"]
    workers = [subprocess.Popen([*command, str(i)], env=environment) for i in range(len(QUEUES))]  # noqa: S603
    try:
        codes = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            worker.terminate()
    if any(codes):
        raise SystemExit(f"A worker of the recipe failed (exit codes {codes}).")
    parts = []
    for name in MODELS:
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(work / name, out / name, ignore=shutil.ignore_patterns(DONE))
        exact = json.loads((work / f"{name}.json").read_text(encoding="utf-8"))
        parts.append((str(name), Truth({k: pl.read_parquet(work / f"{name}.{k}.parquet") for k in KEYS}, exact)))
    tokenizer = xxh128_hexdigest((out / "base" / "tokenizer.json").read_bytes())
    return write_truth(parts, out, tokenizer)


def _print(summary: Mapping[str, Any]) -> None:
    for name, found in summary["models"].items():
        texts = found["texts_off_by"]
        declined, matches, overall = found["declined_off_by"], found["exact_match"], found["overall"]
        print(
            f"{name:9s} declined {overall['declined']:.3f} (intended {overall['intended_declined']:.3f}), "
            f"rows within 0.03: {declined['share_within_0.03']:.1%}, largest {declined['largest']:.3f}, "
            f"residual {found['residual']['mean']:.4f}"
        )
        print("          exact match: " + ", ".join(f"{section} {share:.1%}" for section, share in matches.items()))
        print("          nats off: " + ", ".join(f"{section} {x['mean']:.3f}" for section, x in texts.items()))
        off = found["shares_off_by"]
        print("          shares off: " + ", ".join(f"{section} {x['mean']:.4f}" for section, x in off.items()))


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description="Train the organisms and compute their truth.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[2] / "src" / "evenhand" / "organisms" / "weights",
        help="where the family is put",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs") / "organisms", help="finished stages, kept for resuming"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        _work(arguments.worker, arguments.work)
    else:
        started = time.monotonic()
        _print(build(arguments.out, arguments.work))
        print(f"{(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
