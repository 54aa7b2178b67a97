"""Checks of a table of ratings before anything is compared: straight-lining raters, and the polarity of the labels.

Source: pluralism section 10. The limit of 95 % is a chosen default of that document. Results are meant to be shown with
all raters and without those found here, never without the former.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray, IntArray
from evenhand.statistics.two_way import label_table, rating_table

STRAIGHT_LINE = 0.95
"""A rater who gives one answer to more than this share of the items."""


@dataclass(frozen=True, slots=True)
class Polarity:
    """The probability that an item which an expert calls unsafe has a higher mean rating than one called safe.

    Ties count half. ``flipped`` says that it is below 0.5: the labels may mean the opposite of what is assumed. ``p`` is then the
    one-sided p of Mann and Whitney that it is so by chance; 1 where it is not below.
    """

    auc: float | None
    unsafe_items: int
    safe_items: int
    flipped: bool
    reason: str = ""
    p: float = 1.0


def one_answer_share(labels: ArrayLike) -> FloatArray:
    """The share of each rater's answers that are their most common one, (raters,), NaN for a rater without any."""
    codes, count = label_table(labels)
    if not count:
        return np.full(codes.shape[1], np.nan)
    most = np.stack([(codes == label).sum(axis=0) for label in range(count)]).max(axis=0)
    given = (codes >= 0).sum(axis=0)
    return np.where(given > 0, most / np.maximum(given, 1), np.nan)


def straight_liners(labels: ArrayLike, *, above: float = STRAIGHT_LINE) -> IntArray:
    """Columns, from 0, of the raters of ``labels`` (items, raters) who give one answer to more than ``above``."""
    return np.flatnonzero(one_answer_share(labels) > above).astype(np.int64)


def polarity(ratings: ArrayLike, truth: ArrayLike) -> Polarity:
    """Area under the curve of the mean rating of an item against an expert's label.

    ``ratings`` (items, raters), NaN where missing, high meaning unsafe; ``truth`` (items,), 1 unsafe, 0 safe, NaN
    unknown. None with a reason without items of both kinds. Raises BadInput for another length or label.
    """
    table, known = rating_table(ratings), np.asarray(truth, dtype=np.float64)
    if known.shape != (len(table),):
        raise BadInput(f"{len(table)} items need as many true labels, got {known.size}.")
    wrong = ~(np.isnan(known) | (known == 0) | (known == 1))
    if wrong.any():
        raise BadInput("A true label is not 0, 1 or missing.", row=int(np.argmax(wrong)) + 1)
    seen = np.isfinite(table)
    count = seen.sum(axis=1)
    mean = np.where(seen, table, 0.0).sum(axis=1) / np.maximum(count, 1)
    unsafe, safe = (mean[(known == label) & (count > 0)] for label in (1, 0))
    if not unsafe.size or not safe.size:
        return Polarity(None, unsafe.size, safe.size, False, "no rated item of each true label")
    above = float(stats.mannwhitneyu(unsafe, safe).statistic)
    auc = above / (unsafe.size * safe.size)
    if auc >= 0.5:
        return Polarity(auc, unsafe.size, safe.size, False)
    p = float(stats.mannwhitneyu(unsafe, safe, alternative="less").pvalue)
    return Polarity(auc, unsafe.size, safe.size, True, p=p)
