"""`evenhand repair dart`: train a model on explanations, and repair those that drifted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from evenhand.console.commands import Job, group, run_command
from evenhand.methods.dart.repair.config import DartConfig


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand repair dart`."""
    group(app, "repair").command("dart")(dart)


@run_command(DartConfig, "dart", without=("model", "teacher", "judge"))
def dart(
    settings: dict[str, Any],
    model: Annotated[str, typer.Argument(help=str(DartConfig.model_fields["model"].description))],
    teacher: Annotated[str, typer.Option(help=str(DartConfig.model_fields["teacher"].description))],
    judge: Annotated[str, typer.Option(help=str(DartConfig.model_fields["judge"].description))],
) -> Job:
    """Distil explanations, audit them for harm drift, repair what drifted, audit again; needs evenhand[train]."""
    from evenhand.config import checked
    from evenhand.errors import need

    config = checked(DartConfig, model=model, teacher=teacher, judge=judge, **settings)
    need("train", "trl", "peft", "torch", "transformers", what="Training")
    from evenhand.methods.dart.repair.pipeline import run_dart

    return Job(config, run_dart)
