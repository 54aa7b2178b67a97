"""Krippendorff's alpha for nominal, ordinal and interval labels, missing ratings allowed, with a two-way bootstrap.

Source: Krippendorff 2011: alpha = 1 - D_o / D_e, where D_o is the mean distance of
two ratings of one item and D_e that of any two ratings. `evenhand.statistics.agreement` holds the nominal form for
clusters of items; this module adds distances, resampled raters, and many tallies at once for permutation tests.
Nothing is cut at 0: a negative alpha is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, IntArray, quotient
from evenhand.statistics.resampling import DRAWS, percentile
from evenhand.statistics.two_way import Resample, label_table, two_way_weights

Distance = Literal["nominal", "ordinal", "interval"]
"""0 or 1; by the ratings that lie between two labels; or the squared difference of the labels' values."""


@dataclass(frozen=True, slots=True)
class Alpha:
    """Alpha (1 perfect, 0 chance), None with a reason where undefined, and a percentile interval.

    ``observed`` and ``expected`` are the mean distances D_o and D_e, in the unit of the distance. ``items`` have at
    least two ratings, ``ratings`` are theirs. ``bias`` is the bootstrap mean minus the estimate.
    """

    coefficient: float | None
    interval: Interval | None
    observed: float | None
    expected: float | None
    items: int
    ratings: int
    bias: float | None = None
    reason: str = ""


def label_indicators(codes: IntArray, count: int) -> FloatArray:
    """1 where a rater gave an item that label, (items, labels, raters)."""
    return np.stack([codes == label for label in range(count)], axis=1).astype(np.float64)


def tally(codes: IntArray, count: int) -> FloatArray:
    """How many raters gave each label to each item, (items, labels)."""
    return np.asarray(label_indicators(codes, count).sum(axis=2))


def distances(totals: FloatArray, distance: Distance = "nominal", values: Sequence[float] | None = None) -> FloatArray:
    """Distance of every two labels, (labels, labels, sets), for the label ``totals`` (labels, sets) of each set.

    ``values`` (labels,) are what the labels stand for, for the interval distance; default their codes. Raises BadInput
    for an unknown distance or another number of values.
    """
    count, sets = totals.shape
    if distance == "nominal":
        table = 1.0 - np.eye(count)
    elif distance == "interval":
        value = np.arange(count, dtype=np.float64) if values is None else np.asarray(values, dtype=np.float64)
        if value.shape != (count,):
            raise BadInput(f"{count} labels need as many values, got {value.size}.")
        table = (value[:, None] - value[None, :]) ** 2
    elif distance == "ordinal":
        middle = np.cumsum(totals, axis=0) - totals / 2
        return np.asarray((middle[:, None] - middle[None, :]) ** 2)
    else:
        raise BadInput(f"No distance of labels is called '{distance}'.", do="Known: nominal, ordinal, interval.")
    return np.repeat(table[:, :, None], sets, axis=2)


def spread_within(tallies: FloatArray, table: FloatArray) -> FloatArray:
    """Sum of distances over ordered pairs of one item's ratings, (items, sets)."""
    return np.asarray(np.einsum("ias,abs,ibs->is", tallies, table, tallies, optimize=True))


def alpha_of_tallies(
    tallies: FloatArray, distance: Distance = "nominal", values: Sequence[float] | None = None
) -> FloatArray:
    """Alpha of each set of label counts, (sets,), from ``tallies`` (items, labels, sets); NaN where undefined.

    Items with fewer than two ratings take no part.
    """
    ratings = tallies.sum(axis=1)
    kept = np.where((ratings >= 2)[:, None], tallies, 0.0)
    observed, expected = _parts(kept, ratings * (ratings - 1), None, distance, values)
    return _alpha(observed, expected)


def _alpha(observed: FloatArray, expected: FloatArray) -> FloatArray:
    return 1 - quotient(observed, expected, expected > 0)


def _parts(
    kept: FloatArray,
    pairs: FloatArray,
    weights: FloatArray | None,
    distance: Distance,
    values: Sequence[float] | None,
) -> tuple[FloatArray, FloatArray]:
    """D_o and D_e, each (sets,); ``pairs`` (items, sets) are the ordered pairs of ratings that an item offers."""
    ratings = kept.sum(axis=1)
    weight = np.ones_like(ratings) if weights is None else weights
    totals = np.einsum("is,ils->ls", weight, kept)
    table = distances(totals, distance, values)
    if distance == "nominal":
        within = ratings**2 - (kept**2).sum(axis=1)
        between = totals.sum(axis=0) ** 2 - (totals**2).sum(axis=0)
    else:
        within = spread_within(kept, table)
        between = np.einsum("as,abs,bs->s", totals, table, totals)
    usable = (ratings > 0) & (pairs > 0)
    size = (weight * ratings * usable).sum(axis=0)
    mean = quotient(within, pairs, usable)
    observed = np.where(usable, weight * ratings * mean, 0.0).sum(axis=0)
    total = totals.sum(axis=0)
    return quotient(observed, size, size > 0), quotient(between, total * (total - 1), total > 1)


def krippendorff(
    labels: ArrayLike,
    *,
    count: int | None = None,
    distance: Distance = "nominal",
    values: Sequence[float] | None = None,
    resample: Resample = "both",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Alpha:
    """Alpha of ``labels`` (items, raters), codes from 0 and -1 where missing, with a percentile interval.

    ``count`` labels could be chosen (default: the largest code plus one). In a draw, a rater who is drawn twice is not
    compared with themselves, which would lift alpha by about (1 - alpha) / raters. Set ``draws`` to 0 for no interval.
    Alpha is None where no item has two ratings or all ratings are the same label.
    """
    codes, number = label_table(labels, count)
    raters = codes.shape[1]
    used = codes[(codes >= 0).sum(axis=1) >= 2]
    items, ratings = len(used), int((used >= 0).sum())
    if not items:
        return Alpha(None, None, None, None, 0, 0, reason="no item has two ratings")
    marks = label_indicators(used, number)
    counts = marks.sum(axis=2)[:, :, None]
    own = counts.sum(axis=1)
    observed, expected = (float(x[0]) for x in _parts(counts, own * (own - 1), None, distance, values))
    if not expected > 0:
        return Alpha(None, None, observed, expected, items, ratings, reason="every rating is the same label")
    value = 1 - observed / expected
    if not draws:
        return Alpha(value, None, observed, expected, items, ratings)
    if items < 2 and resample != "raters":
        return Alpha(value, None, observed, expected, items, ratings, reason="one item: no interval")
    drawn = []
    seen = (used >= 0).astype(np.float64)
    flat = marks.reshape(items * number, raters)
    width = items * (number + 2)
    for a, b in two_way_weights(items, raters, resample=resample, draws=draws, seed=seed, width=width):
        tallies = (flat @ b.T).reshape(items, number, len(b))
        total = tallies.sum(axis=1)
        drawn.append(_alpha(*_parts(tallies, total**2 - seen @ (b**2).T, a.T, distance, values)))
    all_drawn = np.concatenate(drawn)
    interval = percentile(
        all_drawn,
        level,
        method="two-way bootstrap percentile" if resample == "both" else f"{resample[:-1]} bootstrap percentile",
    )
    reason = "" if interval else "over 5 % of the bootstrap draws are undefined"
    bias = float(np.nanmean(all_drawn)) - value if interval else None
    return Alpha(value, interval, observed, expected, items, ratings, bias, reason)
