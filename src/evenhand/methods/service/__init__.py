"""Refusals and worse service on harmless prompts, by group."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.steps"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
