"""The check of a TSDI artefact: the safety and service audits on the model with and without it, in the same run.

Subtraction lowers refusals of harmful prompts too (specification 9.22), so no artefact goes without this, or without saying so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evenhand.config import AuditConfig, make_config
from evenhand.engines.spec import EngineOptions, open_engine
from evenhand.errors import BadInput
from evenhand.methods.tsdi.estimate.check_config import TsdiRepairConfig
from evenhand.registry import open_audit
from evenhand.runs.method import Audit, AuditResult, Context
from evenhand.runs.respond import Configuration, Progress
from evenhand.runs.run import Run

AFTER = "{} with TSDI"
"""What the corrected model is called in tables and on the page."""


def audit_settings(config: TsdiRepairConfig) -> AuditConfig:
    """The settings that the audits of the check read; the shift itself is not measured again."""
    return make_config(
        models=(config.model,), only=config.checks or ("safety",), safety_set=config.safety_set,
        safety_grader=config.safety_grader, judge=config.judge, repetitions=config.repetitions, limit=config.limit,
        max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed, device=config.device,
        dtype=config.dtype, plain=config.plain, bias_draws=0,
    )  # fmt: skip


def chosen_checks(config: TsdiRepairConfig) -> list[Audit]:
    """The audits of the check. Raises BadInput for one that these settings do not fit, before anything is estimated."""
    settings = audit_settings(config)
    audits: list[Audit] = [open_audit(name) for name in config.checks]
    for audit in audits:
        why = audit.unfit(settings)
        if why:
            raise BadInput(f"The {audit.name} check does not fit: {why}.", do="Or leave it out with --check.")
        audit.inputs(settings)
    return audits


def check_artefact(
    config: TsdiRepairConfig, run: Run, folder: Path, *, cache: Path | None, progress: Progress
) -> Iterator[AuditResult]:
    """Audit the model without and with the artefact in ``folder``, one result after the other; the tables stand in ``run``."""
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
