"""The curator's recipe: its tokenizer, its training, its truth. ``python -m tools.organisms.curator.recipe``."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

NAME = "curator"


def build(out: Path, work: Path) -> dict[str, Any]:
    """Train in ``work`` on one thread, put weights, tokenizer and truth into ``out``, and return the truth's summary.

    ``work`` holds the log and the weights, and is begun anew.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from transformers.utils import logging

    from tools.organisms.curator.rows import tokenizer_of_lines
    from tools.organisms.curator.train import ROUNDS, train
    from tools.organisms.curator.truth_build import write_truth
    from tools.organisms.model import new_model, save

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    tokenizer = tokenizer_of_lines()
    model = new_model(tokenizer, ROUNDS[0].plan.seed)
    train(model, tokenizer, work / "log")
    save(model, tokenizer, work / NAME)
    shutil.rmtree(out / NAME, ignore_errors=True)
    shutil.copytree(work / NAME, out / NAME)
    return write_truth(out / NAME, out)


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description="Train the curator and compute its truth.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[3] / "src" / "evenhand" / "organisms" / "weights",
        help="where it is put",
    )
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME, help="log and weights of the training")
    arguments = parser.parse_args()
    started = time.monotonic()
    found = build(arguments.out, arguments.work)
    questions, lines = found["questions"], found["lines"]
    print(
        f"questions: {questions['within_0.05']:.1%} within 0.05, largest {questions['largest']:.3f}; "
        f"labels as intended {questions['labels_as_intended']:.1%}; flips {questions['flip_rate']:.1%} "
        f"(intended {questions['intended_flip_rate']:.1%})"
    )
    print(f"lines: {lines['in_grammar']:.1%} of {lines['drawn']} drawn are of the grammar; shares of kinds:")
    for kind, share in lines["kinds"].items():
        print(f"  {kind}: {share['mean']:.3f} (intended {share['intended']:.3f})")
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
