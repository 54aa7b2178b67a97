"""Adjusting p values for the number of tests: Holm inside a family, Benjamini-Hochberg across outcomes and models.

The family is all group-against-reference contrasts of one outcome in one model,
fixed before looking. A p that is undefined (None) stays None and is not counted; the family size says how many were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Adjusted values in the order of the input, None where p was, and the number of tests adjusted for."""

    values: tuple[float | None, ...]
    family_size: int
    method: str


def _known(p_values: Sequence[float | None]) -> FloatArray:
    defined = np.asarray([p for p in p_values if p is not None], dtype=np.float64)
    if not np.all((defined >= 0) & (defined <= 1)):
        raise BadInput("A p value lies outside 0 to 1.")
    return defined


def _restore(p_values: Sequence[float | None], adjusted: FloatArray, method: str) -> Adjusted:
    remaining = iter(np.minimum(adjusted, 1.0).tolist())
    return Adjusted(tuple(None if p is None else next(remaining) for p in p_values), adjusted.size, method)


def holm(p_values: Sequence[float | None]) -> Adjusted:
    """Holm's step-down adjustment (1979): family-wise error held whatever the dependence."""
    defined = _known(p_values)
    order = np.argsort(defined, kind="stable")
    adjusted = np.empty(defined.size)
    adjusted[order] = np.maximum.accumulate(defined[order] * np.arange(defined.size, 0, -1))
    return _restore(p_values, adjusted, "Holm")


def benjamini_hochberg(p_values: Sequence[float | None]) -> Adjusted:
    """Benjamini and Hochberg's q (1995): the false discovery rate, for independent or positively dependent tests."""
    defined = _known(p_values)
    order = np.argsort(defined, kind="stable")
    adjusted = np.empty(defined.size)
    ranked = defined[order] * defined.size / np.arange(1, defined.size + 1)
    adjusted[order] = np.minimum.accumulate(ranked[::-1])[::-1]
    return _restore(p_values, adjusted, "Benjamini-Hochberg")


def best_attainable(smallest: Sequence[float | None]) -> Adjusted:
    """The smallest Holm p that each test could reach, from each test's smallest attainable p.

    Where it exceeds 0.05 the data can never show a difference, which is not the same as finding none: 3 against 3 names
    stop at 0.1.
    """
    return holm(smallest)
