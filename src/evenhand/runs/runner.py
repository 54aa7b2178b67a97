"""Run every audit that fits into one run folder; say which were left out and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from evenhand.config import AuditConfig
from evenhand.engines.base import Engine, Estimate, Verb
from evenhand.engines.probing import measure_on
from evenhand.errors import BadInput
from evenhand.redact import public
from evenhand.registry import audits as known_audits
from evenhand.registry import open_audit
from evenhand.runs import lifecycle
from evenhand.runs.method import Audit, AuditResult, Context
from evenhand.runs.respond import Announce, Configuration, Progress
from evenhand.runs.run import Run
from evenhand.runs.stages import with_organism_stages


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run and what it found."""

    run: Run
    results: list[AuditResult]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def failed_share(self) -> float:
        """Share of rows that failed or have no label, over all audits."""
        rows = sum(result.rows for result in self.results)
        return sum(result.missing for result in self.results) / rows if rows else 0.0


def default_folder(config: AuditConfig, runs: Path) -> Path:
    """``runs/<time>-<first model or entry file>``."""
    entry = config.labels or config.responses
    name = entry.stem if entry else public(config.models[0]).replace("://", "-").replace("/", "-")
    safe = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name).strip("-.") or "run"
    return runs / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{safe[:60]}"


def unfinished_folder(runs: Path) -> Path:
    """The newest run that was not finished."""
    for manifest in sorted(runs.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(BadInput):  # a damaged run of another day is not the one to continue
            if Run.open(manifest.parent).manifest["state"] != "done":
                return manifest.parent
    raise BadInput(f"There is no unfinished run in {runs}/.", do="Name the run's folder with --out.")


@dataclass(frozen=True, slots=True)
class _Opened:
    """Every engine of a run."""

    configurations: list[Configuration]
    others: dict[str, Engine]
    judge: Engine | None

    def by_role(self) -> dict[str, Engine]:
        """Engines by what they are to the run, for the manifest."""
        roles = {item.label: item.engine for item in self.configurations} | self.others
        return {**roles, "judge": self.judge} if self.judge is not None else roles


@contextmanager
def _opened(config: AuditConfig, cache: Path | None, verbs: frozenset[str]) -> Iterator[_Opened]:
    from evenhand.runs.lifecycle import open_configurations, open_judge, open_others

    configurations = open_configurations(config, cache) if verbs else []
    opened = _Opened(
        configurations, open_others(config, configurations, cache) if verbs else {}, open_judge(config, cache)
    )
    with lifecycle.closing_engines(opened.by_role()):
        yield opened


def chosen_audits(config: AuditConfig) -> tuple[list[Audit], dict[str, str]]:
    """The audits that fit these settings, and why each other one was left out."""
    names = list(dict.fromkeys(config.only)) or [method.name for method in known_audits()]
    audits: list[Audit] = []
    left_out: dict[str, str] = {}
    for name in names:
        audit: Audit = open_audit(name)
        why = audit.unfit(config)
        if why:
            left_out[name] = why
        else:
            audits.append(audit)
    return audits, left_out


def _why_not(engine: Engine, verbs: frozenset[Verb]) -> str:
    """Why an engine cannot do what an audit needs, in its own words where it has some."""
    reasons = [str(getattr(engine, "why_not", lambda verb: "")(verb)) for verb in sorted(verbs)]
    return next((text for text in reasons if text), f"{engine.spec} cannot {', '.join(sorted(verbs))}")


def _served(audits: Sequence[Audit], config: AuditConfig, opened: _Opened, left_out: dict[str, str]) -> list[Audit]:
    engines = [*(item.engine for item in opened.configurations), *opened.others.values()]
    if any(audit.verbs(config) - {"generate"} for audit in audits):
        for engine in engines:  # an endpoint reports its abilities only when asked
            getattr(engine, "probe", set)()
    served = []
    for audit in audits:
        lacking = {
            engine.spec: audit.verbs(config) - engine.verbs for engine in engines if audit.verbs(config) - engine.verbs
        }
        if lacking:
            left_out[audit.name] = "; ".join(
                _why_not(engine, lacking[engine.spec]) for engine in engines if engine.spec in lacking
            )
        else:
            served.append(audit)
    if not served:
        raise BadInput(
            "No audit fits: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()) + ".",
            do="See `evenhand list audits`.",
        )
    return served


def plan_of(
    config: AuditConfig, audits: Sequence[Audit], engines: dict[str, Engine], sources: dict[str, Any]
) -> dict[str, Any]:
    """All that decides the numbers of a run, as plain values; ``sources`` is audit name to where its items come from."""
    return lifecycle.plan_of(config, {audit.name: sources[audit.name] for audit in audits}, engines, files=config.files)


def estimate_audits(
    config: AuditConfig, cache: Path | None = None, *, probe: bool = False
) -> list[tuple[str, Estimate]]:
    """What the run would cost; with ``probe``, time and memory too, from a few rows of each local model that are not kept."""
    config = with_organism_stages(config)
    audits, left_out = chosen_audits(config)
    for audit in audits:
        audit.inputs(config)
    verbs = frozenset().union(*(audit.verbs(config) for audit in audits))
    with _opened(config, cache, verbs) as opened:
        context = Context(
            config, opened.configurations, opened.judge, Run(Path(), {}), lambda what, done, total: None, opened.others
        )
        served = _served(audits, config, opened, left_out)
        if probe:
            measure_on(opened.by_role().values())
        return [row for audit in served for row in audit.estimate(context)]


def run_audits(
    config: AuditConfig,
    folder: Path,
    *,
    resume: bool = False,
    cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
    announce: Announce | None = None,
) -> Outcome:
    """Do every audit that fits, into one run folder, up to ``findings.json``.

    ``announce`` is given the cost of what is left to do, with time and memory, before anything is asked.
    Raises BadInput for settings or files that cannot be used, EngineError for an engine that cannot serve.
    """
    config = with_organism_stages(config)
    audits, left_out = chosen_audits(config)
    # Refuses what cannot be used, before a model is loaded.
    sources = {audit.name: audit.inputs(config) for audit in audits}
    verbs = frozenset().union(*(audit.verbs(config) for audit in audits))
    with _opened(config, cache, verbs) as opened:
        audits = _served(audits, config, opened, left_out)
        engines = opened.by_role()
        plan = plan_of(config, audits, engines, sources)
        with lifecycle.started(folder, plan, resume=resume, engines=engines) as run:
            run.manifest["left_out"] = left_out
            context = Context(config, opened.configurations, opened.judge, run, progress, opened.others)
            if announce is not None and engines:
                measure_on(engines.values())
                announce([row for audit in audits for row in audit.estimate(context)])
            run.start_clock()
            for audit in audits:
                run.record(audit.run(context))
    return Outcome(run, run.results, left_out)
