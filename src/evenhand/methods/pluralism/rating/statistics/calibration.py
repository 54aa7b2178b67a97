"""Calibrated sensitivity: does a model's rating move with the group as the ratings of people of that group do?

A chosen default, not published: a sensitivity of 0 is not a virtue if people differ. A contrast is c[i,g] = y[i,g] minus the
mean over groups of y[i,.]. The model's contrasts are correlated with the human ones and regressed on them. Human contrasts are
noisy, so the correlation is divided by the square root of their split-half reliability (Spearman 1904). Noise in the regressor
shrinks a slope by the reliability itself (Fuller 1987), so the slope is divided by that.

Label distributions are compared by log loss and Wasserstein distance, as means over items, one row per group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.grasp import two_sided_p
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups, one_hot
from evenhand.methods.pluralism.rating.statistics.sensitivity import (
    PERMUTATIONS,
    group_means,
    permutation_draws,
    whole_items,
)
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.icc import spearman_brown
from evenhand.statistics.intervals import normal_quantile
from evenhand.statistics.krippendorff import label_indicators
from evenhand.statistics.two_way import label_table, rating_table

SPLITS = 200
"""Random halves whose correlations are averaged. A chosen default."""

FEW_GROUPS = "fewer than 2 groups have enough raters"
FEW_ITEMS = "fewer than 3 items are rated by every group and by the model"
HUMAN_FLAT = "the human contrasts do not vary"
MODEL_FLAT = "the model's ratings do not vary with the group"
UNRELIABLE = "the human contrasts do not repeat from one half of the raters to the other"
LEAST_PROBABILITY = 1e-6
"""Floor of a model's probability in the log loss; how often it applies is reported. A chosen default."""


@dataclass(frozen=True, slots=True)
class SplitHalf:
    """Mean correlation of two halves, and the reliability of the whole by Spearman and Brown; None if undefined."""

    half: float | None
    reliability: float | None
    splits: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GroupCalibration:
    """Correlation and slope over the items of one group, None if undefined."""

    group: str
    raters: int
    correlation: float | None
    slope: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Model contrasts against human ones, pooled over items and groups.

    ``correlation`` and ``slope`` (model on human) as measured; ``corrected_correlation`` (may exceed 1) and
    ``corrected_slope`` with the noise of the human contrasts removed. Intervals are normal, by a jackknife over raters
    and over items whose variances are added, and take the reliability as known. ``p`` is the two-sided permutation
    test with group labels shuffled over the human raters. ``reasons`` says why a field is None.
    """

    correlation: float | None
    correlation_interval: Interval | None
    corrected_correlation: float | None
    slope: float | None
    slope_interval: Interval | None
    corrected_slope: float | None
    reliability: SplitHalf
    p: float | None
    groups: tuple[GroupCalibration, ...]
    items: int
    reasons: dict[str, str]


def contrasts(means: FloatArray) -> FloatArray:
    """Each group's mean minus the mean over groups; ``means`` (items, groups, ...), NaN if any group is missing."""
    return np.asarray(means - means.mean(axis=1, keepdims=True))


def _sums(human: FloatArray, model: FloatArray) -> FloatArray:
    """Per item: sum over groups of h m, h h, m m, (3, items, sets); 0 where an item is not whole."""
    whole = whole_items(human) & whole_items(model)
    h, m = (np.where(whole[:, None], side, 0.0) for side in (human, model))
    return np.stack([(h * m).sum(axis=1), (h * h).sum(axis=1), (m * m).sum(axis=1)])


