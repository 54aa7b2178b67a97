"""What every command that makes a run shares: its folder, its cache, an interrupt, and what is shown at the end."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evenhand.cli import boundary, exit_codes
from evenhand.errors import BadInput
from evenhand.redact import HIDDEN, public_word

if TYPE_CHECKING:
    from evenhand.runs.method import AuditResult
    from evenhand.runs.run import Run
    from evenhand.runs.runner import Outcome


RUNS = Path("runs")


def cache_path(runs: Path = RUNS) -> Path | None:
    """Where requests are cached: EVENHAND_CACHE (empty turns the cache off), else ``runs/cache.sqlite``."""
    named = os.environ.get("EVENHAND_CACHE")
    return runs / "cache.sqlite" if named is None else Path(named) if named else None


def check_there(out: Path) -> None:
    """Raises BadInput where a folder holds no run that could be continued."""
    if not (out / "manifest.json").exists():
        raise BadInput("There is no run to resume here.", file=out)


def run_folder(out: Path | None, name: str, *, resume: bool) -> Path:
    """``out``, or ``runs/TIME-NAME``. Raises BadInput where the run that is to be continued is not named, or not there."""
    from datetime import datetime

    if resume:
        if out is None:
            raise BadInput("It is not known which run is to be continued.", do="Name its folder with --out.")
        check_there(out)
    return out or RUNS / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{name}"


@contextmanager
def resumable(folder: Path, *, named: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars; an interrupt says how to go on and ends with exit code 130."""
    from evenhand.cli import screens

    boundary.note_run(folder)
    try:
        with screens.progress_bars() as progress:
            yield progress
    except KeyboardInterrupt:
        words = [public_word(word) for word in sys.argv[1:] if word != "--resume"]
        words += [] if named else ["--out", str(folder)]
        back = f"(Replace {HIDDEN} by what you gave there.)\n" if any(HIDDEN in word for word in words) else ""
        sys.stderr.write(
            f"\nInterrupted; nothing that was finished is lost. Continue with:\n  evenhand {shlex.join(words)} --resume\n"
            f"{back}"
        )
        raise SystemExit(exit_codes.INTERRUPTED) from None


def conclude(run: Run, results: list[AuditResult], began: float, *, json: bool) -> None:
    """Write the report of a finished run, and print what was found; see `conclude_outcome`."""
    from evenhand.runs.runner import Outcome

    conclude_outcome(Outcome(run, results), began, json=json)


def conclude_outcome(outcome: Outcome, began: float, *, json: bool) -> None:
    """Write the report, and print the findings as JSON, or verdicts and tables.

    The run is finished by now: where its report or its closing screen cannot be written, a line on standard error says so and
    the command goes on.
    """
    from evenhand.cli import screens
    from evenhand.report.build import build_report

    folder, page = outcome.run.folder, None
    with boundary.after_run(folder):
        page = build_report(folder)
    with boundary.after_run(folder, wanted=json):
        if json:
            sys.stdout.write(outcome.run.findings_path.read_text(encoding="ascii"))
        else:
            screens.print_outcome(outcome, page, time.monotonic() - began)
