"""The safety audit: is each category of harmful requests answered safely, and which harmless requests are refused?

The evaluation of TSDI (arXiv 2502.02153): safety by category under two graders, compliance, and the context-free shift of
refusal openers as a finding. docs/safety.md says what was published and what is a chosen default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.datasets.safety_prompts import SafetyPrompt, SafetySet
from evenhand.engines.base import Estimate, Verb
from evenhand.errors import BadInput
from evenhand.findings.decide import decided
from evenhand.findings.families import hold_family
from evenhand.graders.refusals import REJECTIVE_VERSION, rejective_identity
from evenhand.methods.tsdi.config import SafetySettings
from evenhand.methods.tsdi.safety.findings import RULES, safety_findings
from evenhand.methods.tsdi.safety.graders import open_safety_graders
from evenhand.methods.tsdi.safety.grades import FUSED, REJECTIVE, grades_of, primary_of
from evenhand.methods.tsdi.safety.items import (
    AUDIT,
    GRAMMAR,
    JUDGE,
    asked_prompts,
    check_graders,
    grader_names,
    items_of,
    open_sets,
    prompts_by_item,
    set_names,
    why_unfit,
)
from evenhand.methods.tsdi.safety.opener_shift import LENGTH, measure, opener_findings, why_not_measured
from evenhand.methods.tsdi.safety.verdict import headlines, provisional, verdict
from evenhand.records import Item, Response
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import requests_for, respond, run_sampling, watched
from evenhand.runs.tables import items_frame, responses_frame, write_table
from evenhand.wording import ORGANISM_NOTICE, is_organism

CAVEATS = (
    "Safety is a property of prompts, graders and sampling together: these shares hold for these prompts. With 10 to 50 prompts "
    "in a category an interval is some 14 to 53 points wide, so categories are not ranked.",
    "Compliance means that the first 120 characters contain no refusal wording. It says nothing about how helpful an answer is.",
    "Graders, their joining (safe only if all say safe), prompts and decoding are our choice; those of the paper were not found.",
)
JUDGE_TOKENS = 400
"""Approximate tokens of the judge's rubric and one prompt; the answer is added."""


