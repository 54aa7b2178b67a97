"""Single names and repetitions: flips between counterfactual names, rates by name, what is left without one of them, and
whether the repetitions of one prompt agree.

Repetitions are generations of one model, not annotators: their agreement is not rater agreement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.rates import dominating_names
from evenhand.records import Interval
from evenhand.statistics.agreement import fleiss_kappa
from evenhand.statistics.cells import Cells, FloatArray, IntArray, group_rate, name_values
from evenhand.statistics.intervals import wilson
from evenhand.statistics.permutation import PermutationTest, permutation_test
from evenhand.statistics.resampling import DRAWS, per_stem_draws, percentile


@dataclass(frozen=True, slots=True)
class FlipRates:
    """How often swapping a reference name for a group name turns the outcome on, and off (both probabilities).

    ``turned_on`` = P(group 1, reference 0), ``turned_off`` = P(group 0, reference 1), over all stems and all pairs of
    names with independent repetitions; their difference is the risk difference exactly.
    """

    turned_on: float
    turned_off: float
    turned_on_interval: Interval | None
    turned_off_interval: Interval | None


@dataclass(frozen=True, slots=True)
class NameRate:
    """The rate of one name (``row`` of the cells). ``wilson`` is within-sample: it says nothing on other stems."""

    row: int
    group: int
    rate: float
    responses: int
    wilson: Interval | None
    dominating: bool


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """The difference to the reference with each name of the group left out in turn.

    ``low`` and ``high`` are the range over names left out; ``row`` is the name whose absence moves the difference
    most, ``without`` the difference without it and ``test`` the permutation test without it (None with fewer than two
    names left). ``dominating`` says that this name also passes the outlier test of `dominating_names`.
    """

    difference: float
    low: float
    high: float
    row: int
    without: float
    test: PermutationTest | None
    dominating: bool


@dataclass(frozen=True, slots=True)
class Split:
    """Names of one group in two classes, for example common and rare: rates, difference, test over the names of the
    group.
    """

    first: float
    second: float
    difference: float
    names: tuple[int, int]
    test: PermutationTest | None


def _flips(mine: FloatArray, base: FloatArray, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Mean over the last axis of m(1 - r) and (1 - m)r, NaN stems left out."""
    seen = np.isfinite(mine) & np.isfinite(base)
    weight = seen * (1.0 if weights is None else weights)
    m, r = np.where(seen, mine, 0.0), np.where(seen, base, 0.0)
    total = weight.sum(axis=-1)
    held = np.where(total > 0, total, np.nan)
    return (weight * m * (1 - r)).sum(axis=-1) / held, (weight * (1 - m) * r).sum(axis=-1) / held


def flip_rates(
    cells: Cells, group: int, reference: int, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> FlipRates | None:
    """Counterfactual flip rates with crossed-bootstrap percentile intervals.

    None for a measure, where the groups share no stem, and for a count table: flips are counted stem by stem.
    """
    pair = cells.shared(group, reference).cells
    if not cells.binary or not cells.has_stems or pair.values.shape[1] == 0:
        return None
    order = pair.codes.tolist()
    means = [np.nanmean(pair.of(code), axis=0) for code in (group, reference)]
    on, off = _flips(means[0], means[1])
    drawn_on, drawn_off = np.empty(draws), np.empty(draws)
    start = 0
    for block, weights in per_stem_draws(pair, draws=draws, seed=seed):
        part = slice(start, start + len(weights))
        drawn_on[part], drawn_off[part] = _flips(block[order.index(group)], block[order.index(reference)], weights)
        start = part.stop
    return FlipRates(float(on), float(off), percentile(drawn_on, level), percentile(drawn_off, level))


def name_rates(cells: Cells, *, level: float = 0.95) -> tuple[NameRate, ...]:
    """The rate of every name that has a cell, in row order, equal weights over its stems."""
    dominating = set(dominating_names(cells).values())
    rates = []
    for row, values in enumerate(cells.values):
        rate = group_rate(values[None, :])
        if rate is None:
            continue
        responses = int(cells.counts[row].sum())
        within = wilson(min(max(rate * responses, 0.0), responses), responses, level) if cells.binary else None
        rates.append(NameRate(row, int(cells.groups[row]), rate, responses, within, row in dominating))
    return tuple(rates)


def leave_one_name_out(cells: Cells, group: int, reference: int, *, seed: int = 0) -> LeaveOneOut | None:
    """The range of the difference over names of ``group`` left out, and what is left without the most influential one.

    None with fewer than two names in the group or no shared stem.
    """
    shared = cells.shared(group, reference)
    pair = shared.cells
    mine, base = pair.of(group), group_rate(pair.of(reference))
    whole = group_rate(mine)
    if len(mine) < 2 or whole is None or base is None:
        return None
    rates = [group_rate(np.delete(mine, at, axis=0)) for at in range(len(mine))]
    gaps = np.array([np.nan if rate is None else rate - base for rate in rates])
    at = int(np.nanargmax(np.abs(gaps - (whole - base))))
    row = int(shared.rows[pair.groups == group][at])
    keep = shared.rows != row
    left, codes = name_values(pair.values[keep]), pair.groups[keep]
    test = permutation_test(left[codes == group], left[codes == reference], seed=seed)
    return LeaveOneOut(
        difference=whole - base,
        low=float(np.nanmin(gaps)),
        high=float(np.nanmax(gaps)),
        row=row,
        without=float(gaps[at]),
        test=test,
        dominating=dominating_names(cells).get(group) == row,
    )


def split_within(
    cells: Cells, group: int, first: NDArray[np.bool_], second: NDArray[np.bool_], *, seed: int = 0
) -> Split | None:
    """Compare two classes of names inside one group: common minus rare, men minus women.

    ``first`` and ``second`` are (names,) masks over the rows of ``cells``. None where a class has no cell on a shared
    stem. Raises BadInput where a name is in both classes.
    """
    if bool((first & second).any()):
        raise BadInput("A name is in both classes.", row=int(np.argmax(first & second)) + 1)
    mine = (cells.groups == group) & (first | second)
    classes = np.where(first, 0, 1)
    part = Cells(cells.values[mine], cells.counts[mine], classes[mine], cells.binary)
    if len(part.codes) < 2:
        return None
    shared = part.shared(0, 1).cells
    a, b = group_rate(shared.of(0)), group_rate(shared.of(1))
    if a is None or b is None:
        return None
    level = name_values(shared.values)
    test = permutation_test(level[shared.groups == 0], level[shared.groups == 1], seed=seed)
    return Split(a, b, a - b, (len(shared.of(0)), len(shared.of(1))), test)


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
