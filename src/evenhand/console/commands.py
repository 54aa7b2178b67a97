"""The kit of the commands that make a run: each one says what to do, and the rest is the same for all.

That is the options of its settings, ``--out``, ``--resume``, ``--estimate`` and ``--json``, the run folder, the request cache,
the forecast, progress, an interrupt, the report, the closing screen, and exit code 3.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from evenhand.console import boundary
from evenhand.console.options import CommandApp, with_model_options
from evenhand.errors import BadInput
from evenhand.redact import HIDDEN, public_word

if TYPE_CHECKING:
    from evenhand.config import AuditConfig
    from evenhand.console.progress import Rows, Way
    from evenhand.runs.runner import Outcome


RUNS = Path("runs")

GROUPS = {
    "repair": "Repair a model: train an adapter, or measure a bias that is removed while decoding.",
    "sweep": "Measure one method over many settings.",
    "corpus": "Make a prompt set: sort prompts into domains, fill thin ones, remove near-duplicates.",
    "datasets": "List and show prompt sets; look into your own evaluation and preference data.",
}
"""Groups of commands that several methods may add to, and their help."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a command does, once its settings are checked.

    Parameters
    ----------
    config : the settings.
    run : called with the settings and the run folder, and by keyword with ``resume``, ``cache``, ``progress`` and, if the job has
        ``ways``, ``announce``; returns an `Outcome`, or a run with its result or list of results.
    estimate : called with the settings and the cache, and with ``probe=True``; returns (stage, cost) for each stage.
    ways : called with the settings and such rows; returns what would make the run shorter.
    failed : what ``--max-failed`` limits, in words; empty for a command without exit code 3.
    folder : makes the folder of a run that is not named (default: ``runs/TIME-NAME`` with the command's name).
    newest : ``--resume`` without ``--out`` continues the newest unfinished run.
    closing : called with the outcome after its tables are printed.
    conclude : replaces report and closing screen: called with what ``run`` returned, its seconds, and whether to print JSON.
    """

    config: Any
    run: Callable[..., Any]
    estimate: Callable[..., Rows] | None = None
    ways: Callable[[Any, Rows], Sequence[Way]] | None = None
    failed: str = ""
    folder: Callable[[], Path] | None = None
    newest: bool = False
    closing: Callable[[Outcome], None] | None = None
    conclude: Callable[[Any, float, bool], None] | None = None


def run_command(
    model: type[BaseModel], name: str, *, argument: str = "", without: Collection[str] = (), artefact: str = "",
    estimate: str = "", resume: str = "--out", json: str = "Print the findings as JSON instead of a table.",
) -> Callable[[Callable[..., Job]], Callable[..., None]]:  # fmt: skip
    """Decorate a function that turns settings and its own parameters into a `Job`.

    Parameters
    ----------
    model, argument, without : the settings model, see `with_model_options`.
    name : of a run folder that is not named: ``runs/TIME-NAME``.
    artefact : more help on the run folder.
    estimate : help of ``--estimate``; empty for a command without it.
    resume : which run ``--resume`` continues, in the words of its help.
    json : help of ``--json``.
    """
    where = f"Run folder (default: runs/TIME-{name}){artefact}."
    shared = {
        "out": (Path | None, None, typer.Option(help=where)),
        "resume": (bool, False, typer.Option("--resume", help=f"Continue an interrupted run ({resume}).")),
        "estimate": (bool, False, typer.Option("--estimate", help=estimate)),
        "json": (bool, False, typer.Option("--json", help=json)),
    }
    if not estimate:
        del shared["estimate"]

    def decorate(command: Callable[..., Job]) -> Callable[..., None]:
        def run(*, out: Path | None, resume: bool, json: bool, estimate: bool = False, **values: Any) -> None:
            carry_out(command(**values), name, out=out, resume=resume, estimate=estimate, json=json)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                *inspect.signature(command, eval_str=True).parameters.values(),
                *(
                    inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])
                    for key, (kind, default, info) in shared.items()
                ),
            ]
        )  # fmt: skip
        decorated = with_model_options(model, argument=argument, without=without)(run)
        decorated.settings_model = model  # type: ignore[attr-defined]  # read for the completion of values
        return decorated

    return decorate


def audit_job(config: AuditConfig) -> Job:
    """The audits of these settings."""
    from evenhand.console.progress import audit_ways
    from evenhand.runs.runner import default_folder, estimate_audits, run_audits

    return Job(
        config, run_audits, estimate_audits, audit_ways, failed="rows failed or have no label",
        folder=partial(default_folder, config, RUNS), newest=True,
    )  # fmt: skip


def carry_out(job: Job, name: str, *, out: Path | None, resume: bool, estimate: bool, json: bool) -> None:
    """Estimate the job, or do it, write its report and print what was found; exit code 3 if too many rows failed."""
    from evenhand.console import screens

    if estimate and job.estimate is not None:
        rows = job.estimate(job.config, cache_path(), probe=True)
        screens.print_estimate(rows, as_json=json, ways=job.ways(job.config, rows) if job.ways else ())
        return
    folder = _folder(job, name, out, resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        how: dict[str, Any] = {"resume": resume, "cache": cache_path(), "progress": progress}
        if job.ways is not None:
            how["announce"] = screens.announcer(partial(job.ways, job.config))
        made = job.run(job.config, folder, **how)
    if job.conclude is not None:
        with boundary.after_run(folder, wanted=json, report=False):
            job.conclude(made, time.monotonic() - began, json)
        return
    outcome = _outcome(made)
    _conclude(outcome, began, json=json)
    if job.closing is not None and not json:
        job.closing(outcome)
    if job.failed and outcome.failed_share > job.config.max_failed:
        sys.stderr.write(
            f"evenhand: {outcome.failed_share:.1%} of {job.failed}, more than --max-failed {job.config.max_failed:.1%}; "
            "the report counts them.\n"
        )
        raise typer.Exit(boundary.TOO_MANY_ROWS)


def _outcome(made: Any) -> Outcome:
    from evenhand.runs.runner import Outcome

    if isinstance(made, Outcome):
        return made
    run, results = made
    return Outcome(run, results if isinstance(results, list) else [results])


def _folder(job: Job, name: str, out: Path | None, *, resume: bool) -> Path:
    """The run folder. Raises BadInput if the run to be continued is not named, or is not there."""
    from datetime import datetime

    from evenhand.runs.runner import unfinished_folder

    if resume and out is not None and not (out / "manifest.json").exists():
        raise BadInput("There is no run to resume here.", file=out)
    if out is not None:
        return out
    if resume and job.newest:
        return unfinished_folder(RUNS)
    if resume:
        raise BadInput("It is not clear which run to continue.", do="Name its folder with --out.")
    return job.folder() if job.folder is not None else RUNS / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{name}"


def cache_path(runs: Path = RUNS) -> Path | None:
    """Where requests are cached: EVENHAND_CACHE (empty turns the cache off), else ``runs/cache.sqlite``."""
    named = os.environ.get("EVENHAND_CACHE")
    return runs / "cache.sqlite" if named is None else Path(named) if named else None


@contextmanager
def resumable(folder: Path, *, named: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars; an interrupt prints how to continue and ends with exit code 130."""
    from evenhand.console import screens

    boundary.note_run(folder)
    try:
        with screens.progress_bars() as progress:
            yield progress
    except KeyboardInterrupt:
        words = [public_word(word) for word in sys.argv[1:] if word != "--resume"]
        words += [] if named else ["--out", str(folder)]
        back = f"(Replace {HIDDEN} with what you gave there.)\n" if any(HIDDEN in word for word in words) else ""
        sys.stderr.write(
            f"\nInterrupted; nothing that was finished is lost. Continue with:\n  evenhand {shlex.join(words)} --resume\n"
            f"{back}"
        )
        raise SystemExit(boundary.INTERRUPTED) from None


def _conclude(outcome: Outcome, began: float, *, json: bool) -> None:
    """Write the report, and print the findings as JSON, or verdicts and tables.

    The run is finished by now: if its report or its closing screen cannot be written, a line on standard error says so and the
    command goes on.
    """
    from evenhand.console import screens
    from evenhand.report.build import build_report

    folder, page = outcome.run.folder, None
    with boundary.after_run(folder):
        page = build_report(folder)
    with boundary.after_run(folder, wanted=json):
        if json:
            sys.stdout.write(outcome.run.findings_path.read_text(encoding="ascii"))
        else:
            screens.print_outcome(outcome, page, time.monotonic() - began)


def group(app: typer.Typer, name: str, text: str = "") -> typer.Typer:
    """The group of commands called ``name``, made with the help ``text`` (default: see `GROUPS`) when first asked for."""
    for info in app.registered_groups:
        if info.name == name and info.typer_instance is not None:
            return info.typer_instance
    words = text or GROUPS.get(name, "")
    made = CommandApp()
    made.callback(help=words)(_no_options)  # with a callback, a group of a single command is a group still
    app.add_typer(made, name=name, help=words)
    return made


def _no_options() -> None:
    pass