def _coefficients(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Correlation and slope from sums (3, ...); contrasts have mean 0 on every item, so no centring is left to do."""
    both, human, model = sums
    floor = 1e-24
    usable = (human > floor) & (model > floor)
    return quotient(both, np.sqrt(human * model), usable), quotient(both, human, human > floor)


def split_half(ratings: ArrayLike, groups: RaterGroups, *, splits: int = SPLITS, seed: int = 0) -> SplitHalf:
    """Split-half reliability of human contrasts; ``ratings`` (items, raters), NaN where missing.

    In each split the raters of every group are cut at random into two halves (an odd one goes to the second), the
    contrasts of both halves are correlated over items and groups, and the mean correlation is stepped up to the full
    number of raters. May be negative. None if a group has one rater or the contrasts do not vary.
    """
    table = rating_table(ratings)
    if table.shape[1] != groups.codes.size:
        raise BadInput(f"{table.shape[1]} raters in the ratings, {groups.codes.size} in the groups.")
    if splits < 1:
        raise BadInput(f"Split-half reliability needs at least one split, got {splits}.")
    size = len(groups.names)
    if size < 2 or min(groups.sizes) < 2:
        return SplitHalf(None, None, splits, FEW_GROUPS if size < 2 else "a group has fewer than 2 raters")
    generator = np.random.default_rng([seed, 24])
    first = np.full((splits, groups.codes.size), -1)
    second = first.copy()
    for code in range(size):
        members = np.flatnonzero(groups.codes == code)
        order = members[np.argsort(generator.random((splits, members.size)), axis=1)]
        half = members.size // 2
        np.put_along_axis(first, order[:, :half], code, axis=1)
        np.put_along_axis(second, order[:, half:], code, axis=1)
    sides = [contrasts(group_means(table, codes, size).means) for codes in (first, second)]
    halves = _coefficients(_sums(*sides).sum(axis=1))[0]
    finite = halves[np.isfinite(halves)]
    if finite.size < 0.95 * splits:
        return SplitHalf(None, None, splits, HUMAN_FLAT)
    half_value = float(finite.mean())
    whole = spearman_brown(half_value, 2)
    return SplitHalf(half_value, whole, splits, "" if whole is not None else UNRELIABLE)


def calibrated_sensitivity(
    human: ArrayLike,
    groups: RaterGroups,
    model: ArrayLike,
    *,
    level: float = 0.95,
    splits: int = SPLITS,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Calibration:
    """Calibrated sensitivity of one model on one axis.

    ``human`` (items, raters), NaN where missing; ``model`` (items, groups) is the model's mean rating under each of
    ``groups.names``, in that order, NaN where missing. Items count where every group and the model have a rating.
    Raises BadInput if the shapes do not fit.
    """
    table, answers = rating_table(human), rating_table(model)
    size = len(groups.names)
    if answers.shape != (len(table), size):
        raise BadInput(f"The model's ratings must be {len(table)} items x {size} groups, got {answers.shape}.")
    reliability = split_half(table, groups, splits=splits, seed=seed)
    if size < 2:
        return _undefined(reliability, 0, FEW_GROUPS)
    mine = contrasts(answers)[:, :, None]
    people = contrasts(group_means(table, groups.codes[None, :], size).means)
    whole = (whole_items(people) & whole_items(mine))[:, 0]
    items = int(whole.sum())
    per_item = _sums(people, mine)
    r, b = (float(x[0]) for x in _coefficients(per_item.sum(axis=1)))
    if items < 3 or math.isnan(b):
        return _undefined(reliability, items, FEW_ITEMS if items < 3 else HUMAN_FLAT)
    reasons: dict[str, str] = {}
    correlation = None if math.isnan(r) else r
    if correlation is None:
        reasons |= dict.fromkeys(("correlation", "corrected_correlation", "p"), MODEL_FLAT)
    r_error, b_error = _jackknife(table, groups, mine, per_item, whole)
    quantile = normal_quantile(0.5 + level / 2)
    method = "jackknife over raters and items, normal"
    slope_interval = Interval(b - quantile * b_error, b + quantile * b_error, level, method) if b_error > 0 else None
    interval = None
    if correlation is not None and r_error > 0 and abs(r) < 1:
        centre, half = math.atanh(r), quantile * r_error / (1 - r * r)
        interval = Interval(math.tanh(centre - half), math.tanh(centre + half), level, method + " on Fisher's z")
    for field, end in (("correlation_interval", interval), ("slope_interval", slope_interval)):
        if end is None:
            reasons[field] = reasons.get("correlation", "") or "no variation to estimate an error from"
    whole_value = reliability.reliability
    corrected, corrected_slope = None, None
    if whole_value is None or whole_value <= 0:
        for field in ("corrected_correlation", "corrected_slope"):
            reasons.setdefault(field, reliability.reason or UNRELIABLE)
    else:
        corrected = None if correlation is None else correlation / math.sqrt(whole_value)
        corrected_slope = b / whole_value
    p = None
    if permutations and correlation is not None:
        null = permutation_draws(
            table,
            groups,
            lambda found: _coefficients(_sums(contrasts(found.means), mine).sum(axis=1))[0][None, :],
            draws=permutations,
            seed=seed,
        )[0]
        p = two_sided_p(correlation, null)
        if p is None:
            reasons["p"] = "over 5 % of the permuted values are undefined"
    by_group = tuple(
        _one_group(name, count, people[whole, at, 0], mine[whole, at, 0])
        for at, (name, count) in enumerate(zip(groups.names, groups.sizes, strict=True))
    )
    return Calibration(
        correlation, interval, corrected, b, slope_interval, corrected_slope, reliability, p, by_group, items, reasons
    )  # fmt: skip


def _undefined(reliability: SplitHalf, items: int, why: str) -> Calibration:
    fields = ("correlation", "slope", "corrected_correlation", "corrected_slope", "p")
    reasons = dict.fromkeys(fields, why)
    return Calibration(None, None, None, None, None, None, reliability, None, (), items, reasons)


def _one_group(name: str, raters: int, human: FloatArray, model: FloatArray) -> GroupCalibration:
    h, m = human - human.mean(), model - model.mean()
    r, b = (float(x[0]) for x in _coefficients(np.array([[h @ m], [h @ h], [m @ m]])))
    return GroupCalibration(name, raters, None if math.isnan(r) else r, None if math.isnan(b) else b)


def _jackknife(
    table: FloatArray, groups: RaterGroups, model: FloatArray, per_item: FloatArray, whole: NDArray[np.bool_]
) -> tuple[float, float]:
    """Standard errors of correlation and slope: delete one rater of a group, and delete one item, variances added.

    The deleted raters of a group weigh as its own sample; a bootstrap would add noise to the human contrasts and so
    draw the correlation towards 0.
    """
    totals = per_item.sum(axis=1, keepdims=True)
    without = _coefficients((totals - per_item)[:, whole, 0])
    variances = np.array([_jackknife_variance(x) for x in without])
    for code, size in enumerate(groups.sizes):
        if size < 2:
            continue
        codes = np.repeat(groups.codes[None, :], size, axis=0)
        codes[np.arange(size), np.flatnonzero(groups.codes == code)] = -1
        left = _coefficients(_sums(contrasts(group_means(table, codes, len(groups.sizes)).means), model).sum(axis=1))
        variances += [_jackknife_variance(x) for x in left]
    return float(np.sqrt(variances[0])), float(np.sqrt(variances[1]))


def _jackknife_variance(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return (finite.size - 1) * float(finite.var()) if finite.size else 0.0


@dataclass(frozen=True, slots=True)
class LabelFit:
    """The fit for one group.

    ``log_loss`` (nats) is the mean over items of -sum p ln q, p being the human shares and q the model's
    probabilities; ``floor`` is the same with q = p, the entropy of the people, which no model beats. ``wasserstein`` is
    the mean distance of the two distributions in the unit of the label values. ``raised`` counts the probabilities that
    a rating met and that were below `LEAST_PROBABILITY`. None with a reason where no item has both.
    """

    group: str
    raters: int
    items: int
    log_loss: float | None
    floor: float | None
    wasserstein: float | None
    raised: int
    reason: str = ""


def label_fit(
    labels: ArrayLike, groups: RaterGroups, model: ArrayLike, values: Sequence[float]
) -> tuple[LabelFit, ...]:
    """The fit of ``model`` (items, groups, labels), probabilities in the order of ``groups.names``, NaN where missing.

    ``labels`` (items, raters) are the human label codes, -1 where missing, and ``values`` (labels,) what the labels
    mean, in rising order, for example ``(0, 0.5, 1)``. Raises BadInput if shapes do not fit, values do not
    rise, or probabilities are negative or do not add up to 1.
    """
    value = np.asarray(values, dtype=np.float64)
    if value.ndim != 1 or value.size < 2 or not (np.diff(value) > 0).all():
        raise BadInput("Label values must be at least two numbers in rising order.")
    codes, count = label_table(labels, value.size)
    if codes.shape[1] != groups.codes.size:
        raise BadInput(f"{codes.shape[1]} raters in the labels, {groups.codes.size} in the groups.")
    size = len(groups.names)
    given = np.asarray(model, dtype=np.float64)
    if given.shape != (len(codes), size, count):
        raise BadInput(f"Probabilities must be {len(codes)} items x {size} groups x {count} labels, got {given.shape}.")
    _check(given)
    if not size:
        return ()
    members = one_hot(groups.codes[None, :], size)[:, :, 0]
    counts = label_indicators(codes, count) @ members
    return tuple(
        _fit(name, groups.sizes[at], counts[:, :, at], given[:, at], np.diff(value))
        for at, name in enumerate(groups.names)
    )


def _check(model: FloatArray) -> None:
    missing = np.isnan(model).sum(axis=2)
    there = missing == 0
    partly = (missing > 0) & (missing < model.shape[2])
    wrong = ((model < 0) | np.isinf(model)).any(axis=2) | (there & (np.abs(model.sum(axis=2) - 1) > 1e-6))
    for mask, what in (
        (partly, "Some of the probabilities of one item and group are missing."),
        (wrong, "Probabilities are negative or do not add up to 1."),
    ):
        rows = np.flatnonzero(mask.sum(axis=1))
        if rows.size:
            raise BadInput(what, row=int(rows[0]) + 1)


def _fit(name: str, raters: int, counts: FloatArray, model: FloatArray, steps: FloatArray) -> LabelFit:
    total = counts.sum(axis=1)
    kept = (total > 0) & np.isfinite(model).all(axis=1)
    items = int(kept.sum())
    if not items:
        return LabelFit(name, raters, 0, None, None, None, 0, "no item has ratings of the group and of the model")
    p, q = counts[kept] / total[kept, None], model[kept]
    low = (q < LEAST_PROBABILITY) & (p > 0)
    loss = -(p * np.log(np.maximum(q, LEAST_PROBABILITY))).sum(axis=1)
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    gaps = np.abs(np.cumsum(p, axis=1) - np.cumsum(q, axis=1))[:, :-1]
    distance = gaps @ steps
    return LabelFit(
        name, raters, items, float(loss.mean()), float(entropy.mean()), float(distance.mean()), int(low.sum())
    )
