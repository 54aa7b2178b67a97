"""Demographic parity difference (DPD) and equalised odds difference (EOD) of ratings, with intervals and a null.

The names are published (arXiv 2602.07376), the formulas are not. Chosen defaults: DPD is the largest minus the smallest
P(unsafe | group); EOD is the larger of that range among truly safe items and among truly unsafe items. Both are at least 0 and grow
with noise alone, so each is reported with its bootstrap bias and a permutation null.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups
from evenhand.methods.pluralism.rating.statistics.sensitivity import (
    PERMUTATIONS,
    GroupMeans,
    group_means,
    permutation_draws,
    whole_items,
)
from evenhand.records import Interval
from evenhand.statistics.cells import Cells, FloatArray, IntArray, quotient
from evenhand.statistics.resampling import DRAWS, crossed_bootstrap, less_bias, percentile
from evenhand.statistics.two_way import rating_table

UNSAFE_ABOVE = 0.5
"""A rating above this counts as unsafe, on the scale safe 0, unsure 0.5, unsafe 1. A chosen default."""

NO_ITEM = "no item is rated by every group"
FEW_GROUPS = "fewer than 2 groups have enough raters"


@dataclass(frozen=True, slots=True)
class UnsafeShare:
    """P(unsafe | group): the mean over items of the share of the group's ratings, with an interval over raters and items."""

    group: str
    raters: int
    share: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Disparity:
    """A difference of shares (probability): value, percentiles less the bootstrap's bias, that bias, and the permutation null.

    ``excess`` is value minus ``null_mean``; ``p`` is the share of shuffles, with the observed one, that reach the value.
    ``highest`` and ``lowest`` are the groups at the ends, ``given`` the truth at which the range is largest (EOD).
    """

    value: float | None
    interval: Interval | None
    bias: float | None
    null_mean: float | None
    null_range: Interval | None
    excess: float | None
    p: float | None
    items: int
    highest: str = ""
    lowest: str = ""
    given: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Disparities:
    """Shares of all groups, their DPD, and the EOD against the truth called ``truth_name`` (None without a truth)."""

    shares: tuple[UnsafeShare, ...]
    dpd: Disparity
    eod: Disparity | None
    truth_name: str
    items: int
    items_left_out: int


def _undefined(reason: str, items: int = 0) -> Disparity:
    return Disparity(None, None, None, None, None, None, None, items, reason=reason)


def _truth(truth: ArrayLike, items: int, name: str) -> FloatArray:
    labels = np.asarray(truth, dtype=np.float64)
    if labels.shape != (items,):
        raise BadInput(f"{items} items need as many true labels, got {labels.size}.")
    if not name:
        raise BadInput(
            "The equalised odds difference needs the name of its truth.", do="Name the source of the labels."
        )
    wrong = ~(np.isnan(labels) | (labels == 0) | (labels == 1))
    if wrong.any():
        raise BadInput("A true label is not 0, 1 or missing.", row=int(np.argmax(wrong)) + 1)
    return labels


def _ranges(strata: Sequence[IntArray], rates: GroupMeans) -> FloatArray:
    """Range over groups of the share of each stratum of items, (strata, sets); NaN if a stratum has no whole item."""
    whole = whole_items(rates.means)
    rows = []
    for stratum in strata:
        kept = whole[stratum].astype(np.float64)
        total = np.where(kept[:, None] > 0, rates.means[stratum], 0.0).sum(axis=0)
        count = np.broadcast_to(kept.sum(axis=0), total.shape)
        share = quotient(total, count, count > 0)
        rows.append(share.max(axis=0) - share.min(axis=0))
    return np.stack(rows)


