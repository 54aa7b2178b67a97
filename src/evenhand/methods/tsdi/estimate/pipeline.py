"""TSDI from models to artefact, findings and check, in a run folder; a killed estimate resumes with the same bytes.

Every stage reads what the previous one wrote: the checkpoint, then the artefact in ``bias``, then the tables. Subtraction lowers
refusals of harmful prompts too, so the check audits the model with and without the artefact in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evenhand import __version__
from evenhand.config import AuditConfig, make_config
from evenhand.engines.base import Estimate
from evenhand.engines.chat import ChatRenderer
from evenhand.engines.local import LocalEngine
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.engines.token_bias import BIAS_FILE, BiasHeader, TokenBias, read_token_bias, write_token_bias
from evenhand.errors import BadInput
from evenhand.methods.tsdi.config import Keep, TsdiConfig, TsdiRepairConfig
from evenhand.methods.tsdi.estimate.contexts import Contexts, find_frame, open_pool, pool_files
from evenhand.methods.tsdi.estimate.estimator import Estimated, EstimateSettings, estimate
from evenhand.methods.tsdi.estimate.findings import AUDIT, positions_frame, tokens_frame
from evenhand.methods.tsdi.estimate.models import ModelRows, Models, check_unmerged, open_models
from evenhand.methods.tsdi.estimate.tokens import OPENERS_VERSION, TokenSpace, measured_openers, token_space
from evenhand.methods.tsdi.estimate.verdict import tsdi_result, warnings_of
from evenhand.registry import open_audit
from evenhand.runs.lifecycle import plan_of, started
from evenhand.runs.method import Audit, AuditResult, Context
from evenhand.runs.respond import Configuration, Progress
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table, write_table

BIAS_FOLDER = "bias"
Check = Callable[[TsdiConfig, Run, Path], Iterable[AuditResult]]
"""Called with the folder of a finished artefact; yields further results for the same run (the safety audit)."""


class Prepared:
    """Opened models with everything that decides an estimate, before any weights are loaded.

    Raises BadInput or EngineError for whatever cannot be used.
    """

    def __init__(self, config: TsdiConfig):
        self.files = pool_files(config.pool)
        self.config = config
        self.models: Models = open_models(config)
        try:
            self._prepare()
        except BaseException:
            self.models.close()
            raise

    def _prepare(self) -> None:
        config, aligned = self.config, self.models.aligned
        self.renderer: ChatRenderer = aligned.renderer
        self.frame = find_frame(self.renderer, config.system_prompt)
        self.space: TokenSpace = token_space(aligned, self.models.reference, include_eos=config.include_eos)
        self.pool = open_pool(
            config.pool, aligned.tokenizer, valid=self.space.valid.tolist(),
            excluded=control_and_excluded(self.space, aligned, self.models.reference), columns=config.columns,
        )  # fmt: skip
        low, high = config.prompt_lengths
        self.contexts = Contexts(self.pool, self.frame, config.seed, (low, high), config.length)
        self.openers = measured_openers(aligned.tokenizer, self.space)
        for engine in (aligned, self.models.reference):
            if engine.context is not None and self.contexts.longest > engine.context:
                raise BadInput(
                    f"A context has up to {self.contexts.longest:,} tokens; {engine.spec} takes {engine.context:,}.",
                    do="Give a smaller --prompt-lengths or --length.",
                )

    @property
    def settings(self) -> EstimateSettings:
        """The settings of the estimate itself."""
        c = self.config
        target = None if c.fixed else c.target_error
        return EstimateSettings(c.draws, target, c.floor, c.gauge, c.estimator, c.variant, c.batch)

    def cost(self) -> list[tuple[str, Estimate]]:
        """Contexts and token-forwards of each model, at most: exact except for the stop rule and tokens written by a model."""
        c = self.config
        tokens = self.contexts.tokens(c.draws)
        out = []
        for role, engine in (("aligned", self.models.aligned), ("reference", self.models.reference)):
            drawn = c.draws * (c.length - 1) if c.variant == role else 0
            extra = (tokens - c.draws * (c.length - 1)) * (c.length - 1) + drawn * (c.length - 2) // 2 if drawn else 0
            exact = c.fixed or c.variant == "random"
            out.append((f"{engine.spec} ({role})", Estimate(c.draws, tokens + max(extra, 0), drawn, exact)))
        return out

    def plan(self) -> dict[str, Any]:
        """What decides the numbers: a run is resumed only under the same plan."""
        engines = {"aligned": self.models.aligned, "reference": self.models.reference}
        source = {
            "pool": self.pool.name, "pool_digest": self.pool.digest, "pool_size": self.pool.size,
            "frame": {"prefix": list(self.frame.prefix), "suffix": list(self.frame.suffix)},
            "tokenizer": self.space.tokenizer, "openers_version": OPENERS_VERSION,
        }  # fmt: skip
        return plan_of(
            self.config, {AUDIT: source}, files=self.files, settings={"models": [self.config.model]},
            identities={role: identity_row(engine) for role, engine in engines.items()},
        )  # fmt: skip

    def header(self, estimated: Estimated, warnings: Sequence[str]) -> BiasHeader:
        """The artefact's header."""
        c = self.config
        return BiasHeader(
            length=c.length, vocabulary=self.space.vocabulary, draws=estimated.draws, dropped=estimated.dropped,
            estimator=c.estimator, variant=c.variant, pool=self.pool.name, pool_digest=self.pool.digest,
            pool_size=self.pool.size, prompt_lengths=self.contexts.prompt_lengths, seed=c.seed, floor=c.floor, gauge=c.gauge,
            excluded=self.space.excluded, include_eos=c.include_eos, tokenizer=self.space.tokenizer,
            template=self.renderer.digest, aligned=identity_row(self.models.aligned),
            reference=identity_row(self.models.reference), surrogate=self.models.surrogate,
            start_tokens=self.frame.start_tokens, openers=self.openers, achieved_error=max(estimated.achieved_error),
            target_error=None if c.fixed else c.target_error, warnings=tuple(warnings), evenhand=__version__,
        )  # fmt: skip


