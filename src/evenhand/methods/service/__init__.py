"""Refusals and worse service on harmless prompts, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.methods import lazy_steps

if TYPE_CHECKING:
    from evenhand.methods.service.steps import (
        contrasts,
        is_refusal,
        pareto_front,
        permutation_test,
        price_of_safety,
        rates,
    )

__all__ = ["contrasts", "is_refusal", "pareto_front", "permutation_test", "price_of_safety", "rates"]

__getattr__ = lazy_steps(__name__, __all__)
