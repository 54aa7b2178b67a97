"""Affirmation of pronouns: the declaration of the method, which is all that the rest of the package knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.registry import Entry, Method

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.load import LoadedRun

_PRONOUNS = "evenhand.methods.reward.pronouns"

METHOD = Method(
    name="affirmation",
    title="Affirmation of pronouns",
    summary="misgendering, by pronoun family and stage",
    paper="reward",
    audit="evenhand.methods.reward.pronouns.audit:AffirmationAudit",
    rows="evenhand.methods.reward.pronouns.method:rows",
    settings="evenhand.methods.reward.pronouns.config:AffirmationSettings",
    shown=("config", "declared", "verdict", "pronoun", "text"),
    filters={"group": "declared"},
    section="evenhand.methods.reward.pronouns.page:affirmation_part",
    datasets=(
        Entry("tango", f"{_PRONOUNS}.tango:Tango", "TANGO: 2,880 misgendering prompts, six pronoun families"),
        Entry(
            "misgendered",
            f"{_PRONOUNS}.misgendered:Misgendered",
            "MISGENDERED: 50 sentences with a blank, 11 pronoun sets",
        ),
    ),
    sets={
        "pronoun-sets": (
            Entry(
                "shipped",
                f"{_PRONOUNS}.items:shipped",
                "576 prompts and blanks: eight names, six families, twelve sentences",
            ),
            Entry("tango", f"{_PRONOUNS}.items:tango", "TANGO's prompts, to be continued"),
            Entry("misgendered", f"{_PRONOUNS}.items:misgendered", "MISGENDERED's blanks, for names drawn by the seed"),
        )
    },
    order=30,
)


def rows(loaded: LoadedRun) -> pl.DataFrame:
    """First pronouns, each with its continuation."""
    return loaded.with_texts("pronouns")
