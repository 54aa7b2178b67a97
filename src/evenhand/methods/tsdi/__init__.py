"""Safety by category, the shift of the opening tokens, and the sweep over its correction."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.steps"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
