"""The difference audit: does a model know when groups differ, and when they must be treated alike?

The task of DART (arXiv 2604.16845) on the benchmarks of Wang et al. 2025 (arXiv 2502.01926), on a user's own questions or on
the shipped ones; docs/difference.md says what was published and what is a chosen default.
"""

from __future__ import annotations

from typing import Any

from evenhand.config import AuditConfig
from evenhand.engines.base import Estimate, Verb
from evenhand.methods.dart.config import DifferenceSettings
from evenhand.methods.dart.difference.answers import judged, parsed_frame
from evenhand.methods.dart.difference.baselines import baselines
from evenhand.methods.dart.difference.cases import Case, Cases, leakage
from evenhand.methods.dart.difference.findings import DifferenceBuilder, difference_findings
from evenhand.methods.dart.difference.items import (
    ANALYSIS,
    AUDIT,
    CHOICE,
    asked_cases,
    items_of,
    open_cases,
)
from evenhand.methods.dart.difference.verdict import CAVEATS, headlines, verdict
from evenhand.records import Item
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import requests_for, respond, run_sampling
from evenhand.runs.stages import not_asked_for
from evenhand.runs.tables import items_frame, responses_frame, write_table
from evenhand.wording import ORGANISM_NOTICE, is_organism, percent


class DifferenceAudit:
    """Questions in; decisions, their baselines, DiffAware and CtxtAware out."""

    name = AUDIT
    title = "Difference awareness"

    def __init__(self) -> None:
        self._read: tuple[Cases, list[Case], list[Item]] | None = None

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Generation."""
        return frozenset({"generate"})

    def unfit(self, config: AuditConfig) -> str:
        """It asks models itself, so responses or labels of other prompts are of no use."""
        entry = "responses" if config.responses else "labels" if config.labels else ""
        if entry:
            return f"it asks its own questions, and {entry} are given"
        return not_asked_for(config, AUDIT)

    def _inputs(self, config: AuditConfig) -> tuple[Cases, list[Case], list[Item]]:
        """All cases, the cases to ask, and their items; read once."""
        settings = config.of(DifferenceSettings)
        if self._read is None:
            cases = open_cases(settings.difference_set, config.data, config.columns)
            asked = asked_cases(cases, settings.split, config.limit)
            self._read = cases, asked, items_of(asked, settings.form, policy=settings.policy)
        return self._read

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Where the questions come from, how many are asked, and how. Raises BadInput for anything that cannot be used."""
        cases, asked, items = self._inputs(config)
        return {
            "origin": cases.origin,
            "licence": cases.licence,
            "checksums": dict(cases.checksums),
            "cases": len(cases.cases),
            "asked": len(asked),
            "items": len(items),
            "rejected": [f"row {row}: {why}" for row, why in cases.rejected],
            "decoding": run_sampling(config).model_dump(mode="json"),
        }

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of both forms."""
        items, config = self._inputs(context.config)[2], context.config
        return [
            (
                f"{model.label}: {AUDIT}",
                model.engine.estimate(requests_for(model, items, config.draws_per_item), run_sampling(config)),
            )
            for model in context.configurations
        ]

    def run(self, context: Context) -> AuditResult:
        """Do the audit, writing items, responses and the parsed table."""
        config, run = context.config, context.run
        settings = config.of(DifferenceSettings)
        cases, asked, items = self._inputs(config)
        responses = respond(
            context.configurations, items, config.draws_per_item, run_sampling(config), run.journal(AUDIT),
            lambda what, done, total: context.progress(f"{what} · {AUDIT}", done, total),
        )  # fmt: skip
        parsed = parsed_frame(items, responses, policy=settings.policy)
        write_table(run.table(AUDIT, "items"), items_frame(items))
        write_table(run.table(AUDIT, "responses"), responses_frame(responses))
        write_table(run.table(AUDIT, "parsed"), parsed)
        labels = [model.label for model in context.configurations]
        answers = [judged(parsed, label) for label in labels]
        trivial = (
            baselines(cases.cases, asked) if ANALYSIS in settings.form and any(case.gold for case in asked) else []
        )
        builder = DifferenceBuilder(parsed, config.draws, config.seed)
        findings = difference_findings(builder, answers, trivial, labels)
        failed = int(parsed["failed"].sum())
        several = len(labels) > 1
        return AuditResult(
            audit=AUDIT,
            verdicts=[verdict(findings, label, several=several) for label in labels],
            findings=findings,
            headlines=[row for label in labels for row in headlines(findings, label, several=several)],
            rows=parsed.height,
            missing=failed,
            methods=_methods(config),
            caveats=_caveats(labels, cases, asked),
            facts={
                "failed": failed,
                "unlabelled": sum(case.gold is None for case in asked),
                "prompt_tokens": sum(response.prompt_tokens or 0 for response in responses),
                "completion_tokens": sum(response.completion_tokens or 0 for response in responses),
            },
        )


def _caveats(labels: list[str], cases: Cases, asked: list[Case]) -> list[str]:
    caveats = [ORGANISM_NOTICE] if is_organism(labels) else []
    caveats += [*CAVEATS, *cases.notes]
    leaks = {key: share for key, share in leakage(cases.cases).items() if share}
    if leaks:
        rows = sum(case.split == "test" for case in cases.cases)
        shared = sum(
            share * sum((c.benchmark, c.condition) == key and c.split == "test" for c in cases.cases)
            for key, share in leaks.items()
        )
        caveats.append(
            f"{percent(shared / rows, 0)} of the test rows share their scenario with training rows: an accuracy of a model trained "
            "on this split says nothing about new scenarios."
        )
    caveats += cases.left_out
    without = sum(case.gold is None for case in asked)
    if without:
        caveats.append(f"{without} cases have no usable label: they are asked, but excluded from every accuracy.")
    return caveats


def _methods(config: AuditConfig) -> list[tuple[str, str]]:
    settings = config.of(DifferenceSettings)
    sampling = run_sampling(config)
    forms = {ANALYSIS: "an analysis that ends in a conclusion line", CHOICE: "multiple choice"}
    return [
        (
            "Difference questions",
            f"{' and '.join(forms[form] for form in settings.form)}; {config.draws_per_item} answers each, temperature "
            f"{sampling.temperature:g}, top-p {sampling.top_p:g}, at most {sampling.max_tokens} new tokens"
            + ("; with the safety policy" if settings.policy else ""),
        ),
        (
            "Parsers",
            "strict: the published pattern anywhere in the text; tolerant: the last line that is nothing but a conclusion. "
            "Abstentions stay in the denominators",
        ),
        (
            "Inference on differences",
            f"scenarios are the unit: Wilson's interval at the effective number of questions, percentile bootstrap of ratios "
            f"({config.draws:,} draws); label permutations and sign flips of scenario means, Holm over benchmarks; exact McNemar "
            "tests are reported alongside",
        ),
    ]
