"""`evenhand repair tsdi` and `evenhand sweep tsdi`."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.console.commands import Job, group, run_command
from evenhand.methods.tsdi.config import SweepConfig, TsdiRepairConfig

if TYPE_CHECKING:
    from evenhand.console.progress import Rows
    from evenhand.runs.method import AuditResult
    from evenhand.runs.respond import Progress
    from evenhand.runs.run import Run
    from evenhand.runs.runner import Outcome


def add_repair(app: typer.Typer) -> None:
    """Add `evenhand repair tsdi`."""
    group(app, "repair").command("tsdi")(repair_tsdi)


@run_command(
    TsdiRepairConfig, "tsdi", without=("model",), artefact="; its bias/ is the artefact",
    estimate="Print contexts and tokens, and stop.",
)  # fmt: skip
def repair_tsdi(
    settings: dict[str, Any],
    model: Annotated[str, typer.Argument(help=str(TsdiRepairConfig.model_fields["model"].description))],
) -> Job:
    """Measure how far alignment shifted the opening tokens whatever the prompt; the artefact removes that while decoding."""
    from evenhand.config import checked
    from evenhand.errors import need

    config = checked(TsdiRepairConfig, model=model, **settings)
    need("local", "torch", "transformers", "safetensors", what="An estimate of TSDI")
    from evenhand.methods.tsdi.estimate.pipeline import chosen_checks

    chosen_checks(config)  # misfits are reported before anything is estimated
    return Job(config, _estimate_and_check, estimate=_cost, closing=partial(_use_of_artefact, config))


def _cost(config: TsdiRepairConfig, cache: Path | None, *, probe: bool) -> Rows:
    from evenhand.methods.tsdi.estimate.pipeline import Prepared

    prepared = Prepared(config)
    try:
        return prepared.cost()
    finally:
        prepared.models.close()


def _estimate_and_check(
    config: TsdiRepairConfig, folder: Path, *, resume: bool, cache: Path | None, progress: Progress
) -> tuple[Run, list[AuditResult]]:
    from evenhand.methods.tsdi.estimate.pipeline import check_artefact, run_tsdi

    check = partial(check_artefact, cache=cache, progress=progress)
    return run_tsdi(config, folder, resume=resume, progress=progress, check=check)


def _use_of_artefact(config: TsdiRepairConfig, outcome: Outcome) -> None:
    from evenhand.methods.tsdi.estimate.pipeline import BIAS_FOLDER

    if not config.checks:
        sys.stdout.write(
            "not checked: the correction lowers refusals of harmful prompts too; check it with --safety-set before use\n"
        )
    artefact = outcome.run.folder / BIAS_FOLDER
    sys.stdout.write(f"artefact: {artefact}\nuse it as: {shlex.quote(f'{config.model}+tsdi:{artefact}')}\n")


_FIELDS = SweepConfig.model_fields
_LISTS = ("alpha", "length", "pool", "safety_set", "safety_grader", "peers")
"""Settings that take several values, separated by commas or by repeating the option."""


def add_sweep(app: typer.Typer) -> None:
    """Add `evenhand sweep tsdi`."""
    group(app, "sweep").command("tsdi")(sweep_tsdi)


def _help(name: str) -> str:
    default = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in _FIELDS[name].default)
    return f"{_FIELDS[name].description}" + (f" [default: {default}]" if default else "")


@run_command(SweepConfig, "sweep", without=("model", *_LISTS))
def sweep_tsdi(
    settings: dict[str, Any],
    model: Annotated[
        str | None, typer.Argument(metavar="[ALIGNED]", help=str(_FIELDS["model"].description), show_default=False)
    ] = None,
    alpha: Annotated[list[str] | None, typer.Option(help=_help("alpha"), show_default=False)] = None,
    length: Annotated[list[str] | None, typer.Option(help=_help("length"), show_default=False)] = None,
    pool: Annotated[list[str] | None, typer.Option(help=_help("pool"), show_default=False)] = None,
    safety_set: Annotated[list[str] | None, typer.Option(help=_help("safety_set"), show_default=False)] = None,
    safety_grader: Annotated[list[str] | None, typer.Option(help=_help("safety_grader"), show_default=False)] = None,
    peers: Annotated[list[str] | None, typer.Option(help=_help("peers"), show_default=False)] = None,
) -> Job:
    """Measure ALIGNED with and without TSDI over many settings, with peers; recommend a setting that keeps safety, or none."""
    from evenhand.config import checked
    from evenhand.errors import need

    given = dict(zip(_LISTS, (alpha, length, pool, safety_set, safety_grader, peers), strict=True))
    lists = {name: tuple(values) for name, values in given.items() if values}
    config = checked(SweepConfig, **({"model": model} if model else {}), **settings, **lists)
    need("local", "torch", "transformers", "safetensors", what="A sweep of TSDI")
    from evenhand.methods.tsdi.sweep.run import run_sweep

    return Job(config, run_sweep, failed="responses failed or have no grade", closing=_use_of_setting)


def _use_of_setting(outcome: Outcome) -> None:
    from evenhand.methods.tsdi.sweep.verdict import spec_of

    facts = outcome.results[0].facts
    best = (facts["recommendation"] or {}).get("chosen")
    if best is not None:
        sys.stdout.write(f"use it as: {shlex.quote(spec_of(facts, best['setting'], outcome.run.folder))}\n")
