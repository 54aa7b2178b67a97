"""`evenhand drift` and `evenhand repair dart`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.console.commands import Job, group, run_command
from evenhand.methods.dart.config import DartConfig, DriftConfig

if TYPE_CHECKING:
    from evenhand.console.progress import Rows, Way


def add_drift(app: typer.Typer) -> None:
    """Add `evenhand drift`."""
    app.command("drift")(drift)


@run_command(DriftConfig, "drift", without=("baseline", "candidate"))
def drift(
    settings: dict[str, Any],
    baseline: Annotated[str, typer.Argument(help=str(DriftConfig.model_fields["baseline"].description))],
    candidate: Annotated[str, typer.Argument(help=str(DriftConfig.model_fields["candidate"].description))],
) -> Job:
    """Audit CANDIDATE against BASELINE for harm drift: the same prompts, identical decoding, a screen and a judge."""
    from evenhand.config import checked
    from evenhand.methods.dart.drift.audit import run_drift

    config = checked(DriftConfig, baseline=baseline, candidate=candidate, **settings)
    return Job(config, run_drift, ways=drift_ways, failed="pairs have no verdict")


def drift_ways(config: DriftConfig, rows: Rows) -> list[Way]:
    """What would make a drift audit shorter."""
    from evenhand.console.progress import ways_of

    return ways_of(rows, config.draws_per_item, config.max_tokens, config.device, stems=False)


def add_repair(app: typer.Typer) -> None:
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
