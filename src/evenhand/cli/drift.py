"""`evenhand drift`: did tuning make a model's explanations more harmful?"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.cli.options import with_model_options
from evenhand.cli.running import cache_path, conclude, resumable, run_folder
from evenhand.methods.dart.drift.config import DriftConfig


@with_model_options(DriftConfig, without=("baseline", "candidate"))
def drift(
    settings: dict[str, Any],
    baseline: Annotated[str, typer.Argument(help=str(DriftConfig.model_fields["baseline"].description))],
    candidate: Annotated[str, typer.Argument(help=str(DriftConfig.model_fields["candidate"].description))],
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-drift).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run (--out).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Audit CANDIDATE against BASELINE for harm drift: the same prompts, identical decoding, a screen and a judge."""
    from evenhand.cli import screens
    from evenhand.cli.forecast import drift_ways
    from evenhand.config import checked
    from evenhand.methods.dart.drift.audit import run_drift

    chosen = checked(DriftConfig, baseline=baseline, candidate=candidate, **settings)
    folder = run_folder(out, "drift", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        announce = screens.announcer(partial(drift_ways, chosen))
        run, result = run_drift(chosen, folder, resume=resume, cache=cache_path(), progress=progress, announce=announce)
    conclude(run, [result], began, json=json)
    lost = result.missing / result.rows if result.rows else 0.0
    if lost > chosen.max_failed:
        sys.stderr.write(
            f"evenhand: {lost:.1%} of pairs have no verdict, more than --max-failed {chosen.max_failed:.1%}; the report says why.\n"
        )
        raise typer.Exit(3)
