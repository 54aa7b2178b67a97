"""What alignment rewarded: margins between texts, pronouns, and the coverage of preference data."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.steps"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
