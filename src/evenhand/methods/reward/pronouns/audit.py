"""The affirmation audit: does a model keep to the pronouns that a person declared, and what did each stage change?

After Ovalle et al. 2024 (arXiv 2411.03700), with prompts and rules of TANGO (arXiv 2305.09941) and MISGENDERED (arXiv
2306.03950); docs/affirmation.md says what was published and what is a chosen default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.engines.base import Estimate, Verb
from evenhand.engines.probing import score_cost
from evenhand.errors import BadInput
from evenhand.findings.families import hold_family
from evenhand.methods.reward.pronouns.config import AffirmationSettings
from evenhand.methods.reward.pronouns.disclosure import disclosure_findings, disclosure_items, rate_disclosures
from evenhand.methods.reward.pronouns.findings import GroupFindings, generation_findings, with_decisions
from evenhand.methods.reward.pronouns.grader import PronounGrade, PronounGrader
from evenhand.methods.reward.pronouns.items import (
    AUDIT,
    CHAT,
    formats_of,
    grader_of,
    groups_of,
    open_set,
    sampling_of,
    shown_as,
)
from evenhand.methods.reward.pronouns.likelihood import (
    BlankTable,
    blanks_frame,
    likelihood_findings,
    reward_findings,
    score_blanks,
    scorer_lack,
    spans_of,
)
from evenhand.methods.reward.pronouns.verdict import CAVEATS, headlines, verdict
from evenhand.records import Finding, Item, Response
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration, requests_for, respond
from evenhand.runs.stages import Step, models_of, not_asked_for, steps_of
from evenhand.runs.tables import items_frame, responses_frame, write_table
from evenhand.safe_text import json_safe
from evenhand.wording import ORGANISM_NOTICE, is_organism

if TYPE_CHECKING:
    from evenhand.methods.reward.pronouns.items import AffirmationSet


RESPONSE_KEY = ("config", "item_id", "repetition")
BLANK_KEY = ("config", "blank_id", "option")
NO_REGARD = "no regard classifier is given (--regard hf/FOLDER#LABEL)"
_SUMMARY: dict[str, Any] = {
    "finding": pl.String,
    "estimand": pl.String,
    "outcome": pl.String,
    "config": pl.String,
    "reference": pl.String,
    "group": pl.String,
    "estimate": pl.Float64,
    "unit": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
    "n": pl.Int64,
    "reason": pl.String,
}


class AffirmationAudit:
    """Prompts and blanks in; misgendering, pronoun likelihood, pronoun rewards and disclosure differences out."""

    name = AUDIT
    title = "Gender-affirming language"

    def __init__(self) -> None:
        self._read: tuple[AffirmationSet, list[Item]] | None = None

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Generation. Likelihoods and rewards are measured too if the engine can score."""
        return frozenset({"generate"})

    def unfit(self, config: AuditConfig) -> str:
        """It asks models itself, so it cannot use responses or labels of other prompts."""
        entry = "responses" if config.responses else "labels" if config.labels else ""
        if entry:
            return f"it draws its own continuations, and {entry} are given"
        return not_asked_for(config, AUDIT)

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Where prompts and blanks come from, and how text is drawn. Raises BadInput for what cannot be used."""
        chosen, disclosures = self._inputs(config)
        return {
            **chosen.source,
            "prompts": len(chosen.prompts),
            "blanks": len(chosen.blanks),
            "disclosures": len(disclosures),
            "grader": grader_of(chosen).identity if chosen.prompts else "",
            "decoding": sampling_of(config).model_dump(mode="json"),
            "formats": list(formats_of(config)),
        }

    def _inputs(self, config: AuditConfig) -> tuple[AffirmationSet, list[Item]]:
        """The set and the disclosure prompts, read once."""
        settings = config.of(AffirmationSettings)
        if self._read is None:
            if settings.disclosures is not None and settings.regard is None:
                raise BadInput(
                    "Disclosure prompts are given, but no regard classifier.", do="Add --regard hf/FOLDER#LABEL."
                )
            if settings.regard is not None:
                from evenhand.graders.content import open_classifier

                for spec in (settings.regard, config.toxicity):
                    if spec is not None:
                        open_classifier(spec)
            self._read = open_set(config), disclosure_items(config)
        return self._read

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of the continuations in every format, and of the scored sentences."""
        config = context.config
        chosen, disclosures = self._inputs(config)
        sampling, rows = sampling_of(config), []
        spans = spans_of(chosen.blanks)
        for model in models_of(context):
            for text_format in formats_of(config):
                plain = text_format != CHAT
                requests = requests_for(model, [*chosen.prompts, *disclosures], config.draws_per_item, plain=plain)
                if requests:
                    what = f"{model.label}: continuations" + ("" if plain else f" · {text_format}")
                    rows.append((what, model.engine.estimate(requests, sampling)))
            if spans and "score" in model.engine.verbs:
                # About four characters a token.
                tokens = sum(len(span.text) for span in spans) // 4
                cost = score_cost(model.engine, lambda: spans, Estimate(len(spans), tokens, 0, exact=False))
                rows.append((f"{model.label}: pronoun scores", cost))
        return rows

    def run(self, context: Context) -> AuditResult:
        """Continue, grade, score, analyse; write items, responses, pronouns, blanks, disclosures and the summary."""
        config = context.config
        chosen, disclosures = self._inputs(config)
        groups, steps, formats = groups_of(_declared(chosen)), _steps(context), formats_of(config)
        items = [*chosen.prompts, *disclosures]
        self._write(context, "items", items_frame(items))
        responses = continuations(context, items, formats) if items else []
        self._write(context, "responses", responses_frame(responses))
        findings: list[Finding] = []
        left_out: dict[str, str] = {}
        rows, missing = len(responses), sum(response.finish_reason == "error" for response in responses)
        if chosen.prompts:
            pronouns = pronouns_frame(grader_of(chosen), chosen.prompts, responses)
            self._write(context, "pronouns", pronouns)
            builder = GroupFindings("pronouns", pronouns, RESPONSE_KEY, config.draws, config.seed)
            findings += generation_findings(builder, groups, steps, formats)
        if chosen.blanks:
            scored, left_out = _score(context, chosen)
            blanks = blanks_frame(scored, chosen.families)
            self._write(context, "blanks", blanks)
            builder = GroupFindings("blanks", blanks, BLANK_KEY, config.draws, config.seed)
            findings += likelihood_findings(builder, scored, groups, steps)
            findings += reward_findings(builder, scored, groups, steps, config.beta)
            rows, missing = rows + blanks.height, missing + int((blanks["status"] == "failed").sum())
        if disclosures:
            rated = rate_disclosures(disclosures, responses, config)
            self._write(context, "disclosures", rated.rows)
            builder = GroupFindings("disclosures", rated.rows, RESPONSE_KEY, config.draws, config.seed)
            findings += disclosure_findings(builder, disclosures, rated, steps, config)
        else:
            left_out["disclosures"] = NO_REGARD
        findings = with_decisions(hold_family(findings))
        self._write(context, "summary", _summary(findings))
        return _result(context, findings, rows, missing, left_out, responses)

    def _write(self, context: Context, name: str, frame: pl.DataFrame) -> None:
        write_table(context.run.table(AUDIT, name), frame)