def control_and_excluded(space: TokenSpace, *engines: LocalEngine) -> frozenset[int]:
    """Ids that never enter a random context: excluded ones, and tokens that end a turn even if measured."""
    from evenhand.methods.tsdi.estimate.tokens import control_ids, turn_ends

    parts = [control_ids(engine.tokenizer) | turn_ends(engine) for engine in engines]
    return frozenset(space.excluded).union(*parts)


def identity_row(engine: LocalEngine) -> dict[str, Any]:
    """An identity as plain JSON values, with its digest."""
    row: dict[str, Any] = json.loads(json.dumps(engine.identity().row()))
    return row


def estimate_tsdi(prepared: Prepared, folder: Path, progress: Progress) -> TokenBias:
    """Estimate, and write the artefact and the tables into ``folder``; existing ones are read.

    ``folder`` is a run's: ``bias/`` holds the artefact, ``tsdi/`` the tables, and the checkpoint while there is no artefact.
    """
    tables = {name: folder / AUDIT / f"{name}.parquet" for name in ("positions", "tokens")}
    state = folder / AUDIT / "estimate.safetensors"
    artefact = folder / BIAS_FOLDER
    if not (artefact / BIAS_FILE).exists() or not all(path.exists() for path in tables.values()):
        estimated = _estimated(prepared, state, progress)
        positions = positions_frame(estimated, prepared.space.excluded)
        header = prepared.header(estimated, warnings_of(prepared, estimated, positions))
        bias = TokenBias(header, estimated.bias, estimated.standard_error, estimated.p_aligned, estimated.p_reference)
        write_token_bias(artefact, kept(bias, prepared.config.keep))
        write_table(tables["positions"], positions)
        write_table(tables["tokens"], tokens_frame(bias, prepared.models.aligned.tokenizer))
    state.unlink(missing_ok=True)
    return read_token_bias(artefact)


def _estimated(prepared: Prepared, state: Path, progress: Progress) -> Estimated:
    models = prepared.models
    aligned = ModelRows(models.aligned)
    if models.one_weights:
        check_unmerged(aligned.model, models.aligned.spec)
    reference = ModelRows(models.reference)
    device = "cpu" if aligned.device.type == "mps" else aligned.device
    return estimate(
        aligned, reference, prepared.contexts, prepared.space, prepared.settings, openers=prepared.openers, state=state,
        device=device, progress=progress,
    )  # fmt: skip


