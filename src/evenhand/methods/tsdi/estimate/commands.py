"""`evenhand repair tsdi`: measure a model's bias towards its opening tokens, an artefact that removes it while decoding."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.console.commands import Job, group, run_command
from evenhand.methods.tsdi.estimate.check_config import TsdiRepairConfig

if TYPE_CHECKING:
    from evenhand.console.progress import Rows
    from evenhand.runs.method import AuditResult
    from evenhand.runs.respond import Progress
    from evenhand.runs.run import Run
    from evenhand.runs.runner import Outcome


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand repair tsdi`."""
    group(app, "repair").command("tsdi")(tsdi)


@run_command(
    TsdiRepairConfig, "tsdi", without=("model",), artefact="; its bias/ is the artefact",
    estimate="Print contexts and tokens, and stop.",
)  # fmt: skip
def tsdi(
    settings: dict[str, Any],
    model: Annotated[str, typer.Argument(help=str(TsdiRepairConfig.model_fields["model"].description))],
) -> Job:
    """Measure how far alignment shifted the opening tokens whatever the prompt; the artefact removes that while decoding."""
    from evenhand.config import checked
    from evenhand.errors import need

    config = checked(TsdiRepairConfig, model=model, **settings)
    need("local", "torch", "transformers", "safetensors", what="An estimate of TSDI")
    from evenhand.methods.tsdi.estimate.check import chosen_checks

    chosen_checks(config)  # what does not fit is refused before anything is estimated
    return Job(config, _run, estimate=_cost, closing=partial(_how_to_use, config))


def _cost(config: TsdiRepairConfig, cache: Path | None, *, probe: bool) -> Rows:
    from evenhand.methods.tsdi.estimate.pipeline import prepare

    prepared = prepare(config)
    try:
        return prepared.cost()
    finally:
        prepared.models.close()


def _run(
    config: TsdiRepairConfig, folder: Path, *, resume: bool, cache: Path | None, progress: Progress
) -> tuple[Run, list[AuditResult]]:
    from evenhand.methods.tsdi.estimate.check import check_artefact
    from evenhand.methods.tsdi.estimate.pipeline import run_tsdi

    check = partial(check_artefact, cache=cache, progress=progress)
    return run_tsdi(config, folder, resume=resume, progress=progress, check=check)


def _how_to_use(config: TsdiRepairConfig, outcome: Outcome) -> None:
    from evenhand.methods.tsdi.estimate.pipeline import BIAS_FOLDER

    if not config.checks:
        sys.stdout.write(
            "not checked: the correction lowers refusals of harmful prompts too; give --safety-set before you use it\n"
        )
    artefact = outcome.run.folder / BIAS_FOLDER
    sys.stdout.write(f"artefact: {artefact}\nuse it as: {shlex.quote(f'{config.model}+tsdi:{artefact}')}\n")
