"""Agreement: between two raters of nominal labels, and between rankings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, IntArray, quotient
from evenhand.statistics.resampling import DRAWS, cluster_weights, percentile
from evenhand.statistics.two_way import Resample, rating_table, resampled_indices


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient (1 perfect, 0 chance), None where it is undefined, with a cluster bootstrap interval and raw
    agreement.
    """

    coefficient: float | None
    interval: Interval | None
    observed: float | None
    items: int
    clusters: int
    method: str
    reason: str = ""


def _ratings(ratings: ArrayLike) -> IntArray:
    table = np.asarray(ratings, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise BadInput("Agreement needs an (items, raters) table with at least two raters.")
    if (table < -1).any():
        row = int(np.argmax((table < -1).any(axis=1))) + 1
        raise BadInput("A rating code is below -1.", row=row, do="Use codes from 0, and -1 for missing.")
    return table


def _tally(table: IntArray) -> FloatArray:
    """How often each item got each label, (items, labels)."""
    labels = int(table.max(initial=0)) + 1
    return np.stack([(table == label).sum(axis=1) for label in range(labels)], axis=1).astype(np.float64)


def _cohen_parts(table: IntArray) -> FloatArray:
    """Confusion of two raters for each item, (items, labels * labels); items that miss a rating are zero."""
    if table.shape[1] != 2:
        raise BadInput(f"Cohen's kappa is for 2 raters, got {table.shape[1]}.", do="Use Krippendorff's alpha.")
    labels = int(table.max(initial=0)) + 1
    one_hot = np.eye(labels + 1)[:, :labels]
    return np.asarray((one_hot[table[:, 0]][:, :, None] * one_hot[table[:, 1]][:, None, :]).reshape(len(table), -1))


def _cohen(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    labels = round(sums.shape[1] ** 0.5)
    confusion = sums.reshape(-1, labels, labels)
    total = confusion.sum(axis=(1, 2))
    observed = _over(np.trace(confusion, axis1=1, axis2=2), total)
    chance = _over((confusion.sum(axis=1) * confusion.sum(axis=2)).sum(axis=1), total**2)
    return observed, chance


def _fleiss_parts(table: IntArray) -> FloatArray:
    """For each item: pairwise agreement, one, and label shares; items with fewer than two ratings are zero."""
    tally = _tally(table)
    count = tally.sum(axis=1)
    kept = count >= 2
    n = np.where(kept, count, 2.0)
    agree = (tally * (tally - 1)).sum(axis=1) / (n * (n - 1))
    return np.where(kept[:, None], np.column_stack([agree, np.ones(len(table)), tally]), 0.0)


def _fleiss(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    observed = _over(sums[:, 0], sums[:, 1])
    share = _over(sums[:, 2:].T, sums[:, 2:].sum(axis=1)).T
    return observed, np.asarray((share**2).sum(axis=1))


def _alpha_parts(table: IntArray) -> FloatArray:
    """For each item: matching pairs over (ratings - 1), then label counts; items with fewer than two ratings are
    zero.
    """
    tally = _tally(table)
    count = tally.sum(axis=1)
    kept = count >= 2
    match = (tally * (tally - 1)).sum(axis=1) / np.where(kept, count - 1, 1.0)
    return np.where(kept[:, None], np.column_stack([match, tally]), 0.0)


def _alpha(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    counts = sums[:, 1:]
    total = counts.sum(axis=1)
    return _over(sums[:, 0], total), _over((counts * (counts - 1)).sum(axis=1), total * (total - 1))


def _over(top: FloatArray, bottom: FloatArray) -> FloatArray:
    return quotient(top, bottom, bottom > 0)


def _coefficient(observed: FloatArray, chance: FloatArray) -> FloatArray:
    """(observed - chance) / (1 - chance), NaN where chance agreement is already perfect."""
    room = 1 - chance
    return quotient(observed - chance, room, room > 1e-12)


_Coefficient = tuple[Callable[[IntArray], FloatArray], Callable[[FloatArray], tuple[FloatArray, FloatArray]], str]
_METHODS: dict[str, _Coefficient] = {
    "cohen": (_cohen_parts, _cohen, "Cohen's kappa"),
    "fleiss": (_fleiss_parts, _fleiss, "Fleiss' kappa"),
    "krippendorff": (_alpha_parts, _alpha, "Krippendorff's alpha, nominal"),
}


def agreement(
    ratings: ArrayLike,
    method: str = "krippendorff",
    *,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Agreement:
    """One coefficient with its interval.

    ``ratings`` (items, raters); ``method`` is ``"cohen"``, ``"fleiss"`` or ``"krippendorff"``; ``clusters`` (items,)
    are the units to resample, for example stems (default: each item is its own). The interval is the percentile of
    the cluster bootstrap, None with fewer than two clusters. The coefficient is None where every rating is the same
    label: chance agreement is 1.
    """
    if method not in _METHODS:
        raise BadInput(f"No agreement coefficient is called '{method}'.", do=f"Known: {', '.join(_METHODS)}.")
    make, reduce, name = _METHODS[method]
    table = _ratings(ratings)
    parts = make(table)
    unit = np.arange(len(table)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if unit.shape != (len(table),):
        raise BadInput(f"{len(table)} items need as many cluster codes, got {unit.size}.")
    n_clusters = int(unit.max(initial=-1)) + 1
    items = int(((table >= 0).sum(axis=1) >= 2).sum())
    observed, chance = reduce(parts.sum(axis=0, keepdims=True))
    value = float(_coefficient(observed, chance)[0])
    raw = float(observed[0]) if np.isfinite(observed[0]) else None
    if not np.isfinite(value):
        reason = "no item has two ratings" if items == 0 else "every rating is the same label"
        return Agreement(None, None, raw, items, n_clusters, name, reason)
    if n_clusters < 2:
        return Agreement(value, None, raw, items, n_clusters, name, "fewer than 2 clusters: no interval")
    sums = np.zeros((n_clusters, parts.shape[1]))
    np.add.at(sums, unit, parts)
    drawn = _coefficient(*reduce(cluster_weights(n_clusters, draws, seed) @ sums))
    interval = percentile(drawn, level, method="cluster bootstrap percentile")
    reason = "" if interval else "over 5 % of the bootstrap draws are undefined"
    return Agreement(value, interval, raw, items, n_clusters, name, reason)


def _point(ratings: ArrayLike, method: str) -> float | None:
    make, reduce, _ = _METHODS[method]
    value = float(_coefficient(*reduce(make(_ratings(ratings)).sum(axis=0, keepdims=True)))[0])
    return value if np.isfinite(value) else None


def cohen_kappa(ratings: ArrayLike) -> float | None:
    """Cohen's kappa of two raters, (items, 2); items that miss a rating are left out."""
    return _point(ratings, "cohen")


def fleiss_kappa(ratings: ArrayLike) -> float | None:
    """Fleiss' kappa, (items, raters); items with fewer than two ratings are left out, unequal numbers allowed."""
    return _point(ratings, "fleiss")


def krippendorff_alpha(ratings: ArrayLike) -> float | None:
    """Krippendorff's alpha for nominal labels, (items, raters), missing ratings allowed."""
    return _point(ratings, "krippendorff")


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
