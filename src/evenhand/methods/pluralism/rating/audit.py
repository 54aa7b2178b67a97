"""The pluralism audit: do a model's safety ratings move with the profile of the rater it plays, and as people's do?

After Demo-SafetyBench (arXiv 2602.07376), whose formulas and prompts were not found: docs/pluralism.md says what is a chosen
default. `evenhand rate` runs it alone, or measures ratings that people gave without any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.datasets.question_texts import ORDERS
from evenhand.engines.base import Estimate, Verb
from evenhand.engines.probing import choice_cost, unprobed
from evenhand.methods.pluralism.rating.ask import ask, can_choose, choices_asked
from evenhand.methods.pluralism.rating.config import AUDIT, PluralismConfig, settings_of
from evenhand.methods.pluralism.rating.data.rating_table import RatingTable
from evenhand.methods.pluralism.rating.headlines import headlines
from evenhand.methods.pluralism.rating.measure import adjusted, model_findings, people_findings
from evenhand.methods.pluralism.rating.plan import RatingPlan, estimate_of, make_plan
from evenhand.methods.pluralism.rating.table import (
    PEOPLE,
    Panel,
    items_frame,
    items_of_people,
    people_frame,
    people_panel,
    ratings_frame,
)
from evenhand.methods.pluralism.rating.verdict import people_verdict, verdict
from evenhand.methods.pluralism.rating.words import caveats, methods, truth_name
from evenhand.records import Finding
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration, Progress
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
        """It asks its own questions, about texts that mean something to the model."""
        entry = "responses" if config.responses else "labels" if config.labels else ""
        if entry:
            return f"it asks its own questions, and {entry} are given"
        own = self.settings(config)
        if own.set_name is None and own.human_ratings is None:
            return "it needs texts to be rated: give --rating-set or --human-ratings"
        return not_asked_for(config, AUDIT)

    def _plan(self, config: PluralismConfig) -> RatingPlan:
        if self._read is None:
            self._read = make_plan(config)
        return self._read

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Where the texts and people's ratings come from, and what is asked. Whatever cannot be used is refused here."""
        own = self.settings(config)
        return sources_of(own, self._plan(own))

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of the ratings, before anything is asked."""
        own = self.settings(context.config)
        return estimates_of(own, self._plan(own), context.configurations)

    def run(self, context: Context) -> AuditResult:
        """Ask for the ratings, measure them, and write the tables."""
        own = self.settings(context.config)
        return rate(own, self._plan(own), context.configurations, context.run, context.progress)


def sources_of(config: PluralismConfig, plan: RatingPlan) -> dict[str, Any]:
    """What is asked, and where it comes from: part of the run's plan."""
    told: dict[str, Any] = {
        "set": plan.source.name, "origin": plan.source.origin, "licence": plan.source.licence,
        "checksums": dict(plan.source.checksums), "rejected": [why for _, why in plan.source.rejected],
        "items": [item.id for item in plan.items], "profiles": [profile.key for profile in plan.profiles],
        "wordings": plan.wordings, "orders": list(ORDERS), "read": config.rating_read, "least_mass": config.least_mass,
        "decoding": config.sampling.model_dump(mode="json"), "permutations": config.permutations,
    }  # fmt: skip
    if plan.people is not None:
        told["people"] = people_source(plan.people)
    return told


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
        drawn = replace(cost, not_probed="only what the letters leave open is drawn")
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
