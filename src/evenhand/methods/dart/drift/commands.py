"""`evenhand drift`: did tuning make a model's explanations more harmful?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.console.commands import Job, run_command
from evenhand.methods.dart.drift.config import DriftConfig

if TYPE_CHECKING:
    from evenhand.console.progress import Rows, Way


def add_commands(app: typer.Typer) -> None:
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
