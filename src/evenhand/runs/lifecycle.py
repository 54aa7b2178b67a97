"""The life of a run, the same for everything that makes one: engines open, one plan, findings and a released folder at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from evenhand.engines.base import Engine
from evenhand.runs.observed import Observations
from evenhand.runs.run import Run, input_checksum

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
