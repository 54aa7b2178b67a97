"""The life of a run, the same for everything that makes one: opened engines, one plan, findings, and a released folder at the end.

What the engines observe is kept on the disk from the moment it is known until the manifest holds it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from evenhand.config import AuditConfig
from evenhand.engines.base import Engine
from evenhand.engines.ticks import merged_facts, on_new_facts
from evenhand.errors import BadInput
from evenhand.files import read_json, write_json
from evenhand.organisms import refuse_curator
from evenhand.redact import public
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run, input_checksum
from evenhand.text_input import read_text

if TYPE_CHECKING:
    from evenhand.engines.spec import EngineOptions


NOT_IN_PLAN = frozenset({"concurrency", "max_failed"})
"""Settings that never change a number: they may differ between a run and its resumption."""


def engine_options(config: Any) -> EngineOptions:
    """How engines are opened under these settings; what a settings model lacks keeps its default."""
    from evenhand.engines.spec import EngineOptions

    return EngineOptions(
        **{name: getattr(config, name) for name in EngineOptions.model_fields if hasattr(config, name)}
    )


@contextmanager
def closing_engines(opened: Mapping[str, Engine] | None = None) -> Iterator[dict[str, Engine]]:
    """Engines by role, to which a block adds those that it opens; at its end each one is closed once."""
    engines = dict(opened or {})
    try:
        yield engines
    finally:
        for engine in {id(engine): engine for engine in engines.values()}.values():
            engine.close()


def plan_of(
    config: BaseModel, sources: Mapping[str, Any], engines: Mapping[str, Engine] | None = None, *,
    files: Iterable[Path | None] | None = None, identities: Mapping[str, Any] | None = None,
    exclude: Iterable[str] = (), settings: Mapping[str, Any] | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """All that decides the numbers of a run, as plain values.

    Parameters
    ----------
    config : the settings; those of `NOT_IN_PLAN` and ``exclude`` are left out, and ``settings`` are added or replaced.
    sources : audit name to where its items come from.
    engines : the opened engines by role, for their identities, unless ``identities`` gives these.
    files : what the run reads; None entries are skipped. Without ``files`` the plan has no ``inputs``.
    more : further entries of the plan.
    """
    if identities is None:
        identities = {role: engine.identity().row() for role, engine in (engines or {}).items()}
    plan = {
        "config": {**config.model_dump(mode="json", exclude={*NOT_IN_PLAN, *exclude}), **(settings or {})},
        "audits": list(sources),
        "identities": dict(identities),
        "sources": dict(sources),
        **more,
    }
    if files is not None:
        plan["inputs"] = [input_checksum(path) for path in files if path is not None]
    return plan


@contextmanager
def started(
    folder: Path, plan: Mapping[str, Any], *, resume: bool, engines: Mapping[str, Engine] | None = None
) -> Iterator[Run]:
    """A run from its locked folder to its findings.

    The block does the work and hands every result to `Run.record`. Where it ends without an error, the findings are written and
    the run is marked as done; in any case the folder is released. What ``engines`` (by role) observe is kept in the manifest.

    Raises BadInput as `Run.start` does.
    """
    run = Run.start(folder, plan, resume=resume)
    try:
        observations = Observations(run, engines or {})
        yield run
        observations.to_manifest()
        run.finish()
        observations.finish()
    finally:
        run.release()


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
    """The engines of the reference and of the stages that are not configurations themselves, by spec without its query.

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


_FILE = "observed.json"
_LOG = logging.getLogger(__name__)


class Observations:
    """The facts of every engine of a run, by role.

    An engine's facts (system fingerprints, traits of the echo, how texts were packed) come with the rows that it computes. A
    resumed run takes those rows from its journals and would not see the facts again. They are therefore written to
    ``observed.json`` in the run folder as soon as an engine has them, before their rows are journaled, and `finish` moves
    them into the manifest.
    """

    def __init__(self, run: Run, engines: Mapping[str, Engine]):
        self._run, self._engines = run, dict(engines)
        self._path = run.folder / _FILE
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = dict(run.manifest.get("observed", {}))
        self._facts = merged_facts(self._facts, self._kept())
        for engine in self._engines.values():
            on_new_facts(engine, self.note)
        self.note()

    def _kept(self) -> dict[str, Any]:
        """What an unfinished process wrote down; nothing, with a warning, where the file was damaged since."""
        if not self._path.exists():
            return {}
        try:
            facts = read_json(self._path)
        except BadInput as error:
            _LOG.warning("%s Facts that engines observed before this resumption are lost.", error)
            return {}
        return facts if isinstance(facts, dict) else {}

    def note(self) -> None:
        """Write down what is new since the last time."""
        with self._lock:
            now = {role: dict(getattr(engine, "observed", dict)()) for role, engine in self._engines.items()}
            facts = merged_facts(self._facts, {role: facts for role, facts in now.items() if facts})
            if facts != self._facts:
                self._facts = facts
                write_json(self._path, facts)

    def to_manifest(self) -> None:
        """Put the facts into the manifest, to be saved with it."""
        self.note()
        if self._facts:
            self._run.manifest["observed"] = self._facts

    def finish(self) -> None:
        """Remove the file: the manifest, now saved, holds the facts."""
        self._path.unlink(missing_ok=True)
