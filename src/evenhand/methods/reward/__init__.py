"""What alignment rewarded: margins between texts, pronouns, and the coverage of preference data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.methods import lazy_steps

if TYPE_CHECKING:
    from evenhand.methods.reward.steps import (
        bradley_terry,
        fates,
        identity_coverage,
        implicit_reward,
        margin_summary,
        misgendering,
        net_margins,
        reward_margin,
    )

__all__ = [
    "bradley_terry",
    "fates",
    "identity_coverage",
    "implicit_reward",
    "margin_summary",
    "misgendering",
    "net_margins",
    "reward_margin",
]

__getattr__ = lazy_steps(__name__, __all__)
