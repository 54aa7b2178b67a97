"""A TSDI sweep from settings to findings, in a run folder: one bias a pool, every setting on the same prompts, peers beside it.

A killed sweep goes on where it stopped: estimates by their checkpoint, responses by their journal, grades by their tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.engines.token_bias import BIAS_FILE, read_token_bias
from evenhand.errors import BadInput
from evenhand.methods.tsdi.estimate.pools import pool_files
from evenhand.methods.tsdi.safety.graders.fused import SafetyGrader, open_safety_graders
from evenhand.methods.tsdi.sweep.config import SweepConfig
from evenhand.methods.tsdi.sweep.graders.pairwise import PairwiseJudge
from evenhand.methods.tsdi.sweep.grid import REFERENCE, named
from evenhand.methods.tsdi.sweep.measure import AUDIT, Measure, Prompts, open_prompts
from evenhand.methods.tsdi.sweep.models import SweptModel, read_checkpoints
from evenhand.methods.tsdi.sweep.result import sweep_result
from evenhand.methods.tsdi.sweep.work import Sweep, open_swept
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult
from evenhand.runs.respond import Progress
from evenhand.runs.run import Run
from evenhand.runs.tables import items_frame, read_table, write_table


def run_sweep(
    config: SweepConfig, folder: Path, *, resume: bool = False, cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> tuple[Run, AuditResult]:  # fmt: skip
    """Sweep into one run folder: ``biases/`` holds the artefacts, ``tsdi-sweep/`` the tables.

    Raises BadInput for settings or files that cannot be used, EngineError for a model that cannot be served.
    """
    models = _swept(config)
    options = engine_options(config)
    by_grammar = _check_prompts(config, models)
    prompts = open_prompts(config)
    with closing_engines() as engines:
        if config.judge is not None:
            engines["judge"] = open_engine(config.judge, cache=cache, options=options)
        judge = engines.get("judge")
        graders = open_safety_graders(config.graders, judge)
        identities = _check_models(config, models, options)
        pairwise = None
        if judge is not None:
            identities["judge"] = judge.identity().row()
            pairwise = PairwiseJudge(
                judge, config.seed, judgements=config.judgements, max_tokens=config.judge_tokens, hidden=_hidden(identities)
            )  # fmt: skip
        plan = _plan(config, models, prompts, graders, identities, pairwise)
        with started(folder, plan, resume=resume) as run:
            measure = Measure(run, config, prompts, graders, pairwise, progress, by_grammar=by_grammar)
            sweep = Sweep(config, run, prompts, measure, models, options, progress)
            for model in models:
                sweep.carry_out(model)
            result = sweep_result(sweep, _tables(sweep), items_frame(prompts.items))
            run.record(result)
    return run, result


def _swept(config: SweepConfig) -> list[SweptModel]:
    found = [SweptModel("", config.model, config.reference)] if config.model is not None else []
    return found + (read_checkpoints(config.models) if config.models is not None else [])


def _check_prompts(config: SweepConfig, models: Sequence[SweptModel]) -> bool:
    """Whether the organisms' grammar tells what each response is. Raises BadInput for placeholders asked of a real model."""
    organisms = all(model.spec.startswith("organism/") for model in models)
    if "shipped" in config.safety_set and not organisms and "grammar" not in config.safety_grader:
        raise BadInput(
            "The shipped prompts are placeholders for organisms: asked of a real model they measure nothing.",
            do="Name prompts, for example --safety-set beavertails,xstest (for organisms of your own: --safety-grader grammar).",
        )
    return config.safety_set == ("shipped",) and "grammar" in config.graders


def _check_models(config: SweepConfig, models: Sequence[SweptModel], options: EngineOptions) -> dict[str, Any]:
    """Identities of every model, before any work. Raises BadInput for what cannot be swept."""
    for pool in config.pool:
        pool_files(pool)
    if config.bias is not None:
        header = read_token_bias(config.bias).header
        if max(config.length) > header.length:
            raise BadInput(
                f"The bias has {header.length} positions, and --length asks for {max(config.length)}.",
                file=config.bias,
                do=f"Give --length up to {header.length}.",
            )
        open_engine(f"{config.model}+tsdi:{config.bias}", options=options).close()
    identities: dict[str, Any] = {}
    for model in models:
        opened = open_swept(config, model)
        if opened is None:
            engine = open_engine(model.spec, options=options)
            identities[model.key or "aligned"] = engine.identity().row()
            engine.close()
            continue
        try:
            identities[model.key or "aligned"] = opened.aligned.identity().row()
            identities[named(model.key, REFERENCE)] = opened.reference.identity().row()
        finally:
            opened.close()
    return identities


def _plan(
    config: SweepConfig, models: Sequence[SweptModel], prompts: Prompts, graders: Sequence[SafetyGrader],
    identities: dict[str, Any], pairwise: PairwiseJudge | None,
) -> dict[str, Any]:  # fmt: skip
    """What decides the numbers."""
    source = {
        "sets": {found.name: {"origin": found.origin, **found.checksums} for found in prompts.sets},
        "prompts": len(prompts.items),
        "graders": {grader.name: grader.identity for grader in graders},
        "judge": pairwise.identity if pairwise else "",
        "checkpoints": [asdict(model) for model in models if model.key],
    }
    return plan_of(
        config, {AUDIT: source}, identities=identities, files=_inputs(config),
        settings={"aligned": config.model, "models": [model.spec for model in models]},
    )  # fmt: skip


def _tables(sweep: Sweep) -> pl.DataFrame:
    """The tables of the whole sweep, written; returns the grades."""
    keys = [setting.key for setting in sweep.settings if not setting.same_as]
    write_table(sweep.run.table(AUDIT, "items"), items_frame(sweep.prompts.items))
    for what, to, order in (
        ("responses", "responses", ["config", "item_id", "repetition"]),
        ("graded", "grades", ["grader", "config", "item_id", "repetition"]),
    ):
        write_table(sweep.run.table(AUDIT, to), pl.concat([sweep.measure.table(what, key) for key in keys]).sort(order))
    write_table(sweep.run.table(AUDIT, "settings"), pl.DataFrame([asdict(setting) for setting in sweep.settings]))
    return read_table(sweep.run.table(AUDIT, "grades"))


def _hidden(identities: dict[str, Any]) -> list[str]:
    """Names by which a model could give itself away to the judge: the last part of a spec, where it is no ordinary word."""
    specs = [str(row["spec"]).rpartition("#")[2].partition("+")[0].partition("@")[0] for row in identities.values()]
    names = {Path(spec).name for spec in specs}
    return sorted(name for name in names if any(c.isdigit() or c in "-_." for c in name))


def _inputs(config: SweepConfig) -> list[Path]:
    files = [config.bias / BIAS_FILE] if config.bias is not None else []
    files += [path for pool in config.pool for path in pool_files(pool)] if config.bias is None or config.models else []
    files += [Path(name) for name in config.safety_set if Path(name).is_file()]
    return files + ([config.models] if config.models is not None else [])
