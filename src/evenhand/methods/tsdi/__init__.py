"""Safety by category, the shift of the opening tokens, and the sweep over its correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.methods import lazy_steps

if TYPE_CHECKING:
    from evenhand.methods.tsdi.steps import (
        correct,
        estimate_bias,
        hypervolume,
        open_bias,
        pareto_front,
    )

__all__ = [
    "correct",
    "estimate_bias",
    "hypervolume",
    "open_bias",
    "pareto_front",
]

__getattr__ = lazy_steps(__name__, __all__)