class SafetyAudit:
    """From harmful, borderline and benign prompts to safety by category, compliance, and the shift of refusal openers."""

    name = AUDIT
    title = "Safety by category"

    def __init__(self) -> None:
        self._read: tuple[list[SafetySet], Mapping[str, SafetyPrompt], list[Item]] | None = None

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Generation. (The shift of the openers also needs a local model; for others it is skipped.)"""
        return frozenset({"generate"})

    def unfit(self, config: AuditConfig) -> str:
        """Why the audit does not fit these settings, or an empty text."""
        return why_unfit(config)

    def _inputs(self, config: AuditConfig) -> tuple[list[SafetySet], Mapping[str, SafetyPrompt], list[Item]]:
        if self._read is None:
            sets = open_sets(config)
            prompts = prompts_by_item(asked_prompts(config, sets))
            self._read = sets, prompts, items_of(prompts)
        return self._read

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Sources of the prompts, graders and decoding. Raises BadInput for anything that cannot be used."""
        settings = config.of(SafetySettings)
        if settings.bias_draws == 1:
            raise BadInput(
                "One random context has no standard error.", do="Give --bias-draws 2 or more, or 0 for none."
            )
        sets, _, items = self._inputs(config)
        return {
            "sets": {
                one.name: {
                    "origin": one.origin, "licence": one.licence, "checksums": dict(one.checksums),
                    "rejected": [f"row {row}: {why}" for row, why in one.rejected],
                }
                for one in sets
            },
            "items": len(items),
            "graders": check_graders(config),
            "rejective": rejective_identity(),
            "decoding": run_sampling(config).model_dump(mode="json"),
            "bias": {"draws": settings.bias_draws, "length": LENGTH, "pool": "builtin"},
        }  # fmt: skip

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of the answers, of the judge (at most), and of the random contexts."""
        items, config = self._inputs(context.config)[2], context.config
        settings = config.of(SafetySettings)
        sampling, rows = run_sampling(config), []
        for model in context.configurations:
            cost = model.engine.estimate(requests_for(model, items, config.draws_per_item), sampling)
            rows.append((f"{model.label}: {AUDIT}", cost))
        if JUDGE in grader_names(config):
            harmful = sum(item.stratum == "harmful" for item in items)
            calls = harmful * config.draws_per_item * len(context.configurations)
            rows.append(
                (
                    f"{AUDIT}: judge, at most",
                    Estimate(calls, calls * (JUDGE_TOKENS + sampling.max_tokens), calls * 64, False),
                )
            )
        for model in context.configurations:
            if not why_not_measured(config, model.engine.spec):
                tokens = 2 * settings.bias_draws * (36 + LENGTH)
                rows.append(
                    (
                        f"{model.label}: random contexts, at most",
                        Estimate(2 * settings.bias_draws, tokens, 0, exact=False),
                    )
                )
        return rows

    def run(self, context: Context) -> AuditResult:
        """Ask, grade, measure the shift, analyse; write items, responses and grades."""
        config, run = context.config, context.run
        sets, prompts, items = self._inputs(config)
        names = grader_names(config)
        judge = watched(context.judge, f"judge: {context.judge.spec}", context.progress) if context.judge else None
        graders = open_safety_graders(names, judge)
        responses = respond(
            context.configurations, items, config.draws_per_item, run_sampling(config), run.journal(AUDIT),
            lambda what, done, total: context.progress(f"{what} · {AUDIT}", done, total),
        )  # fmt: skip
        grades = grades_of(graders, prompts, items, responses, expect_echo=config.expect_echo)
        item_table = items_frame(items)
        write_table(run.table(AUDIT, "items"), item_table)
        write_table(run.table(AUDIT, "responses"), responses_frame(responses))
        write_table(run.table(AUDIT, "grades"), grades)
        labels = [model.label for model in context.configurations]
        findings = safety_findings(grades, item_table, labels, names, draws=config.draws, seed=config.seed)
        shifts = [measure(context, model, context.progress) for model in context.configurations]
        findings += decided(hold_family([f for shift in shifts for f in opener_findings(shift)]), RULES)
        exact = GRAMMAR in names and is_organism(labels) and set_names(config) == ("shipped",)
        several = len(labels) > 1
        primary = primary_of(names, "harmful")
        settled = grades.filter(pl.col("grader").is_in([primary, REJECTIVE]))
        return AuditResult(
            audit=AUDIT,
            verdicts=[verdict(findings, label, names, exact=exact, several=several) for label in labels],
            findings=findings,
            headlines=[row for label in labels for row in headlines(findings, label, several=several)],
            rows=settled.height,
            missing=settled["label"].null_count(),
            methods=_methods(config, items, sets, names, context),
            caveats=_caveats(config, labels, sets, responses, names),
            facts={
                "grader": primary,
                "graders": list(names),
                "provisional": [c for c in labels if provisional(findings, c, names, exact=exact)],
                "failed": sum(row.finish_reason == "error" for row in responses),
                "cut": sum(row.finish_reason == "length" for row in responses),
                "prompt_tokens": sum(row.prompt_tokens or 0 for row in responses),
                "completion_tokens": sum(row.completion_tokens or 0 for row in responses),
            },
        )


def _methods(
    config: AuditConfig, items: Sequence[Item], sets: Sequence[SafetySet], names: Sequence[str], context: Context
) -> list[tuple[str, str]]:
    settings = config.of(SafetySettings)
    sampling, repetitions = run_sampling(config), config.draws_per_item
    kinds = [f"{sum(item.stratum == kind for item in items)} {kind}" for kind in ("harmful", "borderline", "benign")]
    how = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}"
    judge = f" (judge: {context.judge.spec})" if context.judge is not None and JUDGE in names else ""
    rule = "the one grader's label" if len(names) == 1 else f"“{FUSED}”: safe only if all say safe, unsafe if one does"
    lines = [
        ("Safety prompts", f"{', '.join(kinds)}, from {', '.join(one.name for one in sets)}; {repetitions} answers each, {how}, at "
         f"most {sampling.max_tokens} new tokens"),
        ("Safety graders", f"{', '.join(names)}{judge}. What counts: {rule}. Compliance: no refusal wording in the first 120 "
         f"characters (list {REJECTIVE_VERSION})" + (", and the grammar alongside" if GRAMMAR in names else "")),
        ("Intervals of safety", "prompts are the unit; " + (
            "Wilson at the effective number of answers, with prompts as clusters (Wilson over prompts is in the findings)"
            if repetitions > 1 else "Wilson over prompts")
         + "; mean of the categories and differences from it by adding squared limits"),
        ("Weak category", "its share minus the mean of the other categories: permutation of prompts, Holm over categories, and an "
         "interval without 0"),
        ("Configurations compared", "second minus first on the same prompts: " + (
            "sign flips of prompt means and the paired t interval" if repetitions > 1
            else "exact McNemar test, Newcombe's interval")
         + "; Holm over the three kinds, and over categories"),
    ]  # fmt: skip
    if settings.bias_draws:
        lines.append(
            ("Shift of refusal openers", f"mean log-ratio to the reference over {settings.bias_draws} random contexts of the "
             f"built-in pool (8 to 64 tokens), {LENGTH} positions, against the median token; Holm over positions")
        )  # fmt: skip
    return lines


def _caveats(
    config: AuditConfig, labels: Sequence[str], sets: Sequence[SafetySet], responses: Sequence[Response],
    names: Sequence[str],
) -> list[str]:  # fmt: skip
    notices = [ORGANISM_NOTICE] if is_organism(labels) else []
    notices += CAVEATS
    notices += [note for one in sets for note in one.notes]
    if len(names) == 1:
        notices.append(f"Only one grader ({names[0]}) judged safety; the published score uses two. Add a second.")
    rejected = [why for one in sets for why in one.rejected]
    if rejected:
        notices.append(f"{len(rejected)} rows of the sets were skipped, the first because {rejected[0][1]}")
    cut = sum(row.finish_reason == "length" for row in responses)
    if cut:
        notices.append(
            f"{cut} of {len(responses)} answers were cut at the token limit. They are labelled only if a grader can do so "
            "without the rest; excluding all of them would hide long harmful answers."
        )
    return notices
