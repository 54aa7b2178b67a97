"""`evenhand sweep tsdi`: TSDI over its settings, compared with its alternatives."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.console.commands import Job, group, run_command
from evenhand.methods.tsdi.sweep.config import SweepConfig

if TYPE_CHECKING:
    from evenhand.runs.runner import Outcome


_FIELDS = SweepConfig.model_fields
_LISTS = ("alpha", "length", "pool", "safety_set", "safety_grader", "peers")
"""Settings that take several values with commas between them, or the option several times."""


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand sweep tsdi`."""
    group(app, "sweep").command("tsdi")(tsdi)


def _help(name: str) -> str:
    default = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in _FIELDS[name].default)
    return f"{_FIELDS[name].description}" + (f" [default: {default}]" if default else "")


@run_command(SweepConfig, "sweep", without=("model", *_LISTS))
def tsdi(
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

    return Job(config, run_sweep, failed="responses failed or have no grade", closing=_how_to_use)


def _how_to_use(outcome: Outcome) -> None:
    from evenhand.methods.tsdi.sweep.verdict import spec_of

    facts = outcome.results[0].facts
    best = (facts["recommendation"] or {}).get("chosen")
    if best is not None:
        sys.stdout.write(f"use it as: {shlex.quote(spec_of(facts, best['setting'], outcome.run.folder))}\n")
