"""Difference awareness: questions in which groups differ, their transfer, harm drift, and the repair."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenhand.methods.dart.steps import (
        choice_metrics,
        decision_metrics,
        discrimination,
        drift_candidates,
        drift_rate,
        drift_reduction,
        drift_severity,
        mcnemar,
        parse_choice,
        parse_conclusion,
        rank_biserial,
    )

__all__ = [
    "choice_metrics",
    "decision_metrics",
    "discrimination",
    "drift_candidates",
    "drift_rate",
    "drift_reduction",
    "drift_severity",
    "mcnemar",
    "parse_choice",
    "parse_conclusion",
    "rank_biserial",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.steps"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
