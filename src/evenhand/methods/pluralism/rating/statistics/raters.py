"""Raters: groups by a demographic value, intersections, suppression, partial pooling, and checks of their ratings.

Chosen defaults: groups under 5 raters are suppressed, some values are excluded from contrasts, and a rater with one answer on 95 %
of the items is a straight-liner (results are reported with all raters and without those). A missing or excluded value is counted
and never merged into another group.

Partial pooling draws group means towards the common mean according to their noise: a normal one-way random model of rater means,
its two variances by REML, and the best linear unbiased prediction (Robinson 1991). A small group moves far, a large one hardly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray, IntArray
from evenhand.statistics.clusters import finite_values
from evenhand.statistics.two_way import label_table, rating_table
from evenhand.statistics.variance_components import variance_components

LEAST_RATERS = 5
"""A group with fewer raters is suppressed: its figures would be noise, and could point at a person."""

EXCLUDED = ("Other",)
"""Values that are a level of their own, kept in totals and left out of contrasts."""

MISSING = "missing"
STRAIGHT_LINE = 0.95
"""A rater who gives one answer to more than this share of the items."""


@dataclass(frozen=True, slots=True, eq=False)
class RaterGroups:
    """The groups of one axis.

    ``names`` are the groups with enough raters, sorted, of ``sizes``; ``codes`` (raters,) points into them, -1 for a
    rater in none of them. ``known`` (raters,) marks raters with a value that is not excluded, those of suppressed
    groups among them. ``suppressed`` and ``left_out`` count the raters of small groups and of excluded or missing
    values.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    codes: IntArray
    known: NDArray[np.bool_]
    suppressed: Mapping[str, int]
    left_out: Mapping[str, int]


def rater_groups(
    values: Sequence[str | None], *, least: int = LEAST_RATERS, excluded: Collection[str] = EXCLUDED
) -> RaterGroups:
    """Groups from one value per rater, (raters,), None if unknown. Raises BadInput if a value is not a text."""
    counts: dict[str, int] = {}
    left_out: dict[str, int] = {}
    is_known = np.zeros(len(values), dtype=np.bool_)
    for at, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise BadInput("A demographic value is not a text.", row=at + 1, do="Use None for a missing value.")
        if value is None or not value.strip() or value in excluded:
            key = MISSING if value is None or not value.strip() else value
            left_out[key] = left_out.get(key, 0) + 1
            continue
        is_known[at] = True
        counts[value] = counts.get(value, 0) + 1
    names = tuple(sorted(name for name, size in counts.items() if size >= least))
    place = {name: at for at, name in enumerate(names)}
    codes = [place.get(value, -1) if is_known[at] and value is not None else -1 for at, value in enumerate(values)]
    suppressed = {name: size for name, size in sorted(counts.items()) if size < least}
    sizes = tuple(counts[name] for name in names)
    return RaterGroups(names, sizes, np.asarray(codes, dtype=np.int64), is_known, suppressed, left_out)


def intersection_name(axes: Sequence[str]) -> str:
    """What an intersection of axes is called, for example ``"race x gender"``."""
    return " x ".join(axes)


def intersect(
    demographics: Mapping[str, Sequence[str | None]], axes: Sequence[str], *, excluded: Collection[str] = EXCLUDED
) -> tuple[str | None, ...]:
    """One value per rater that joins those of ``axes``, for example ``"White, Man"``; None if any is missing or left out.

    Raises BadInput for an axis that is not there, fewer than two axes, or axes of unequal length.
    """
    if len(axes) < 2 or len(set(axes)) < len(axes):
        raise BadInput("An intersection needs at least two different axes.")
    for axis in axes:
        if axis not in demographics:
            raise BadInput(f"Unknown demographic axis '{axis}'.", do=f"Known: {', '.join(demographics)}.")
    columns = [demographics[axis] for axis in axes]
    if len({len(column) for column in columns}) > 1:
        raise BadInput("Demographic axes have unequal numbers of raters.")
    joined: list[str | None] = []
    for values in zip(*columns, strict=True):
        parts = [value for value in values if value and value.strip() and value not in excluded]
        joined.append(", ".join(parts) if len(parts) == len(axes) else None)
    return tuple(joined)


def one_hot(codes: IntArray, groups: int) -> FloatArray:
    """Membership, (raters, groups, sets), of ``codes`` (sets, raters); a rater with -1 is in no group."""
    return np.stack([(codes == group).T for group in range(groups)], axis=1).astype(np.float64)