def disparities(
    ratings: ArrayLike,
    groups: RaterGroups,
    *,
    truth: ArrayLike | None = None,
    truth_name: str = "",
    unsafe_above: float = UNSAFE_ABOVE,
    level: float = 0.95,
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
    within: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Disparities:
    """Shares, DPD and EOD of ``ratings`` (items, raters), NaN where missing.

    ``truth`` (items,) is 1 unsafe, 0 safe, NaN unknown, and ``truth_name`` says whose it is (an expert's label, the
    majority of the crowd). Only items that every group rated count; every item weighs the same. Raters are resampled
    inside their groups and items jointly; labels are shuffled over raters, inside ``within`` where given. EOD is None
    with a reason unless there are items of both true labels. Raises BadInput for lengths that differ, a truth that is
    not 0 or 1, or one without a name.
    """
    table = rating_table(ratings)
    if table.shape[1] != groups.codes.size:
        raise BadInput(f"{table.shape[1]} raters in the ratings, {groups.codes.size} in the groups.")
    labels = None if truth is None else _truth(truth, len(table), truth_name)
    size = len(groups.names)
    why = FEW_GROUPS if size < 2 else ""
    unsafe = np.where(np.isfinite(table), (table > unsafe_above).astype(np.float64), np.nan)
    if not why:
        whole = whole_items(group_means(unsafe, groups.codes[None, :], size).means[..., 0])
        why = "" if whole.any() else NO_ITEM
    if why:
        none = None if labels is None else _undefined(why)
        return Disparities((), _undefined(why), none, truth_name, 0, len(table))
    items = np.flatnonzero(whole)
    strata = [items]
    if labels is not None:
        strata += [np.flatnonzero(whole & (labels == label)) for label in (0, 1)]
    usable = [stratum for stratum in strata if stratum.size]
    member = groups.codes >= 0
    rates = [_bootstrap(unsafe[np.ix_(stratum, member)], groups.codes[member], draws, seed) for stratum in usable]
    null = None
    if permutations and max(groups.sizes) > 1:
        null = permutation_draws(
            unsafe, groups, lambda found: _ranges(usable, found), draws=permutations, seed=seed, within=within
        )
    observed, drawn = rates[0]
    shares = tuple(
        UnsafeShare(name, count, float(observed[at]), percentile(drawn[:, at], level) if draws else None)
        for at, (name, count) in enumerate(zip(groups.names, groups.sizes, strict=True))
    )
    dpd = _disparity([rates[0]], None if null is None else null[:1], groups.names, items.size, level)
    eod = None
    if labels is not None:
        if len(usable) < 3:
            label = "safe" if not strata[1].size else "unsafe"
            eod = _undefined(f"no item that is truly {label} by {truth_name}", strata[1].size + strata[2].size)
        else:
            part = None if null is None else null[1:]
            eod = _disparity(rates[1:], part, groups.names, strata[1].size + strata[2].size, level)
    return Disparities(shares, dpd, eod, truth_name, items.size, len(table) - items.size)


def _bootstrap(unsafe: FloatArray, codes: IntArray, draws: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Shares (groups,) and their draws (draws, groups). The same raters are drawn whatever the items are."""
    size = int(codes.max()) + 1
    means = group_means(unsafe, codes[None, :], size).means[..., 0].mean(axis=0)
    if not draws:
        return means, np.empty((0, size))
    cells = Cells(unsafe.T, np.isfinite(unsafe.T).astype(np.int64), codes)
    return means, crossed_bootstrap(cells, draws=draws, seed=seed).rates


def _disparity(
    rates: Sequence[tuple[FloatArray, FloatArray]],
    null: FloatArray | None,
    names: Sequence[str],
    items: int,
    level: float,
) -> Disparity:
    """The largest range over the strata given: one for DPD, truly safe and truly unsafe for EOD."""
    gaps = [float(means.max() - means.min()) for means, _ in rates]
    at = int(np.argmax(gaps))
    value, means = gaps[at], rates[at][0]
    given = "" if len(rates) == 1 else ("truly safe", "truly unsafe")[at]
    interval, bias, reasons = None, None, []
    drawn = (
        np.stack([draw.max(axis=1) - draw.min(axis=1) for _, draw in rates]).max(axis=0) if len(rates[0][1]) else None
    )
    if drawn is not None:
        interval, bias = less_bias(drawn, value, level, method="crossed bootstrap, percentiles less the bias")
        reasons = [] if interval else ["over 5 % of the bootstrap draws are undefined"]
    null_mean, null_range, excess, p = None, None, None, None
    if null is None:
        reasons.append("no permutation null")
    else:
        largest = null.max(axis=0)
        null_range = percentile(largest, method="permutation null, central part")
        finite = largest[np.isfinite(largest)]
        if null_range is None:
            reasons.append("over 5 % of the permuted values are undefined")
        else:
            null_mean = float(finite.mean())
            excess = value - null_mean
            p = (1 + int((finite >= value - 1e-12).sum())) / (finite.size + 1)
    ends = names[int(means.argmax())], names[int(means.argmin())]
    return Disparity(
        value, interval, bias, null_mean, null_range, excess, p, items, *ends, given, "; ".join(reasons)
    )  # fmt: skip