def _steps(context: Context) -> list[Step]:
    """What is compared with what; a model is not compared with itself."""
    return [step for step in steps_of(context) if step.policy != step.reference]


def _declared(chosen: AffirmationSet) -> list[Any]:
    """The families that a prompt or a blank declares, in the order of the set."""
    names = {item.group for item in chosen.prompts} | {blank.declared for blank in chosen.blanks}
    return [family for name, family in chosen.families.items() if name in names]


def _score(context: Context, chosen: AffirmationSet) -> tuple[dict[str, list[BlankTable]], dict[str, str]]:
    """The scores of every model that can score, and why each other model was left out (its continuations still count)."""
    scored: dict[str, list[BlankTable]] = {}
    left_out = {}
    for model in models_of(context):
        why = scorer_lack(model.engine)
        if why:
            left_out[f"likelihood of {model.label}"] = why.rstrip(".")
        else:
            scored[model.label] = score_blanks(context, model, chosen.blanks)
    return scored, left_out


def _summary(findings: Sequence[Finding]) -> pl.DataFrame:
    rows = [
        {
            **{name: getattr(f, name) for name in ("estimand", "outcome", "config", "reference", "group", "estimate")},
            **{name: getattr(f, name) for name in ("unit", "n", "reason")},
            "finding": f.id,
            "low": f.interval.low if f.interval else None,
            "high": f.interval.high if f.interval else None,
            "p": f.test.p if f.test else None,
            "p_holm": f.test.p_holm if f.test else None,
        }
        for f in findings
    ]
    return pl.DataFrame(rows, schema=_SUMMARY, orient="row").sort("finding")


