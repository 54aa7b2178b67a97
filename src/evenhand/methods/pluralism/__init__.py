"""Whose judgement of harm a model shares: ratings by profile, and the corpus builder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenhand.methods.pluralism.steps import (
        demographic_sensitivity,
        icc,
        krippendorff_alpha,
        near_duplicates,
        parity_difference,
        simhash,
    )

__all__ = [
    "demographic_sensitivity",
    "icc",
    "krippendorff_alpha",
    "near_duplicates",
    "parity_difference",
    "simhash",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.steps"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
