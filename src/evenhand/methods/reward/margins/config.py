"""The settings of the reward audit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evenhand.settings import Settings


class RewardSettings(Settings):
    """Which pairs are scored, and which part of them."""

    pair_set: tuple[str, ...] = Field(
        ("identity", "binary"), description="Registered pair sets (see `evenhand list pair-sets`)."
    )
    scope: tuple[Literal["sentence", "continuation", "shared"], ...] = Field(
        ("sentence",),
        description="Scored part of a pair: sentence (a reward), continuation (after the group's name), shared (tokens).",
    )
    tau: float = Field(0.1, gt=0, description="Smallest change of a margin that counts, in nats.")
