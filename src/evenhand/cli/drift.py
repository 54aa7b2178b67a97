"""`evenhand drift`: did tuning make a model's explanations more harmful?"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.audits.drift_config import DriftConfig
from evenhand.cli.audit import RUNS, cache_path
from evenhand.cli.options import with_model_options
from evenhand.errors import BadInput

if TYPE_CHECKING:
    from evenhand.audits.base import AuditResult
    from evenhand.store.run import Run

__all__ = ["conclude", "drift", "resumable", "run_folder"]


def _time_folder(name: str) -> Path:
    """``runs/TIME-NAME``."""
    from datetime import datetime

    return RUNS / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{name}"


def run_folder(out: Path | None, name: str, *, resume: bool) -> Path:
    """``out``, or ``runs/TIME-NAME``. Raises BadInput where the run that is to be continued is not named, or not there."""
    if resume and out is None:
        raise BadInput("It is not known which run is to be continued.", do="Name its folder with --out.")
    if resume and out is not None and not (out / "manifest.json").exists():
        raise BadInput("There is no run to resume here.", file=out)
    return out or _time_folder(name)


@contextmanager
def resumable(folder: Path, *, named: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars; an interrupt says how to go on and ends with exit code 130."""
    from evenhand.cli import screens

    try:
        with screens.progress_bars() as progress:
            yield progress
    except KeyboardInterrupt:
        words = [word for word in sys.argv[1:] if word != "--resume"] + ([] if named else ["--out", str(folder)])
        sys.stderr.write(
            f"\nInterrupted; nothing that was finished is lost. Continue with:\n  evenhand {shlex.join(words)} --resume\n"
        )
        raise typer.Exit(130) from None


def conclude(run: Run, results: list[AuditResult], began: float, *, json: bool) -> None:
    """Write the report, and print what was found."""
    from evenhand.audits.runner import Outcome
    from evenhand.cli import screens
    from evenhand.report.build import build_report

    page = build_report(run.folder)
    if json:
        sys.stdout.write(run.findings_path.read_text(encoding="ascii"))
    else:
        screens.print_outcome(Outcome(run, results), page, time.monotonic() - began)


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
    from evenhand.audits.drift import run_drift
    from evenhand.config import checked

    chosen = checked(DriftConfig, baseline=baseline, candidate=candidate, **settings)
    folder = run_folder(out, "drift", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        run, result = run_drift(chosen, folder, resume=resume, cache=cache_path(), progress=progress)
    conclude(run, [result], began, json=json)
    lost = result.missing / result.rows if result.rows else 0.0
    if lost > chosen.max_failed:
        sys.stderr.write(
            f"evenhand: {lost:.1%} of pairs have no verdict, more than --max-failed {chosen.max_failed:.1%}; the report says why.\n"
        )
        raise typer.Exit(3)
