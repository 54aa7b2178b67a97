"""`evenhand sweep`: one method over many settings, with what it would be compared with beside it."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.cli.options import with_model_options
from evenhand.cli.running import cache_path, conclude, resumable, run_folder
from evenhand.methods.tsdi.sweep.config import SweepConfig

app = typer.Typer(
    help="Measure one method over many settings: TSDI over strength, length and pool.", no_args_is_help=True
)
_FIELDS = SweepConfig.model_fields
_LISTS = ("alpha", "length", "pool", "safety_set", "safety_grader", "peers")
"""Settings that take several values with commas between them, or the option several times."""


def _help(name: str) -> str:
    default = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in _FIELDS[name].default)
    return f"{_FIELDS[name].description}" + (f" [default: {default}]" if default else "")


@app.callback()
def _group() -> None:
    """Measure one method over many settings: TSDI over strength, length and pool."""


@app.command("tsdi")
@with_model_options(SweepConfig, without=("model", *_LISTS))
def tsdi(
    settings: dict[str, Any],
    model: Annotated[
        str | None, typer.Argument(metavar="[ALIGNED]", help=str(_FIELDS["model"].description), show_default=False)
    ] = None,
    alpha: Annotated[list[str] | None, typer.Option(help=_help("alpha"), show_default=False)] = None,
    length: Annotated[list[str] | None, typer.Option(help=_help("length"), show_default=False)] = None,
    pool: Annotated[list[str] | None, typer.Option(help=_help("pool"), show_default=False)] = None,
    safety_set: Annotated[list[str] | None, typer.Option(help=_help("safety_set"), show_default=False)] = None,
    safety_grader: Annotated[list[str] | None, typer.Option(help=_help("safety_grader"), show_default=False)] = None,
    peers: Annotated[list[str] | None, typer.Option(help=_help("peers"), show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-sweep).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run (--out).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Measure ALIGNED with and without TSDI over many settings, with peers; recommend a setting that keeps safety, or none."""
    from evenhand.config import checked
    from evenhand.extras import need

    given = dict(zip(_LISTS, (alpha, length, pool, safety_set, safety_grader, peers), strict=True))
    lists = {name: tuple(values) for name, values in given.items() if values}
    chosen = checked(SweepConfig, **({"model": model} if model else {}), **settings, **lists)
    need("local", "torch", "transformers", "safetensors", what="A sweep of TSDI")
    from evenhand.methods.tsdi.sweep.run import run_sweep
    from evenhand.methods.tsdi.sweep.verdict import spec_of

    folder = run_folder(out, "sweep", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        run, result = run_sweep(chosen, folder, resume=resume, cache=cache_path(), progress=progress)
    conclude(run, [result], began, json=json)
    best = (result.facts["recommendation"] or {}).get("chosen")
    if best is not None and not json:
        sys.stdout.write(f"use it as: {shlex.quote(spec_of(result.facts, best['setting'], folder))}\n")
    lost = result.missing / result.rows if result.rows else 0.0
    if lost > chosen.max_failed:
        sys.stderr.write(
            f"evenhand: {lost:.1%} of responses failed or have no grade, more than --max-failed {chosen.max_failed:.1%}; the "
            "report counts them.\n"
        )
        raise typer.Exit(3)
