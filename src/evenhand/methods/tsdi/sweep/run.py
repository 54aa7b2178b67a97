"""A TSDI sweep from settings to findings, in a run folder: one bias a pool, then every setting and peer on the same prompts.

A killed sweep resumes where it stopped: estimates by their checkpoint, responses by their journal, grades by their tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from evenhand.engines.base import Engine
from evenhand.engines.local import LocalEngine
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.engines.token_bias import BIAS_FILE, HEADER_FILE, TokenBias, read_token_bias
from evenhand.errors import BadInput
from evenhand.methods.tsdi.config import SweepConfig
from evenhand.methods.tsdi.estimate.contexts import pool_files
from evenhand.methods.tsdi.estimate.models import Models, open_models, reference_spec
from evenhand.methods.tsdi.estimate.pipeline import BIAS_FOLDER, Prepared, estimate_tsdi
from evenhand.methods.tsdi.safety.graders import SafetyGrader, open_safety_graders
from evenhand.methods.tsdi.sweep.findings import sweep_result
from evenhand.methods.tsdi.sweep.grid import (
    AUDIT,
    REFERENCE,
    Setting,
    SweptModel,
    checkpoint_settings,
    grid,
    named,
    read_checkpoints,
    slug,
    without_twins,
)
from evenhand.methods.tsdi.sweep.measure import Measure, Prompts, open_prompts
from evenhand.methods.tsdi.sweep.pairwise_judge import PairwiseJudge
from evenhand.methods.tsdi.sweep.peers import open_peer
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
    aligned = [SweptModel("", config.model, config.reference)] if config.model is not None else []
    return aligned + (read_checkpoints(config.models) if config.models is not None else [])


def _check_prompts(config: SweepConfig, models: Sequence[SweptModel]) -> bool:
    """Whether the organisms' grammar grades the responses. Raises BadInput for placeholder prompts on a real model."""
    organisms = all(model.spec.startswith("organism/") for model in models)
    if "shipped" in config.safety_set and not organisms and "grammar" not in config.safety_grader:
        raise BadInput(
            "The shipped prompts are placeholders for organisms: on a real model they measure nothing.",
            do="Give prompts, for example --safety-set beavertails,xstest (for your own organisms: --safety-grader grammar).",
        )
    return config.safety_set == ("shipped",) and "grammar" in config.graders


