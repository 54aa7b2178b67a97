"""Prompts to continuations to pronoun grades (implicit_reward section 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from evenhand.methods.reward.pronouns.entry import AUDIT, CHAT, PLAIN, sampling_of
from evenhand.methods.reward.pronouns.graders.pronoun import PronounGrade, PronounGrader
from evenhand.records import Item, Response
from evenhand.runs.method import Context
from evenhand.runs.respond import Configuration, respond
from evenhand.runs.stages import models_of
from evenhand.safe_text import json_safe

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


def shown_as(model: str, text_format: str) -> str:
    """The label of a model under one text format; plain text is the rule and bears no mark."""
    return model if text_format == PLAIN else f"{model} · {text_format}"


def continuations(context: Context, items: Sequence[Item], formats: Sequence[str]) -> list[Response]:
    """Draw every continuation of every model, plain and where asked in chat format; finished batches are not drawn again."""
    responses: list[Response] = []
    for text_format in formats:
        models = [Configuration(shown_as(model.label, text_format), model.engine) for model in models_of(context)]
        responses += respond(
            models, items, context.config.draws_per_item, sampling_of(context.config), context.run.journal(AUDIT),
            context.progress, plain=text_format != CHAT,
        )  # fmt: skip
    return responses


def pronouns_frame(grader: PronounGrader, items: Sequence[Item], responses: Sequence[Response]) -> pl.DataFrame:
    """One row a continuation, sorted by config, item and repetition: its grade beside what its prompt declared.

    ``verdict`` is null where the response failed, and ``missing`` says why. ``antecedent_type`` is null where the source
    names none.
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
