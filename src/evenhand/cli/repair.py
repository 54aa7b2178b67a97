"""`evenhand repair`: artefacts that change a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.cli.audit import cache_path
from evenhand.cli.drift import conclude, resumable, time_folder
from evenhand.cli.options import with_model_options
from evenhand.repairs.dart.config import DartConfig

__all__ = ["app", "dart"]

app = typer.Typer(help="Repair a model: DART trains an adapter.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Repair a model: DART trains an adapter."""


@app.command("dart")
@with_model_options(DartConfig, without=("model", "teacher", "judge"))
def dart(
    settings: dict[str, Any],
    model: Annotated[str, typer.Argument(help=str(DartConfig.model_fields["model"].description))],
    teacher: Annotated[str, typer.Option(help=str(DartConfig.model_fields["teacher"].description))],
    judge: Annotated[str, typer.Option(help=str(DartConfig.model_fields["judge"].description))],
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-dart).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run (--out).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Distil explanations, audit them for harm drift, repair what drifted, audit again; needs evenhand[train]."""
    from evenhand.config import checked
    from evenhand.errors import BadInput

    chosen = checked(DartConfig, model=model, teacher=teacher, judge=judge, **settings)
    try:
        import trl  # noqa: F401
    except ImportError:
        raise BadInput("Training needs trl and peft.", do="Install them: pip install 'evenhand[train]'.") from None
    from evenhand.repairs.dart.pipeline import run_dart

    folder = out or time_folder("dart")
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        run, result = run_dart(chosen, folder, resume=resume, cache=cache_path(), progress=progress)
    conclude(run, [result], began, json=json)
