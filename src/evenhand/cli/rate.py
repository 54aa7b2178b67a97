"""`evenhand rate`: safety ratings by demographic profile, asked of a model or given by people."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.cli.options import with_model_options
from evenhand.cli.running import cache_path, conclude, resumable, run_folder
from evenhand.methods.pluralism.rating.config import PluralismConfig


@with_model_options(PluralismConfig, argument="models")
def rate(
    settings: dict[str, Any],
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-rate).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run (--out).")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print calls, tokens, time and memory, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Have MODELS rate texts as raters of demographic profiles, beside people's ratings where there are some.

    With --ratings FILE and no model, ratings that people gave are measured: agreement, sensitivity to groups, and their nulls.
    """
    from evenhand.cli import screens
    from evenhand.cli.forecast import rating_ways
    from evenhand.config import checked
    from evenhand.methods.pluralism.rating.rate import estimate_rating, run_rating

    chosen = checked(PluralismConfig, **settings)
    if estimate:
        rows = estimate_rating(chosen, cache_path(), probe=True)
        screens.print_estimate(rows, as_json=json, ways=rating_ways(chosen, rows))
        return
    folder = run_folder(out, "rate", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        run, result = run_rating(
            chosen, folder, resume=resume, cache=cache_path(), progress=progress,
            announce=screens.announcer(partial(rating_ways, chosen)),
        )  # fmt: skip
    conclude(run, [result], began, json=json)
    lost = result.missing / result.rows if result.rows else 0.0
    if lost > chosen.max_failed:
        sys.stderr.write(
            f"evenhand: {lost:.1%} of ratings failed or could not be read, more than --max-failed {chosen.max_failed:.1%}; the "
            "report counts them by group.\n"
        )
        raise typer.Exit(3)
