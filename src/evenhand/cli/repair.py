"""`evenhand repair`: artefacts that change a model."""

from __future__ import annotations

import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.cli.options import with_model_options
from evenhand.cli.running import cache_path, conclude, resumable, run_folder
from evenhand.methods.dart.repair.config import DartConfig
from evenhand.methods.tsdi.estimate.check_config import TsdiRepairConfig

app = typer.Typer(help="Repair a model: DART trains an adapter, TSDI measures a bias.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Repair a model: DART trains an adapter, TSDI measures a bias that is taken off while decoding."""


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
    from evenhand.extras import need

    chosen = checked(DartConfig, model=model, teacher=teacher, judge=judge, **settings)
    need("train", "trl", "peft", "torch", "transformers", what="Training")
    from evenhand.methods.dart.repair.pipeline import run_dart

    folder = run_folder(out, "dart", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        run, result = run_dart(chosen, folder, resume=resume, cache=cache_path(), progress=progress)
    conclude(run, [result], began, json=json)


@app.command("tsdi")
@with_model_options(TsdiRepairConfig, without=("model",))
def tsdi(
    settings: dict[str, Any],
    model: Annotated[str, typer.Argument(help=str(TsdiRepairConfig.model_fields["model"].description))],
    out: Annotated[
        Path | None, typer.Option(help="Run folder (default: runs/TIME-tsdi); its bias/ is the artefact.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run (--out).")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print contexts and tokens, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Measure how far alignment shifted the opening tokens whatever the prompt; the artefact takes that off while decoding."""
    from evenhand.cli import screens
    from evenhand.config import checked
    from evenhand.extras import need

    chosen = checked(TsdiRepairConfig, model=model, **settings)
    need("local", "torch", "transformers", "safetensors", what="An estimate of TSDI")
    from evenhand.methods.tsdi.estimate.check import check_artefact, chosen_checks
    from evenhand.methods.tsdi.estimate.pipeline import BIAS_FOLDER, prepare, run_tsdi

    chosen_checks(chosen)  # what does not fit is refused before anything is estimated
    if estimate:
        prepared = prepare(chosen)
        try:
            screens.print_estimate(prepared.cost(), as_json=json)
        finally:
            prepared.models.close()
        return
    folder = run_folder(out, "tsdi", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        check = partial(check_artefact, cache=cache_path(), progress=progress)
        run, results = run_tsdi(chosen, folder, resume=resume, progress=progress, check=check)
    conclude(run, results, began, json=json)
    if not json:
        if not chosen.checks:
            sys.stdout.write(
                "not checked: the correction lowers refusals of harmful prompts too; give --safety-set before you use it\n"
            )
        artefact = folder / BIAS_FOLDER
        spec = shlex.quote(f"{chosen.model}+tsdi:{artefact}")
        sys.stdout.write(f"artefact: {artefact}\nuse it as: {spec}\n")
