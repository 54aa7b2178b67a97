"""Difference awareness: questions in which groups differ, their transfer, harm drift, and the repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.methods import lazy_steps

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

__getattr__ = lazy_steps(__name__, __all__)
