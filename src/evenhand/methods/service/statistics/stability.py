"""Do repetitions of one prompt agree? Same label in all, Fleiss kappa over repetitions, intraclass correlation.

Source: service_quality sections 4 and 5.7. Repetitions are generations of one model, not annotators: this is not
rater agreement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.statistics.agreement import fleiss_kappa
from evenhand.statistics.cells import IntArray


@dataclass(frozen=True, slots=True)
class Stability:
    """Shares and coefficients over ``prompts`` with at least two labelled repetitions; None where undefined."""

    same_label: float | None
    fleiss_kappa: float | None
    icc: float | None
    prompts: int


def same_label_share(labels: ArrayLike) -> float | None:
    """Share of prompts with one label in all repetitions.

    ``labels`` is (prompts, repetitions), codes from 0 and -1 for missing; prompts with fewer than two labels are left
    out.
    """
    table = _table(labels)
    kept = table[(table >= 0).sum(axis=1) >= 2]
    if not len(kept):
        return None
    high = kept.max(axis=1)
    low = np.where(kept >= 0, kept, high[:, None]).min(axis=1)
    return float((high == low).mean())


def intraclass_correlation(values: ArrayLike) -> float | None:
    """ICC(1): one-way random effects, one repetition (Shrout and Fleiss 1979).

    ``values`` is (prompts, repetitions), NaN for missing. Unequal repetitions use the average k0 of the one-way
    analysis of variance. May be negative. None with fewer than two prompts, no repeated prompt, or no variation.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise BadInput(f"Repetitions need a (prompts, repetitions) table, got {table.ndim} dimensions.")
    table = table[np.isfinite(table).any(axis=1)]
    seen = np.isfinite(table)
    count = seen.sum(axis=1).astype(np.float64)
    n, total = len(table), float(count.sum())
    if n < 2 or total <= n:
        return None
    filled = np.where(seen, table, 0.0)
    mean = filled.sum(axis=1) / count
    grand = float(filled.sum()) / total
    between = float((count * (mean - grand) ** 2).sum()) / (n - 1)
    within = float((np.where(seen, table - mean[:, None], 0.0) ** 2).sum()) / (total - n)
    k0 = (total - float((count**2).sum()) / total) / (n - 1)
    below = between + (k0 - 1) * within
    return None if below <= 0 else (between - within) / below


def stability(labels: ArrayLike, outcome: ArrayLike) -> Stability:
    """All three: ``labels`` (prompts, repetitions) codes with -1 missing, ``outcome`` the same shape, 0/1 with NaN
    missing.
    """
    table = _table(labels)
    prompts = int(((table >= 0).sum(axis=1) >= 2).sum())
    return Stability(same_label_share(table), fleiss_kappa(table), intraclass_correlation(outcome), prompts)


def _table(labels: ArrayLike) -> IntArray:
    table = np.asarray(labels, dtype=np.int64)
    if table.ndim != 2:
        raise BadInput(f"Labels need a (prompts, repetitions) table, got {table.ndim} dimensions.")
    return table
