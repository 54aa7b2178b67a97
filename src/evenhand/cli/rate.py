"""`evenhand rate`: safety ratings by demographic profile, asked of a model or given by people."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.audits.pluralism_config import PluralismConfig
from evenhand.cli.options import with_model_options
from evenhand.cli.running import cache_path, conclude, resumable, run_folder

__all__ = ["rate"]


@with_model_options(PluralismConfig, argument="models")
def rate(
    settings: dict[str, Any],
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-rate).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run (--out).")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print calls and tokens, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Have MODELS rate texts as raters of demographic profiles, beside people's ratings where there are some.

    With --ratings FILE and no model, ratings that people gave are measured: agreement, sensitivity to groups, and their nulls.
    """
    from evenhand.audits.pluralism_rate import estimate_rating, run_rating
    from evenhand.cli import screens
    from evenhand.config import checked

    chosen = checked(PluralismConfig, **settings)
    if estimate:
        screens.print_estimate(estimate_rating(chosen, cache_path()), as_json=json)
        return
    folder = run_folder(out, "rate", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        run, result = run_rating(chosen, folder, resume=resume, cache=cache_path(), progress=progress)
    conclude(run, [result], began, json=json)
    lost = result.missing / result.rows if result.rows else 0.0
    if lost > chosen.max_failed:
        sys.stderr.write(
            f"evenhand: {lost:.1%} of ratings failed or could not be read, more than --max-failed {chosen.max_failed:.1%}; the "
            "report counts them by group.\n"
        )
        raise typer.Exit(3)
