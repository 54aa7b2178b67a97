"""Pluralism of safety ratings: the declaration of the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.registry import Entry, Method

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.load import LoadedRun

_DATA = "evenhand.methods.pluralism.data"

METHOD = Method(
    name="pluralism",
    title="Pluralism of safety ratings",
    summary="do safety ratings move with the rater's profile, and as people's do",
    paper="pluralism",
    audit="evenhand.methods.pluralism.rating.audit:PluralismAudit",
    rows="evenhand.methods.pluralism.rating.method:rows",
    settings="evenhand.methods.pluralism.rating.config:PluralismSettings",
    shown=("config", "rater_id", "item_id", "paraphrase", "order", "status", "label", "value", "text"),
    section="evenhand.methods.pluralism.rating.page:pluralism_part",
    sets={
        "rating-sets": (
            Entry("shipped", f"{_DATA}.items:shipped_items", "140 placeholder texts in 14 domains (organisms)"),
            Entry(
                "grammar",
                f"{_DATA}.items:grammar_items",
                "310 placeholder prompts, unevenly spread over domains",
            ),
            Entry("dices", f"{_DATA}.items:dices_350", "DICES-350"),
            Entry("dices-350", f"{_DATA}.items:dices_350", "DICES: 350 conversations, rated by people"),
            Entry("dices-990", f"{_DATA}.items:dices_990", "DICES: 990 conversations, rated by people"),
            Entry("demo_safetybench", f"{_DATA}.items:demo_safetybench", "prompts of Demo-SafetyBench"),
        ),
        "human-ratings": (
            Entry("dices", f"{_DATA}.dices:open_350", "DICES-350"),
            Entry("dices-350", f"{_DATA}.dices:open_350", "DICES: ratings by people of 350 conversations"),
            Entry("dices-990", f"{_DATA}.dices:open_990", "DICES: ratings by people of 990 conversations"),
        ),
    },
    commands="evenhand.methods.pluralism.rating.commands:add_commands",
    order=70,
)


def rows(loaded: LoadedRun) -> pl.DataFrame:
    """Ratings of models, then of people, with nulls in the columns that only one of them has."""
    import polars as pl

    names = [name for name in ("ratings", "people") if loaded.run.table(loaded.audit, name).exists()]
    if not names:
        raise loaded.lacks("ratings")
    return pl.concat([loaded.table(name) for name in names], how="diagonal")
