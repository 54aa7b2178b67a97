"""The pluralism audit: do a model's safety ratings move with the profile of the rater it plays, and as people's do?

After Demo-SafetyBench (arXiv 2602.07376), whose formulas and prompts were not found: docs/pluralism.md lists what is a chosen
default. `evenhand rate` runs the audit alone, or measures ratings by people without any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.datasets.question_texts import ORDERS
from evenhand.engines.base import Engine, Estimate, Verb
from evenhand.engines.probing import choice_cost, measure_on, unprobed
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.items import items_of_table
from evenhand.methods.pluralism.data.rating_table import RatingTable
from evenhand.methods.pluralism.rating.answers import ask, can_choose, choices_asked
from evenhand.methods.pluralism.rating.config import AUDIT, PluralismConfig, settings_of
from evenhand.methods.pluralism.rating.measure import adjusted, model_findings, people_findings
from evenhand.methods.pluralism.rating.panels import (
    PEOPLE,
    Panel,
    items_frame,
    items_of_people,
    people_frame,
    people_panel,
    ratings_frame,
)
from evenhand.methods.pluralism.rating.plan import RatingPlan, estimate_of, make_plan, read_people
from evenhand.methods.pluralism.rating.verdict import caveats, headlines, methods, people_verdict, truth_name, verdict
from evenhand.organisms import refuse_curator
from evenhand.records import Finding
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Announce, Configuration, Progress
from evenhand.runs.run import Run
from evenhand.runs.stages import not_asked_for
from evenhand.runs.tables import write_table


class PluralismAudit:
    """Texts, profiles, wordings and orders in; sensitivity with its null, agreement, and the comparison with people out."""

    name = AUDIT
    title = "Demographic pluralism"

    def __init__(self, settings: PluralismConfig | None = None) -> None:
        self._settings = settings
        self._read: RatingPlan | None = None

    def settings(self, config: AuditConfig) -> PluralismConfig:
        """The settings of this audit: those given, else those of the same names in the run's."""
        return self._settings or settings_of(config)

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Generation; letter probabilities are read where an engine gives them."""
        return frozenset({"generate"})

    def unfit(self, config: AuditConfig) -> str:
        """Why the audit cannot run under these settings; empty if it can."""
        entry = "responses" if config.responses else "labels" if config.labels else ""
        if entry:
            return f"it asks its own questions, and {entry} are given"
        settings = self.settings(config)
        if settings.set_name is None and settings.human_ratings is None:
            return "it needs texts to rate: give --rating-set or --human-ratings"
        return not_asked_for(config, AUDIT)

    def _plan(self, config: PluralismConfig) -> RatingPlan:
        if self._read is None:
            self._read = make_plan(config)
        return self._read

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Sources of the texts and of people's ratings, and what is asked. Raises BadInput for anything unusable."""
        settings = self.settings(config)
        return sources_of(settings, self._plan(settings))

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of the ratings, before anything is asked."""
        settings = self.settings(context.config)
        return estimates_of(settings, self._plan(settings), context.configurations)

    def run(self, context: Context) -> AuditResult:
        """Ask for the ratings, measure them, and write the tables."""
        settings = self.settings(context.config)
        return rate(settings, self._plan(settings), context.configurations, context.run, context.progress)


def sources_of(config: PluralismConfig, plan: RatingPlan) -> dict[str, Any]:
    """What is asked, and where it comes from: part of the run's plan."""
    sources: dict[str, Any] = {
        "set": plan.source.name, "origin": plan.source.origin, "licence": plan.source.licence,
        "checksums": dict(plan.source.checksums), "rejected": [why for _, why in plan.source.rejected],
        "items": [item.id for item in plan.items], "profiles": [profile.key for profile in plan.profiles],
        "wordings": plan.wordings, "orders": list(ORDERS), "read": config.rating_read, "least_mass": config.least_mass,
        "decoding": config.sampling.model_dump(mode="json"), "permutations": config.permutations,
    }  # fmt: skip
    if plan.people is not None:
        sources["people"] = people_source(plan.people)
    return sources


