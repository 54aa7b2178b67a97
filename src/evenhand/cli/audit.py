"""`evenhand audit`: from the command line to a run folder and its report."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.cli.options import with_model_options
from evenhand.cli.running import RUNS, cache_path, check_there, conclude_outcome, resumable
from evenhand.config import AuditConfig, load_config


@with_model_options(AuditConfig, argument="models")
def audit(
    settings: dict[str, Any],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; options given here come before it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-MODEL).")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run (the newest, or --out).")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print calls, tokens, time and memory, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Audit models, responses or labels, and write a report.

    With no MODELS the shipped organism is audited. With no --only every audit runs that the engine can serve.
    """
    carry_out(load_config(config, settings), out=out, resume=resume, estimate=estimate, json=json)


def carry_out(chosen: AuditConfig, *, out: Path | None, resume: bool, estimate: bool, json: bool) -> None:
    """Run the audits, write the report, print what was found; exit code 3 where too many rows failed."""
    from evenhand.cli import screens
    from evenhand.cli.forecast import audit_ways
    from evenhand.runs.runner import default_folder, estimate_audits, run_audits, unfinished_folder

    if estimate:
        rows = estimate_audits(chosen, cache_path(), probe=True)
        screens.print_estimate(rows, as_json=json, ways=audit_ways(chosen, rows))
        return
    if resume and out is not None:
        check_there(out)
    folder = out or (unfinished_folder(RUNS) if resume else default_folder(chosen, RUNS))
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        announce = screens.announcer(partial(audit_ways, chosen))
        outcome = run_audits(chosen, folder, resume=resume, cache=cache_path(), progress=progress, announce=announce)
    conclude_outcome(outcome, began, json=json)
    if outcome.failed_share > chosen.max_failed:
        sys.stderr.write(
            f"evenhand: {outcome.failed_share:.1%} of rows failed or have no label, more than --max-failed "
            f"{chosen.max_failed:.1%}; the report counts them by group.\n"
        )
        raise typer.Exit(3)