def _check_models(config: SweepConfig, models: Sequence[SweptModel], options: EngineOptions) -> dict[str, Any]:
    """Identities of every model, before any work. Raises BadInput for inputs that cannot be swept."""
    for pool in config.pool:
        pool_files(pool)
    if config.bias is not None:
        header = read_token_bias(config.bias).header
        if max(config.length) > header.length:
            raise BadInput(
                f"The bias has {header.length} positions, but --length requests {max(config.length)}.",
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
    """The plan: everything that decides the numbers."""
    source = {
        "sets": {prompt_set.name: {"origin": prompt_set.origin, **prompt_set.checksums} for prompt_set in prompts.sets},
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
    """Write the tables of the whole sweep and return the grades."""
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
    """Names that could reveal a model to the judge: the last part of each spec, unless it is an ordinary word."""
    specs = [str(row["spec"]).rpartition("#")[2].partition("+")[0].partition("@")[0] for row in identities.values()]
    names = {Path(spec).name for spec in specs}
    return sorted(name for name in names if any(c.isdigit() or c in "-_." for c in name))


def _inputs(config: SweepConfig) -> list[Path]:
    files = [config.bias / BIAS_FILE] if config.bias is not None else []
    files += [path for pool in config.pool for path in pool_files(pool)] if config.bias is None or config.models else []
    files += [Path(name) for name in config.safety_set if Path(name).is_file()]
    return files + ([config.models] if config.models is not None else [])


PEER_NAMES = {"static": "static", "system": "system_prompt", "self-cd": "self_cd", "interpolation": "interpolation"}
NO_REFERENCE = "the model that it was tuned from is not known: give --reference"


@dataclass
class Sweep:
    """A sweep in progress. ``settings`` and ``biases`` fill up model by model; ``left_out`` says why a peer is missing."""

    config: SweepConfig
    run: Run
    prompts: Prompts
    measure: Measure
    models: Sequence[SweptModel]
    options: EngineOptions
    progress: Progress
    settings: list[Setting] = field(default_factory=list)
    biases: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)

    def bias_folder(self, model: SweptModel, pool: str) -> Path:
        """Folder of a bias: the given one, or that of the run for model and pool."""
        if self.config.bias is not None and not model.key:
            return self.config.bias
        return self.run.folder / "biases" / named(model.key, slug(pool)) / BIAS_FOLDER

    def estimated(self, model: SweptModel) -> dict[str, TokenBias]:
        """The model's biases by pool, each at the largest length; estimated unless they exist."""
        config = self.config
        if config.bias is not None and not model.key:
            bias = read_token_bias(config.bias)
            biases = {bias.header.pool: bias}
        else:
            pools = config.pool[:1] if model.key else config.pool
            biases = {pool: self._estimate(model, pool) for pool in dict.fromkeys(pools)}
        for pool, bias in biases.items():
            self.biases[named(model.key, pool)] = {
                "model": model.key, "pool": pool, "digest": bias.digest, "warnings": list(bias.header.warnings),
                "draws": bias.header.draws,
                "folder": self._written(self.bias_folder(model, pool)),
            }  # fmt: skip
        return biases

    def _written(self, folder: Path) -> str:
        """A folder as stored in the run: relative to the run's folder if it lies inside."""
        return str(folder.relative_to(self.run.folder) if folder.is_relative_to(self.run.folder) else folder)

    def _estimate(self, model: SweptModel, pool: str) -> TokenBias:
        config = self.config
        length = config.checkpoint_length if model.key else max(config.length)
        asked = config.estimate_config(pool, model.spec, model.reference or config.reference, length)
        artefact = self.bias_folder(model, pool)
        if (artefact / BIAS_FILE).exists() and (artefact / HEADER_FILE).exists():
            return read_token_bias(artefact)
        prepared = Prepared(asked)
        try:
            what = f"estimate: {named(model.key, pool)}"
            return estimate_tsdi(prepared, artefact.parent, lambda _, done, total: self.progress(what, done, total))
        finally:
            prepared.models.close()

    def carry_out(self, model: SweptModel) -> None:
        """Estimate, then measure and grade every setting of one model."""
        biases = self.estimated(model)
        models = open_swept(self.config, model)
        aligned: Any = models.aligned if models is not None else open_engine(model.spec, options=self.options)
        reference: Any = models.reference if models is not None else None
        try:
            there = any(setting.method == REFERENCE for setting in self.settings)
            if model.key:
                needed = self.measure.judge is not None and reference is not None and not there
                asked = checkpoint_settings(self.config, model, biases, reference=needed)
            else:
                asked = grid(self.config, biases, reference=reference is not None)
                if reference is None and "interpolation" in self.config.peers:
                    self.left_out["interpolation"] = NO_REFERENCE
            settings = without_twins(
                asked, same_weights(aligned), biases, self._seen, mixed_is_reference=_read_alike(aligned, reference)
            )
            self.settings += settings
            # The judge compares with the reference, so the reference answers first.
            for setting in sorted(settings, key=lambda s: s.method != REFERENCE):
                if not setting.same_as:
                    self._one(setting, model, aligned, reference)
        finally:
            if models is not None:
                models.close()
            else:
                aligned.close()

    def _one(self, setting: Setting, model: SweptModel, aligned: Any, reference: Any) -> None:
        def opened() -> Engine:
            kept: Any = _Kept(self._engine(setting, model, aligned, reference))
            return kept  # type: ignore[no-any-return]

        baseline = REFERENCE if any(s.method == REFERENCE for s in self.settings) else None
        self.measure.graded(setting.key, self.measure.responses(setting.key, opened), baseline)

    def _engine(self, setting: Setting, model: SweptModel, aligned: Any, reference: Any) -> Any:
        """The engine of a setting, sharing the weights of the aligned model if that is local."""
        if setting.method == REFERENCE:
            return reference
        if setting.method == "tsdi":
            folder = self.bias_folder(model, setting.pool)
            spec = f"{model.spec}+tsdi:{folder}?alpha={setting.alpha!r}&length={setting.length}"
            engine = open_engine(spec, options=self.options)
            if isinstance(engine, LocalEngine) and isinstance(aligned, LocalEngine):
                engine._model, engine._parameters = aligned.model, aligned._parameters
            return engine
        if setting.method in PEER_NAMES:
            assert setting.strength is not None
            other = reference if setting.method == "interpolation" else None
            return open_peer(PEER_NAMES[setting.method], aligned, strength=setting.strength, reference=other)
        return aligned


class _Kept:
    """An engine that stays open after its setting: the next one uses its weights."""

    def __init__(self, engine: Any):
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """Do nothing: the models of the sweep are closed together."""


def open_swept(config: SweepConfig, model: SweptModel) -> Models | None:
    """Model and reference; None if a bias was given and the reference is unknown."""
    asked = config.estimate_config(config.pool[0], model.spec, model.reference or config.reference)
    if config.bias is not None and not model.key:
        try:
            reference_spec(asked)
        except BadInput:
            return None
    return open_models(asked)


def same_weights(engine: Engine) -> str:
    """The parts of an identity that make two models equal whatever their specs."""
    identity = engine.identity()
    return "/".join(
        (
            identity.weights,
            identity.adapter,
            identity.tokenizer,
            identity.chat_template,
            identity.dtype,
            identity.quantisation,
        )
    )


def _read_alike(aligned: Any, reference: Any) -> bool:
    """Whether two engines render chats alike; interpolation of weight 1 then equals the reference."""
    if reference is None:
        return False
    one, two = (engine.identity() for engine in (aligned, reference))
    return bool(one.chat_template == two.chat_template and one.tokenizer == two.tokenizer)