def shuffled_codes(
    codes: ArrayLike, *, draws: int, seed: int, chunk: int, within: Sequence[Hashable] | None = None
) -> Iterator[IntArray]:
    """Chunks of shuffled ``codes``, (chunk, raters); a code of -1 stays where it is, group sizes stay the same.

    ``within`` (raters,) are strata, for example the paraphrase and option order of a column: labels move inside their
    stratum only. The draws do not depend on ``chunk``. Raises BadInput without a draw, or where lengths differ.
    """
    code = np.asarray(codes, dtype=np.int64)
    if draws < 1:
        raise BadInput(f"A permutation test needs at least one draw, got {draws}.")
    if within is not None and len(within) != code.size:
        raise BadInput(f"{code.size} raters need as many strata, got {len(within)}.")
    seats: dict[Hashable, int] = {}
    strata = [0] * code.size if within is None else [seats.setdefault(label, len(seats)) for label in within]
    members = np.flatnonzero(code >= 0)
    stratum = np.asarray(strata, dtype=np.float64)[members]
    home = members[np.argsort(stratum, kind="stable")]
    generator = np.random.default_rng([seed, 23])
    for start in range(0, draws, max(1, chunk)):
        size = min(max(1, chunk), draws - start)
        order = np.argsort(stratum + generator.random((size, members.size)), axis=1)
        shuffled = np.repeat(code[None, :], size, axis=0)
        shuffled[:, home] = code[members][order]
        yield shuffled


@dataclass(frozen=True, slots=True)
class PooledGroup:
    """The plain mean of a group's raters, the pooled one with its prediction error, and the weight of its own data."""

    group: str
    raters: int
    mean: float
    pooled: float | None
    error: float | None
    weight: float | None


@dataclass(frozen=True, slots=True)
class Pooling:
    """All groups, the common mean, and the variances between groups and between raters of a group."""

    groups: tuple[PooledGroup, ...]
    mean: float | None
    between: float | None
    within: float | None
    reason: str = ""


def partial_pooling(values: ArrayLike, groups: RaterGroups) -> Pooling:
    """Pooled means of ``values`` (raters,), one number for each rater, for example their share of unsafe ratings.

    Raters outside the groups take no part. The error takes the two variances as known and counts that of the common
    mean; it is too small with few groups. Pooled means are None, with a reason, with fewer than 3 groups or where the
    variances are undefined. Raises BadInput if a value is not finite or the lengths differ.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.shape != groups.codes.shape:
        raise BadInput(f"{groups.codes.size} raters need as many values, got the shape {given.shape}.")
    member = groups.codes >= 0
    value, codes = finite_values(given[member], "Rater values"), groups.codes[member]
    sizes = np.asarray(groups.sizes, dtype=np.float64)
    means = [float(value[codes == code].mean()) for code in range(len(groups.names))]
    reason, fit = "", None
    if len(means) < 3:
        reason = "fewer than 3 groups: nothing to learn the spread of groups from"
    else:
        fit = variance_components(value, {"group": codes.tolist()})
        component = fit.of("group")
        reason = "" if component.variance is not None else component.reason
    if fit is None or reason or fit.mean is None or fit.residual.variance is None:
        plain = tuple(
            PooledGroup(name, size, mean, None, None, None)
            for name, size, mean in zip(groups.names, groups.sizes, means, strict=True)
        )
        return Pooling(plain, None, None, None, reason)
    between, within = fit.of("group").variance or 0.0, fit.residual.variance
    weights = between / (between + within / sizes)
    centre_variance = 1 / float((1 / (between + within / sizes)).sum())
    rows = []
    for name, size, mean, weight in zip(groups.names, groups.sizes, means, weights.tolist(), strict=True):
        pooled = fit.mean + weight * (mean - fit.mean)
        error = math.sqrt(between * (1 - weight) + (1 - weight) ** 2 * centre_variance)
        rows.append(PooledGroup(name, size, mean, pooled, error, weight))
    return Pooling(tuple(rows), fit.mean, between, within)


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
    table, labels = rating_table(ratings), np.asarray(truth, dtype=np.float64)
    if labels.shape != (len(table),):
        raise BadInput(f"{len(table)} items need as many true labels, got {labels.size}.")
    wrong = ~(np.isnan(labels) | (labels == 0) | (labels == 1))
    if wrong.any():
        raise BadInput("A true label is not 0, 1 or missing.", row=int(np.argmax(wrong)) + 1)
    seen = np.isfinite(table)
    count = seen.sum(axis=1)
    mean = np.where(seen, table, 0.0).sum(axis=1) / np.maximum(count, 1)
    unsafe, safe = (mean[(labels == label) & (count > 0)] for label in (1, 0))
    if not unsafe.size or not safe.size:
        return Polarity(None, unsafe.size, safe.size, False, "no rated item of each true label")
    above = float(stats.mannwhitneyu(unsafe, safe).statistic)
    auc = above / (unsafe.size * safe.size)
    if auc >= 0.5:
        return Polarity(auc, unsafe.size, safe.size, False)
    p = float(stats.mannwhitneyu(unsafe, safe, alternative="less").pvalue)
    return Polarity(auc, unsafe.size, safe.size, True, p=p)
