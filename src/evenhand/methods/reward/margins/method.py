"""Implicit reward: the declaration of the method, which is all that the rest of the package knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.registry import Entry, Method

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.load import LoadedRun

_MARGINS = "evenhand.methods.reward.margins"

METHOD = Method(
    name="reward",
    title="Implicit reward",
    summary="which stage of alignment rewarded a harm, by group",
    paper="reward",
    audit="evenhand.methods.reward.margins.audit:RewardAudit",
    rows="evenhand.methods.reward.margins.method:rows",
    settings="evenhand.methods.reward.margins.config:RewardSettings",
    shown=("policy", "stage", "group", "class", "m_ref", "m_pi", "net", "context", "harmful"),
    filters={"config": "policy"},
    section="evenhand.methods.reward.margins.page:reward_part",
    datasets=(
        Entry(
            "winoqueer",
            f"{_MARGINS}.winoqueer:WinoQueer",
            "WinoQueer: 45,540 pairs about queer identities (texts folded)",
        ),
    ),
    sets={
        "pair-sets": (
            Entry(
                "identity",
                f"{_MARGINS}.pairs:identity",
                "shipped: four gender-diverse groups against cisgender people",
            ),
            Entry("binary", f"{_MARGINS}.pairs:binary", "shipped: women against men, with the same neutral controls"),
            Entry("winoqueer", f"{_MARGINS}.pairs:winoqueer", "WinoQueer: 45,540 pairs about nine queer identities"),
            Entry(
                "winoqueer-strict",
                f"{_MARGINS}.pairs:winoqueer_strict",
                "its 5,900 pairs about transgender and nonbinary people",
            ),
            Entry("winoqueer-broad", f"{_MARGINS}.pairs:winoqueer_broad", "its 16,004 pairs against cisgender people"),
        )
    },
    commands="evenhand.methods.reward.commands:add_commands",
    order=20,
)


def rows(loaded: LoadedRun) -> pl.DataFrame:
    """One row a pair and comparison, with its texts."""
    return loaded.table("pairs").join(loaded.table("texts"), on="pair_id", how="left", maintain_order="left")