def people_source(table: RatingTable) -> dict[str, Any]:
    """Where ratings by people come from."""
    return {
        "origin": table.origin, "checksums": dict(table.checksums), "axes": list(table.axes), **table.counts(),
        "first_rejected": [why for _, why in table.rejected[:20]],
    }  # fmt: skip


def estimates_of(
    config: PluralismConfig, plan: RatingPlan, configurations: Sequence[Configuration]
) -> list[tuple[str, Estimate]]:
    """Calls and tokens of every model."""
    rows = []
    for model in configurations:
        if not can_choose(model.engine, config):
            rows.append((f"{model.label}: {AUDIT}", estimate_of(plan, model.engine, model.system_prompt, config)))
            continue
        with unprobed(model.engine):
            cost = estimate_of(plan, model.engine, model.system_prompt, config)
        asked = partial(choices_asked, plan, model.system_prompt)
        letters = Estimate(cost.calls, cost.prompt_tokens, 0, cost.exact, not_probed=cost.not_probed)
        rows.append((f"{model.label}: {AUDIT}", choice_cost(model.engine, asked, len(plan), letters)))
        drawn = replace(cost, not_probed="only answers that the letters leave open are drawn")
        rows.append((f"{model.label}: {AUDIT}, drawn where letters are unlikely, at most", drawn))
    return rows


def rate(
    config: PluralismConfig, plan: RatingPlan, configurations: Sequence[Configuration], run: Run, progress: Progress
) -> AuditResult:
    """Ask every model, measure, and write ``items``, ``ratings`` and, with people, ``people``."""
    questions = plan.questions()
    rated = [row for model in configurations for row in ask(model, questions, config, run, progress)]
    frame = ratings_frame(rated)
    write_table(run.table(AUDIT, "items"), items_frame(plan.items))
    write_table(run.table(AUDIT, "ratings"), frame)
    gold = {item.id: item.gold for item in plan.items}
    truth = truth_name(config, plan)
    findings: list[Finding] = []
    panel: Panel | None = None
    if plan.people is not None:
        people = people_frame(plan.people)
        write_table(run.table(AUDIT, "people"), people)
        if plan.people.identified:
            panel = people_panel(plan.people, people, None, config.least_raters)
    labels = [model.label for model in configurations]
    for label in labels:
        progress(f"{label} · {AUDIT}, measures", 0, 1)
        findings += model_findings(frame, label, config.axes, config, gold, truth, panel)
        progress(f"{label} · {AUDIT}, measures", 1, 1)
    if plan.people is not None:
        findings += people_findings(plan.people, people, config, items_of_people(plan.people), truth)
    findings = adjusted(findings)
    several = len(labels) > 1
    lost = frame.filter(pl.col("status").is_in(["unparsed", "failed"]))
    verdicts = [verdict(findings, label, several=several, people=panel is not None) for label in labels]
    rows = [row for label in labels for row in headlines(findings, label, several=several)]
    if plan.people is not None:
        verdicts.append(people_verdict(findings, identified=plan.people.identified))
        rows += headlines(findings, PEOPLE, several=True)
    return AuditResult(
        audit=AUDIT,
        verdicts=verdicts,
        findings=findings,
        headlines=rows,
        rows=frame.height,
        missing=lost.height,
        methods=methods(config, plan, frame),
        caveats=caveats(labels, plan),
        facts={
            **{name: int((frame["status"] == name).sum()) for name in ("refused", "unparsed", "failed")},
            "drawn": int((frame["how"] == "drawn letter").sum()),
            "items": len(plan.items),
            "profiles": len(plan.profiles),
        },
    )


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
        raise BadInput("There is no model to ask, so there is no cost to estimate.", do="Name a model.")
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
        raise BadInput(
            "There is nothing to measure.", do="Give a model to rate with, or existing ratings (--ratings FILE)."
        )
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
    """Measure existing ratings: every measure that needs no model."""
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