def run_tsdi(
    config: TsdiConfig, folder: Path, *, resume: bool = False,
    progress: Progress = lambda what, done, total: None, check: Check | None = None,
) -> tuple[Run, list[AuditResult]]:  # fmt: skip
    """Estimate the bias of a model into one run folder: ``bias/`` is the artefact, the rest tables and findings.

    ``check`` is called with the finished artefact's folder; its results are part of the same run. Raises BadInput for settings
    or files that cannot be used, EngineError for a model that cannot be served.
    """
    prepared = Prepared(config)
    try:
        with started(folder, prepared.plan(), resume=resume) as run:
            bias = estimate_tsdi(prepared, folder, progress)
            positions: pl.DataFrame = read_table(run.table(AUDIT, "positions"))
            tokens: pl.DataFrame = read_table(run.table(AUDIT, "tokens"))
            removed = prepared.pool.removed
            run.record(tsdi_result(config, bias, positions, tokens, folder / BIAS_FOLDER, removed=removed))
            prepared.models.close()  # a check opens its own engines
            for result in () if check is None else check(config, run, folder / BIAS_FOLDER):
                run.record(result)
    finally:
        prepared.models.close()
    return run, run.results


def kept(bias: TokenBias, keep: Keep) -> TokenBias:
    """The part of ``bias`` to subtract, zero elsewhere: ``all``, ``raised`` (b > 0 only) or ``openers`` (refusal openers only).

    Alignment also lowers the openers of compliance whatever the prompt. Subtracting that raises them again, on harmful prompts
    too. Leaving it in place is our choice; nothing of the kind was found for the paper.
    """
    if keep == "all":
        return bias
    table = np.maximum(bias.bias, 0.0)
    if keep == "openers":
        table = np.zeros_like(bias.bias)
        columns = list(bias.header.openers)
        table[:, columns] = bias.bias[:, columns]
    return replace(bias, header=bias.header.model_copy(update={"kept": keep}), bias=table)


AFTER = "{} with TSDI"
"""Name of the corrected model in tables and on the page."""


def audit_settings(config: TsdiRepairConfig) -> AuditConfig:
    """The settings that the audits of the check read; the shift is not measured again."""
    return make_config(
        models=(config.model,), only=config.checks or ("safety",), safety_set=config.safety_set,
        safety_grader=config.safety_grader, judge=config.judge, repetitions=config.repetitions, limit=config.limit,
        max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed, device=config.device,
        dtype=config.dtype, plain=config.plain, bias_draws=0,
    )  # fmt: skip


def chosen_checks(config: TsdiRepairConfig) -> list[Audit]:
    """The audits of the check. Raises BadInput, before any estimate, for one that does not fit these settings."""
    settings = audit_settings(config)
    audits: list[Audit] = [open_audit(name) for name in config.checks]
    for audit in audits:
        why = audit.unfit(settings)
        if why:
            raise BadInput(
                f"The {audit.name} check does not fit: {why}.",
                do="Or select other audits with --check.",
            )
        audit.inputs(settings)
    return audits


def check_artefact(
    config: TsdiRepairConfig, run: Run, folder: Path, *, cache: Path | None, progress: Progress
) -> Iterator[AuditResult]:
    """Audit the model without and with the artefact in ``folder``, one result after the other; tables are written to ``run``."""
    audits = chosen_checks(config)
    if not audits:
        return
    options = EngineOptions(device=config.device, dtype=config.dtype, plain=config.plain)
    engines = {
        config.model: open_engine(config.model, cache=cache, options=options),
        AFTER.format(config.model): open_engine(f"{config.model}+tsdi:{folder}", cache=cache, options=options),
    }
    judge = open_engine(config.judge, cache=cache, options=options) if config.judge else None
    try:
        models = [Configuration(label, engine) for label, engine in engines.items()]
        context = Context(audit_settings(config), models, judge, run, progress)
        for audit in audits:
            yield audit.run(context)
    finally:
        for engine in (*engines.values(), *([judge] if judge is not None else [])):
            engine.close()
