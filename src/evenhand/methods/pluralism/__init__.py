"""Whose judgement of harm a model shares: ratings by profile, and the corpus builder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.methods import lazy_steps

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

__getattr__ = lazy_steps(__name__, __all__)
