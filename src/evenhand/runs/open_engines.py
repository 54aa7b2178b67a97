"""From settings to opened engines and ordered configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evenhand.config import AuditConfig
from evenhand.engines.base import Engine
from evenhand.errors import BadInput
from evenhand.organisms import refuse_curator
from evenhand.redact import public
from evenhand.runs.lifecycle import engine_options
from evenhand.runs.respond import Configuration
from evenhand.text_input import read_text


def _open(spec: str, config: AuditConfig, cache: Path | None) -> Engine:
    from evenhand.engines.spec import open_engine

    return open_engine(spec, cache=cache, options=engine_options(config))


def open_configurations(config: AuditConfig, cache: Path | None) -> list[Configuration]:
    """Each model under each system prompt file, in the order given; one engine a model."""
    prompts: list[tuple[str, str | None]] = [("", None)]
    if config.system_prompt:
        prompts = [(f" · {path.stem}", _prompt(path)) for path in config.system_prompt]
    if len({suffix for suffix, _ in prompts}) < len(prompts):
        raise BadInput("Two system prompt files have the same name.", do="Rename one: the name labels its results.")
    configurations = []
    for spec in config.models:
        refuse_curator(spec)
        engine = _open(spec, config, cache)
        configurations += [Configuration(engine.spec + suffix, engine, text) for suffix, text in prompts]
    labels = [configuration.label for configuration in configurations]
    if len(set(labels)) < len(labels):
        raise BadInput("Two configurations have the same name: " + ", ".join(labels) + ".", do="Name each model once.")
    return configurations


def open_others(config: AuditConfig, configurations: Sequence[Configuration], cache: Path | None) -> dict[str, Engine]:
    """The engines of the reference and of the stages that are no configuration themselves, by spec without its query.

    A reference that is a policy's own base model, without its adapter, shares the policy's weights.
    """
    wanted = dict.fromkeys([*config.stages.values(), *([config.reference] if config.reference else [])])
    there = {item.engine.spec: item.engine for item in configurations}
    others: dict[str, Engine] = {}
    for spec in wanted:
        if (shown := public(spec)) not in there:
            policy = next((engine for name, engine in there.items() if name.startswith(f"{spec}+")), None)
            bare = getattr(policy, "without_adapter", None)
            others[shown] = bare(spec) if bare is not None else _open(spec, config, cache)
    return others


def open_judge(config: AuditConfig, cache: Path | None) -> Engine | None:
    """The engine that applies the rubric, if one is named."""
    return _open(config.judge, config, cache) if config.judge else None


def _prompt(path: Path) -> str:
    return read_text(path).strip()
