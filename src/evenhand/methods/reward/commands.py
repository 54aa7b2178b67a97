"""`evenhand stages`: which stage of alignment rewarded a harm, for one model family or for many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.config import AuditConfig, load_config
from evenhand.console.commands import Job, audit_job, run_command
from evenhand.errors import BadInput

STAGES = ("base", "sft", "dpo", "sft-dpo")


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand stages`, `evenhand datasets coverage` and `evenhand datasets audit-preferences`."""
    from evenhand.methods.reward.coverage import commands

    app.command("stages")(stages)
    commands.add_commands(app)


def read_models(path: Path) -> tuple[dict[str, str], float | None]:
    """Stages by ``family/stage`` and the one beta, from a table with the columns family, stage, spec and perhaps beta."""
    from evenhand.datasets.table import read_table, resolve

    table = read_table(path)
    roles = resolve(table, None, required=("family", "stage", "spec"), optional=("beta",))
    specs: dict[str, str] = {}
    betas = set()
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        family, stage, spec = ((cells[roles[role]] or "").strip() for role in ("family", "stage", "spec"))
        if stage not in STAGES:
            raise BadInput(f"Unknown stage '{stage}'.", file=path, row=row, do=f"Stages are {', '.join(STAGES)}.")
        if not family or not spec:
            raise BadInput("The family or the engine spec is missing.", file=path, row=row)
        if f"{family}/{stage}" in specs:
            raise BadInput(f"Stage {stage} of {family} is listed twice.", file=path, row=row)
        specs[f"{family}/{stage}"] = spec
        if "beta" in roles and cells[roles["beta"]]:
            betas.add(cells[roles["beta"]])
    if len(betas) > 1:
        raise BadInput("The models have different betas.", file=path, do="Run families of one beta together.")
    try:
        return specs, float(betas.pop()) if betas else None
    except ValueError as error:
        raise BadInput(f"A beta is not a number ({error}).", file=path) from None


@run_command(
    AuditConfig, "MODEL", without=("models", "only", "stages", "reference", "responses", "labels"),
    resume="the newest, or --out", estimate="Print calls, tokens, time and memory, and stop.",
)  # fmt: skip
def stages(
    settings: dict[str, Any],
    base: Annotated[str | None, typer.Option(help="Engine spec of the base model.")] = None,
    sft: Annotated[str | None, typer.Option(help="The model fine-tuned from the base model.")] = None,
    dpo: Annotated[str | None, typer.Option(help="The model preference-tuned straight from the base model.")] = None,
    sft_dpo: Annotated[str | None, typer.Option(help="The model preference-tuned from the fine-tuned one.")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Several families: a table with family, stage, spec and perhaps beta.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="reward (default), affirmation, or both.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
) -> Job:
    """Find which stage of alignment (SFT, DPO) rewarded a harm, and write a report.

    Give --base and at least one later stage, or --models FILE for several families in one resumable table.
    """
    named = {stage: spec for stage, spec in zip(STAGES, (base, sft, dpo, sft_dpo), strict=True) if spec}
    if models is not None and named:
        raise BadInput("Give --models or single stages, not both.")
    beta = None
    if models is not None:
        named, beta = read_models(models)
    if not named:
        raise BadInput("No model is named.", do="Give --base B and --sft, --dpo or --sft-dpo, or --models FILE.")
    for family in {key.rpartition("/")[0] for key in named}:
        stages_named = {key.rpartition("/")[2] for key in named if key.rpartition("/")[0] == family}
        what = f"Family '{family}'" if family else "The family"
        if "base" not in stages_named and stages_named != {"sft", "sft-dpo"}:
            raise BadInput(f"{what} has no base model, the reference of every other stage.", do="Name it with --base.")
        if len(stages_named) < 2:
            raise BadInput(f"{what} has one stage only.", do="Name a later stage: --sft, --dpo or --sft-dpo.")
        if "sft-dpo" in stages_named and "sft" not in stages_named:
            raise BadInput(f"{what} has sft-dpo without sft, its reference.", do="Name it with --sft.")
    chosen = {"models": tuple(dict.fromkeys(named.values())), "stages": named, "only": tuple(only or ("reward",))}
    if beta is not None:
        settings.setdefault("beta", beta)
    return audit_job(load_config(config, {**settings, **chosen}))
