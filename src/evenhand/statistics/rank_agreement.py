"""Inter-rater correlation (rho): the mean Spearman correlation over pairs of raters.

Source: pluralism section 3.1. The published name comes without a formula; the mean over pairs with average ranks is a
chosen default of that document. A pair in which a rater gives one and the same answer is undefined and counted as such,
not as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.resampling import percentile
from evenhand.statistics.two_way import Resample, rating_table, resampled_indices

LEAST_COMMON = 3
"""Two raters need as many items in common. A chosen default."""

RHO_DRAWS = 500
"""Bootstrap draws; each ranks the table anew. A chosen default."""


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Mean pairwise Spearman correlation, None with a reason where no pair has one.

    ``pairs`` are those averaged; ``undefined_pairs`` have a rater without variation, or too few items in common.
    """

    rho: float | None
    interval: Interval | None
    pairs: int
    undefined_pairs: int
    raters: int
    reason: str = ""


def spearman_table(ratings: ArrayLike) -> FloatArray:
    """Spearman's correlation of every two raters of ``ratings`` (items, raters), (raters, raters), NaN where undefined.

    With missing ratings each pair is ranked on the items that both rated.
    """
    table = rating_table(ratings)
    raters = table.shape[1]
    if np.isfinite(table).all():
        return _correlations(table)
    found = np.full((raters, raters), np.nan)
    seen = np.isfinite(table)
    for a in range(raters):
        for b in range(a + 1, raters):
            both = seen[:, a] & seen[:, b]
            if both.sum() >= LEAST_COMMON:
                found[a, b] = found[b, a] = _correlations(table[both][:, [a, b]])[0, 1]
    return found


def _correlations(table: FloatArray) -> FloatArray:
    if len(table) < LEAST_COMMON:
        return np.full((table.shape[1],) * 2, np.nan)
    ranks = np.asarray(stats.rankdata(table, axis=0), dtype=np.float64)
    ranks -= (len(table) + 1) / 2
    length = np.sqrt((ranks**2).sum(axis=0))
    scale = np.outer(length, length)
    return np.clip(quotient(ranks.T @ ranks, scale, scale > 0), -1.0, 1.0)


def mean_spearman(
    ratings: ArrayLike, *, resample: Resample = "both", level: float = 0.95, draws: int = RHO_DRAWS, seed: int = 0
) -> RankAgreement:
    """Mean Spearman correlation over all pairs of raters of ``ratings`` (items, raters), NaN where missing.

    The interval is the percentile of a bootstrap of items, raters or both; a rater who is drawn twice is not paired
    with themselves. Set ``draws`` to 0 for no interval. With missing ratings only raters are resampled: ranking every
    pair anew for every draw would take minutes. Raises BadInput with fewer than two raters.
    """
    table = rating_table(ratings)
    items, raters = table.shape
    if raters < 2:
        raise BadInput(f"Correlations between raters need at least two, got {raters}.")
    found = spearman_table(table)
    upper = found[np.triu_indices(raters, 1)]
    known = upper[np.isfinite(upper)]
    undefined = upper.size - known.size
    if not known.size:
        reason = f"no pair of raters varies on {LEAST_COMMON} common items"
        return RankAgreement(None, None, 0, undefined, raters, reason)
    value = float(known.mean())
    if not draws:
        return RankAgreement(value, None, known.size, undefined, raters)
    whole = bool(np.isfinite(table).all())
    unit: Resample = resample if whole else "raters"
    drawn = np.full(draws, np.nan)
    for at, (rows, columns) in enumerate(resampled_indices(items, raters, unit, draws, seed)):
        again = found if unit == "raters" else _correlations(table[rows])
        weight = np.bincount(columns, minlength=raters).astype(np.float64)
        defined = np.isfinite(again)
        np.fill_diagonal(defined, False)
        weights = np.outer(weight, weight) * defined
        if weights.any():
            drawn[at] = (weights * np.where(defined, again, 0.0)).sum() / weights.sum()
    name = {"both": "two-way", "items": "item", "raters": "rater"}[unit]
    interval = percentile(drawn, level, method=f"{name} bootstrap percentile")
    reason = "" if interval else "over 5 % of the bootstrap draws are undefined"
    return RankAgreement(value, interval, known.size, undefined, raters, reason)
