"""One run of `evenhand rate`: models that are asked for ratings, or ratings that people gave, into a folder of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenhand.engines.base import Engine, Estimate
from evenhand.engines.probing import measure_on
from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.audit import estimates_of, people_source, rate, sources_of
from evenhand.methods.pluralism.rating.config import AUDIT, PluralismConfig
from evenhand.methods.pluralism.rating.data.rating_items import items_of_table
from evenhand.methods.pluralism.rating.data.rating_table import RatingTable
from evenhand.methods.pluralism.rating.headlines import headlines
from evenhand.methods.pluralism.rating.measure import adjusted, people_findings
from evenhand.methods.pluralism.rating.plan import make_plan, read_people
from evenhand.methods.pluralism.rating.table import PEOPLE, items_frame, items_of_people, people_frame
from evenhand.methods.pluralism.rating.verdict import people_verdict
from evenhand.methods.pluralism.rating.words import methods
from evenhand.organisms import refuse_curator
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult
from evenhand.runs.respond import Announce, Configuration, Progress
from evenhand.runs.run import Run
from evenhand.runs.tables import write_table


def _opened(config: PluralismConfig, cache: Path | None) -> list[Configuration]:
    from evenhand.engines.spec import open_engine

    for spec in config.models:
        refuse_curator(spec)
    engines = [open_engine(spec, cache=cache, options=engine_options(config)) for spec in config.models]
    return [Configuration(engine.spec, engine) for engine in engines]


def _plan_of(config: PluralismConfig, engines: Mapping[str, Engine], sources: dict[str, Any]) -> dict[str, Any]:
    named = [config.ratings, *(Path(name) for name in (config.rating_set, config.human_ratings) if name)]
    files = dict.fromkeys(path for path in named if path is not None and path.is_file())
    return plan_of(config, {AUDIT: sources}, engines, files=files, settings={"models": list(engines)})


def _nothing(what: str, done: int, total: int) -> None:
    return None


def estimate_rating(
    config: PluralismConfig, cache: Path | None = None, *, probe: bool = False
) -> list[tuple[str, Estimate]]:
    """What `run_rating` would cost; with ``probe``, time and memory too. Raises BadInput as it does."""
    if not config.models:
        raise BadInput("There is no model to be asked, so nothing costs anything.", do="Name a model.")
    plan = make_plan(config)
    configurations = _opened(config, cache)
    with closing_engines({model.label: model.engine for model in configurations}) as engines:
        if probe:
            measure_on(engines.values())
        return estimates_of(config, plan, configurations)


def run_rating(
    config: PluralismConfig,
    folder: Path,
    *,
    resume: bool = False,
    cache: Path | None = None,
    progress: Progress = _nothing,
    announce: Announce | None = None,
) -> tuple[Run, AuditResult]:
    """Ask models for ratings, or measure ratings that people gave, into one run folder.

    ``announce`` is given the cost of what is left to do, with time and memory, before anything is asked.
    Raises BadInput for settings or files that cannot be used, EngineError for an engine that cannot serve.
    """
    if not config.models and config.ratings is None:
        raise BadInput("Nothing is to be rated and nothing was.", do="Name a model, or a file with --ratings.")
    table = read_people(config.ratings, config) if config.ratings is not None else None
    plan = make_plan(config) if table is None else None
    configurations = _opened(config, cache) if plan is not None else []
    with closing_engines({model.label: model.engine for model in configurations}) as engines:
        sources = sources_of(config, plan) if plan is not None else people_source(table) if table is not None else {}
        with started(folder, _plan_of(config, engines, sources), resume=resume) as run:
            if plan is not None:
                if announce is not None:
                    measure_on(engines.values())
                    announce(estimates_of(config, plan, configurations))
                result = rate(config, plan, configurations, run, progress)
            else:
                assert table is not None
                result = _measured(config, table, run)
            run.record(result)
    return run, result


def _measured(config: PluralismConfig, table: RatingTable, run: Run) -> AuditResult:
    """Ratings of your own: every measure that needs no model."""
    frame = people_frame(table)
    write_table(run.table(AUDIT, "people"), frame)
    if (table.items["text"] != "").any():
        write_table(run.table(AUDIT, "items"), items_frame(items_of_table(table).items))
    findings = adjusted(people_findings(table, frame, config, items_of_people(table), "the expert label of the file"))
    rejected = (
        [f"{len(table.rejected)} rows were left out, the first because {table.rejected[0][1]}"]
        if table.rejected
        else []
    )
    return AuditResult(
        audit=AUDIT,
        verdicts=[people_verdict(findings, identified=table.identified)],
        findings=findings,
        headlines=list(headlines(findings, PEOPLE, several=False)),
        rows=frame.height + len(table.rejected),
        missing=len(table.rejected),
        methods=methods(config, None, None),
        caveats=[*table.notes, *rejected],
        facts={"rejected": len(table.rejected), "items": table.items.height, "raters": table.counts()["raters"]},
    )