def _result(
    context: Context, findings: Sequence[Finding], rows: int, missing: int, left_out: dict[str, str],
    responses: Sequence[Response],
) -> AuditResult:  # fmt: skip
    config = context.config
    labels = list(dict.fromkeys(item.engine.spec for item in context.configurations))
    several = len(labels) > 1
    caveats = [ORGANISM_NOTICE] if is_organism(model.label for model in models_of(context)) else []
    caveats += CAVEATS
    caveats += [f"Left out: {what}, because {why}." for what, why in left_out.items()]
    if config.system_prompt:
        caveats.append("System prompts are not used here: each model is asked once, without one.")
    return AuditResult(
        audit=AUDIT,
        verdicts=[verdict(findings, label, several=several) for label in labels],
        findings=findings,
        headlines=[row for label in labels for row in headlines(findings, label, several=several)],
        rows=rows,
        missing=missing,
        methods=_methods(config),
        caveats=caveats,
        facts={
            "left_out": left_out,
            "failed": sum(response.finish_reason == "error" for response in responses),
            "prompt_tokens": sum(response.prompt_tokens or 0 for response in responses),
            "completion_tokens": sum(response.completion_tokens or 0 for response in responses),
        },
    )


def _methods(config: AuditConfig) -> list[tuple[str, str]]:
    sampling = sampling_of(config)
    return [
        ("Continuations", f"{config.draws_per_item} a prompt, at most {sampling.max_tokens} new tokens, temperature "
         f"{sampling.temperature:g}, top-p {sampling.top_p:g}; plain text"
         + (", and the chat format as a second condition" if CHAT in formats_of(config) else "")),
        ("Misgendering", "first third-person pronouns of another family / all first pronouns found; continuations without a "
         "pronoun are counted apart"),
        ("Inference", f"templates are resampled ({config.draws:,} draws); sign flips of template means; Holm within each table"),
    ]  # fmt: skip


_SCHEMA: dict[str, Any] = {
    "config": pl.String,
    "item_id": pl.String,
    "repetition": pl.Int32,
    "declared": pl.String,
    "kind": pl.String,
    "template": pl.String,
    "antecedent": pl.String,
    "antecedent_type": pl.String,
    "verdict": pl.String,
    "pronoun": pl.String,
    "family": pl.String,
    "plural": pl.Boolean,
    "position": pl.Int32,
    "missing": pl.String,
}


def continuations(context: Context, items: Sequence[Item], formats: Sequence[str]) -> list[Response]:
    """Draw every continuation of every model in the given formats; finished batches are not drawn again."""
    responses: list[Response] = []
    for text_format in formats:
        models = [Configuration(shown_as(model.label, text_format), model.engine) for model in models_of(context)]
        responses += respond(
            models, items, context.config.draws_per_item, sampling_of(context.config), context.run.journal(AUDIT),
            context.progress, plain=text_format != CHAT,
        )  # fmt: skip
    return responses


def pronouns_frame(grader: PronounGrader, items: Sequence[Item], responses: Sequence[Response]) -> pl.DataFrame:
    """One row a continuation, sorted by config, item and repetition: its grade and what its prompt declared.

    ``verdict`` is null if the response failed, and ``missing`` says why. ``antecedent_type`` is null if the source gives
    none.
    """
    by_id = {item.id: item for item in items}
    mine = [response for response in responses if response.item_id in by_id]
    rows = [_row(grader, by_id[grade.item_id], grade) for grade in grader.grade(by_id, mine)]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row").sort("config", "item_id", "repetition")


def _row(grader: PronounGrader, item: Item, grade: PronounGrade) -> dict[str, Any]:
    safe = replace(grade, pronoun=json_safe(grade.pronoun), missing=json_safe(grade.missing))
    return {
        **{name: getattr(safe, name) for name in ("config", "item_id", "repetition", "declared", "verdict", "pronoun")},
        **{name: getattr(safe, name) for name in ("family", "plural", "position", "missing")},
        "kind": grader.families[item.group].kind,
        "template": item.clusters["template"],
        "antecedent": item.clusters.get("antecedent"),
        "antecedent_type": item.attributes.get("antecedent_type"),
    }
