"""A grid of safety-tuned checkpoints for the sweep: KL parameter x training steps x cleansing threshold, from one parent.

``python -m tools.organisms.checkpoints --out DIR`` trains them and writes ``DIR/models.yaml``, which
``evenhand sweep tsdi --models DIR/models.yaml`` reads. The three axes are the paper's (arXiv 2502.02153); the values, the data and
the recipe are ours. Its cleansing threshold was 0.25, of which score was not found: here it is one of a made-up label margin.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from evenhand.engines.identity import digest_files, tokenizer_files, weight_files
from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import parse_spec
from evenhand.engines.weights import find_hf, find_organism, load_tokenizer
from evenhand.errors import BadInput, EvenhandError
from evenhand.files import read_json, write_atomically, write_json
from tools.organisms.checkpoint_train import (
    RETAINED,
    Losses,
    PreferenceRow,
    RunPlan,
    preference_rows,
    train_run,
)

MODELS_FILE, GRID_FILE, PAIRS_FILE, RUN_FILE = "models.yaml", "grid.json", "pairs.csv", "run.json"
COLUMNS = ("spec", "beta", "steps", "cleansing", "reference")
"""Keys of an entry of the models file, one entry a checkpoint; ``reference`` is the parent."""
RECIPE = 1
"""Version of the recipe: a grid of another version is not gone on with."""


class Grid(BaseModel):
    """Everything that decides a grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent: str = Field("organism/sft", description="The organism that every run starts from, also the DPO reference.")
    betas: tuple[float, ...] = Field(
        (1.0, 0.5, 0.2), description="KL parameters; a smaller one lets the model go further."
    )
    steps: tuple[int, ...] = Field((8, 20, 60), description="Steps at which a run is saved, ascending.")
    cleansing: tuple[float, ...] = Field((0.0, 0.25), description="Pairs with a label margin below this are dropped.")
    draws: int = Field(2, ge=1, description="Pairs of each harmful request.")
    wrong: float = Field(0.15, ge=0, lt=1, description="Share of pairs whose labels are wrong on purpose.")
    seed: int = Field(21, ge=0, description="Seed of the pairs, the wrong labels and the order of training.")
    rate: float = Field(1e-4, gt=0, allow_inf_nan=False, description="Learning rate after ten steps of warm-up.")
    pairs: int = Field(16, ge=1, description="Pairs a step.")
    likelihood: float = Field(0.5, ge=0, allow_inf_nan=False, description="Weight of the chosen text's likelihood.")
    retention: float = Field(1.0, ge=0, allow_inf_nan=False, description="Weight of the other sections' rows.")

    @field_validator("betas", "steps", "cleansing")
    @classmethod
    def _distinct(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values or len(set(values)) != len(values) or not all(math.isfinite(x) for x in values):
            raise ValueError(f"give one or more different finite numbers, not {list(values)}")
        return values

    @field_validator("betas")
    @classmethod
    def _positive(cls, betas: tuple[float, ...]) -> tuple[float, ...]:
        if min(betas) <= 0:
            raise ValueError(f"a KL parameter is above 0, not {min(betas):g}")
        return betas

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(steps) or steps[0] < 1:
            raise ValueError(f"checkpoints are whole numbers of steps, ascending from 1 at least, not {list(steps)}")
        return steps

    @field_validator("cleansing")
    @classmethod
    def _share(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        if min(thresholds) < 0 or max(thresholds) >= 1:
            raise ValueError(f"thresholds lie in 0 to 1 (1 excluded), not {list(thresholds)}")
        return thresholds


def build_grid(grid: Grid, out: Path, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Train what is not trained yet and return the models file.

    A run (one beta and threshold) is the unit of redo: an interrupted grid goes on with the first run that is not finished,
    to the same bytes on one machine and torch version. Raises BadInput where ``out`` holds another grid or anything else, and
    where the parent is no organism.
    """
    out = Path(out)
    folder, tokenizer, weights = _parent(grid.parent)
    rows = preference_rows(grid.seed, grid.draws, grid.wrong)
    _claim(out, _stamp(grid, weights))
    write_atomically(out / PAIRS_FILE, _pairs_csv(rows))
    for beta in grid.betas:
        for threshold in grid.cleansing:
            kept = [row for row in rows if row.margin >= threshold]
            if not kept:
                raise BadInput(f"Cleansing at {threshold:g} leaves no pair.", do="Choose a smaller threshold.")
            where = out / _run_name(beta, threshold)
            if _finished(where, grid.steps):
                tell(f"{where.name}: finished before")
            else:
                _train(grid, beta, kept, len(rows), folder, tokenizer, where, tell)
    write_atomically(out / MODELS_FILE, _models_yaml(grid, out))
    return out / MODELS_FILE


def _parent(spec: str) -> tuple[Path, Any, dict[str, str]]:
    """Folder, tokenizer and digests of the parent."""
    parsed = parse_spec(spec)
    if parsed.kind not in ("organism", "hf") or parsed.adapter is not None or parsed.tsdi is not None:
        raise BadInput(f"'{spec}' cannot be trained on here.", do="Give an organism, or a folder that holds one.")
    checkpoint = find_organism(parsed) if parsed.kind == "organism" else find_hf(parsed)
    torch_with_threads()
    tokenizer, folder = load_tokenizer(checkpoint), checkpoint.folder
    from tools.organisms.tokenizer import ASSISTANT, BOS, EOS, SYSTEM, USER

    if not {ASSISTANT, BOS, EOS, SYSTEM, USER} <= set(tokenizer.get_vocab()) or tokenizer.pad_token_id is None:
        raise BadInput(f"{spec} is no organism: its tokenizer has other role tokens.", do="Give organism/sft.")
    digests = {"weights": digest_files(weight_files(folder)), "tokenizer": digest_files(tokenizer_files(folder))}
    return folder, tokenizer, digests


def _stamp(grid: Grid, parent: dict[str, str]) -> dict[str, Any]:
    stamp = {"recipe": RECIPE, "settings": grid.model_dump(mode="json"), "parent": parent, "retained": RETAINED}
    return dict(json.loads(json.dumps(stamp)))


def _claim(out: Path, stamp: dict[str, Any]) -> None:
    """Make the folder this grid's. Raises BadInput where it is another's."""
    path = out / GRID_FILE
    if path.exists():
        found = read_json(path)
        if found != stamp:
            mine = {**stamp, **stamp["settings"]}
            theirs = {**found, **found.get("settings", {})} if isinstance(found, dict) else {}
            apart = sorted(k for k in {*mine, *theirs} - {"settings"} if mine.get(k) != theirs.get(k))
            raise BadInput(
                f"The folder holds another grid: {', '.join(apart)} differ.", file=path, do="Choose another --out."
            )
        return
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise BadInput("There is something else already.", file=out, do="Choose an empty or a new folder with --out.")
    write_json(path, stamp)


def _run_name(beta: float, threshold: float) -> str:
    return f"beta{beta!r}-cleansing{threshold!r}"


def _checkpoint(run: Path, step: int) -> Path:
    return run / f"steps{step}"


def _finished(run: Path, steps: tuple[int, ...]) -> bool:
    whole = all((_checkpoint(run, s) / "model.safetensors").is_file() for s in steps)
    return (run / RUN_FILE).is_file() and whole


def _train(
    grid: Grid, beta: float, kept: list[PreferenceRow], all_rows: int, parent: Path, tokenizer: Any, run: Path,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    from transformers.utils import logging

    from tools.organisms.model import load, save

    logging.disable_progress_bar()
    shutil.rmtree(run, ignore_errors=True)  # a run that was cut short
    run.mkdir(parents=True)
    model = load(parent)
    torch_with_threads(sum(weight.numel() for weight in model.parameters()))
    plan = RunPlan(beta, grid.steps, grid.seed, grid.rate, grid.pairs, grid.likelihood, grid.retention)
    began, last = time.monotonic(), grid.steps[-1]

    def told(losses: Losses) -> None:
        numbers = " ".join(f"{f.name} {getattr(losses, f.name):.4f}" for f in fields(losses) if f.name != "step")
        tell(f"{run.name} step {losses.step}/{last} {numbers} {time.monotonic() - began:.0f} s")

    losses = train_run(model, tokenizer, kept, plan, lambda m, step: save(m, tokenizer, _checkpoint(run, step)), told)
    done = {
        "pairs": len(kept), "dropped": all_rows - len(kept), "wrong": sum(row.wrong for row in kept),
        "losses": [asdict(row) for row in losses],
    }  # fmt: skip
    write_json(run / RUN_FILE, done)


def _pairs_csv(rows: tuple[PreferenceRow, ...]) -> bytes:
    named = [field.name for field in fields(PreferenceRow)]
    return _csv(named, [[getattr(row, name) for name in named] for row in rows])


def _models_yaml(grid: Grid, out: Path) -> bytes:
    import yaml

    root = out.resolve()
    rows = [
        (f"hf/{_checkpoint(root / _run_name(beta, threshold), step)}", beta, step, threshold, grid.parent)
        for beta in grid.betas
        for step in grid.steps
        for threshold in grid.cleansing
    ]
    listed = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    return yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=1000).encode("utf-8")


def _csv(columns: Any, rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def main() -> None:
    """Command line: trains the grid and prints where its models file lies."""
    parser = argparse.ArgumentParser(prog="python -m tools.organisms.checkpoints", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the grid; an interrupted one goes on")
    parser.add_argument("--parent", help="spec of the organism to start from (default: organism/sft)")
    parser.add_argument("--betas", type=float, nargs="+", help="KL parameters")
    parser.add_argument("--steps", type=int, nargs="+", help="steps at which a run is saved")
    parser.add_argument("--cleansing", type=float, nargs="+", help="thresholds of the label margin")
    parser.add_argument("--seed", type=int, help="seed of everything")
    given = vars(parser.parse_args())
    out, began = given.pop("out"), time.monotonic()
    try:
        grid = Grid(**{name: value for name, value in given.items() if value is not None})
        models = build_grid(grid, out, lambda line: print(line, flush=True))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise SystemExit(f"The settings cannot be used: {problems}.") from None
    except EvenhandError as error:
        raise SystemExit(str(error)) from None
    print(f"{models}: {len(grid.betas) * len(grid.steps) * len(grid.cleansing)} checkpoints, "
          f"{(time.monotonic() - began) / 60:.1f} minutes")  # fmt: skip


if __name__ == "__main__":
    main()
