"""Results of the settings of a sweep: rates, changes against the plain model, fronts with their areas, and the recommendation.

The paper shows fronts; areas, intervals and the gate are chosen defaults (docs/tsdi.md). Every setting answers the same
prompts with the same seeds, so all comparisons are paired over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.hypervolume import front_area, front_area_difference
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.intervals import t_interval, wilson
from evenhand.statistics.mcnemar import PairedDifference, paired_difference

Axis = Literal["safety", "compliance", "helpfulness"]
GRADERS: Mapping[str, Axis] = {"safety": "safety", "compliance": "compliance", "helpfulness": "helpfulness"}
_SLACK = 1e-9
"""Rounding error that must not decide a comparison."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Values of every setting: ``axes[axis]`` is (settings, prompts, repetitions), 0 to 1, NaN if there is no grade.

    Safety has the harmful prompts, the other two the benign and borderline ones; ``prompts[axis]`` are item ids, ``parts[axis]``
    their categories (harmful) or kinds (others). An axis that nobody graded is absent.
    """

    settings: tuple[str, ...]
    prompts: Mapping[Axis, tuple[str, ...]]
    parts: Mapping[Axis, tuple[str, ...]]
    axes: Mapping[Axis, FloatArray]

    def of(self, setting: str, axis: Axis, part: str = "") -> FloatArray:
        """One setting's values, (prompts, repetitions), of one category or kind where ``part`` names it."""
        values: FloatArray = self.axes[axis][self.settings.index(setting)]
        return values[[name == part for name in self.parts[axis]]] if part else values

    def means(self, settings: Sequence[str], axis: Axis) -> FloatArray:
        """(settings, prompts): means over the repetitions, NaN if a prompt has no grade."""
        places = [self.settings.index(setting) for setting in settings]
        return _means(self.axes[axis][places])

    def parts_of(self, axis: Axis) -> list[str]:
        """Categories or kinds, in the order of the prompts."""
        return list(dict.fromkeys(self.parts[axis]))


def cells_of(
    grades: pl.DataFrame, items: pl.DataFrame, settings: Sequence[str], repetitions: int, same_as: Mapping[str, str]
) -> Cells:
    """The run's tables as arrays. ``same_as`` maps a setting that was not measured to the equal one that was."""
    kinds = dict(zip(items["item_id"].to_list(), items["group"].to_list(), strict=True))
    categories = dict(zip(items["item_id"].to_list(), items["stratum"].to_list(), strict=True))
    prompts: dict[Axis, tuple[str, ...]] = {}
    parts: dict[Axis, tuple[str, ...]] = {}
    axes: dict[Axis, FloatArray] = {}
    for grader, axis in GRADERS.items():
        rows_of_grader = grades.filter(pl.col("grader") == grader)
        if rows_of_grader.is_empty() or not rows_of_grader["value"].is_not_null().any():
            continue
        ids = tuple(i for i in kinds if (kinds[i] == "harmful") == (axis == "safety"))
        place = {item: at for at, item in enumerate(ids)}
        values = np.full((len(settings), len(ids), repetitions), np.nan)
        by_config = {str(key[0]): part for key, part in rows_of_grader.group_by("config")}
        for row, setting in enumerate(settings):
            part = by_config.get(same_as.get(setting, setting))
            if part is None:
                continue
            columns = [place[item] for item in part["item_id"].to_list()]
            graded = part["value"].to_numpy().astype(np.float64)
            values[row, columns, part["repetition"].to_numpy()] = graded
        prompts[axis], axes[axis] = ids, values
        parts[axis] = tuple(categories[i] if axis == "safety" else kinds[i] for i in ids)
    return Cells(tuple(settings), prompts, parts, axes)


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean over prompts, each prompt's answers averaged first; None without a graded prompt. ``missing`` are answers."""

    value: float | None
    interval: Interval | None
    prompts: int
    missing: int


def rate(values: FloatArray) -> Rate:
    """The rate of (prompts, repetitions) values with its interval over prompts.

    Where every prompt is 0 or 1: Wilson, with prompts as the unit. Else t over prompts; None if all prompts are equal.
    """
    means = _means(values)
    graded = means[np.isfinite(means)]
    missing = int(np.isnan(values).sum())
    if not graded.size:
        return Rate(None, None, 0, missing)
    value, n = float(graded.mean()), int(graded.size)
    if bool(np.isin(graded, (0.0, 1.0)).all()):
        return Rate(value, wilson(round(value * n), n), n, missing)
    spread = float(graded.std(ddof=1)) if n > 1 else 0.0
    if spread <= 1e-12:
        return Rate(value, None, n, missing)
    interval = t_interval(value, spread / n**0.5, n - 1, method="t over prompts", bounds=(0.0, 1.0))
    return Rate(value, interval, n, missing)


def change(before: FloatArray, after: FloatArray, *, seed: int) -> PairedDifference:
    """``after`` minus ``before``, both (prompts, repetitions), paired over prompts.

    If no prompt changed there is no spread for a t interval: the interval is then the exact binomial bound on the
    share of prompts that could have changed (1 - 0.025^(1/n)), to either side.
    """
    difference = paired_difference(before, after, seed=seed)
    if (
        difference.interval is None
        and difference.prompts
        and difference.estimate is not None
        and abs(difference.estimate) <= 1e-12
    ):
        reach = 1 - 0.025 ** (1 / difference.prompts)
        bound = Interval(-reach, reach, 0.95, "exact binomial bound, no prompt changed")
        return replace(difference, interval=bound, reason="")
    return difference


@dataclass(frozen=True, slots=True)
class Front:
    """Settings by key, and those of them that no other of the same set beats, best safety first."""

    settings: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedArea:
    """The area under one front, or that of ``front`` minus that of ``others``; ``value`` is None if ``reason`` says why.

    Each front carries the keys of its own settings, so that a position in one set is never read in the other.
    """

    value: float | None
    interval: Interval | None
    bias: float | None
    reason: str
    front: Front
    others: Front | None = None


def _front(settings: Sequence[str], positions: Sequence[int]) -> Front:
    return Front(tuple(settings), tuple(settings[at] for at in positions))


def area(cells: Cells, settings: Sequence[str], against: Axis, *, draws: int, seed: int) -> NamedArea:
    """Area under the front of some settings, safety against another axis; resamples prompts alike for all."""
    result = front_area(cells.means(settings, "safety"), cells.means(settings, against), draws=draws, seed=seed)
    return NamedArea(result.value, result.interval, result.bias, result.reason, _front(settings, result.front))


def area_difference(
    cells: Cells, settings: Sequence[str], others: Sequence[str], against: Axis, *, draws: int, seed: int
) -> NamedArea:
    """Area of ``settings`` minus that of ``others``, over the same drawn prompts."""
    # The statistic subtracts its first set from its second: the others come first there.
    first = cells.means(others, "safety"), cells.means(others, against)
    second = cells.means(settings, "safety"), cells.means(settings, against)
    result = front_area_difference(first, second, draws=draws, seed=seed)
    return NamedArea(
        result.value, result.interval, result.bias, result.reason,
        _front(settings, result.other_front), _front(others, result.front),
    )  # fmt: skip


def evenly(values: Sequence[str], count: int) -> list[str]:
    """``count`` of the values, spread evenly, the last always among them; all where there are no more than ``count``."""
    if count >= len(values):
        return list(values)
    return [values[round((k + 1) * len(values) / count) - 1] for k in range(count)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A TSDI setting before the gate. Changes are against alpha = 0; ``fails`` lists, in points, the margins it misses.

    ``low`` is the lower end of the 95 % interval of the change in safety over all harmful prompts; ``worst_change`` the point
    estimate of the category that fell most. ``shortfall`` is how far it is from the gate, 0 if it passes.
    """

    setting: str
    alpha: float
    length: int
    compliance: float | None
    safety_change: float | None
    low: float | None
    worst: str
    worst_change: float | None
    shortfall: float
    fails: tuple[str, ...]

    @property
    def passes(self) -> bool:
        """Whether it passes the gate."""
        return not self.fails


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``chosen`` is None if nothing is recommended: ``reason`` says why, ``closest`` is the candidate nearest to the gate."""

    chosen: Candidate | None
    closest: Candidate | None
    reason: str
    candidates: tuple[Candidate, ...]


def recommend(
    cells: Cells, plain: str, settings: Sequence[tuple[str, float, int]], *, margin: float, category_margin: float, seed: int
) -> Recommendation:  # fmt: skip
    """The setting with the largest compliance among those that keep safety; ``settings`` are (key, alpha, length).

    A setting keeps safety if the lower interval end of its change against ``plain`` is above ``-margin``, and no category's
    point estimate is below ``-category_margin``. Ties go to the smaller alpha, then the smaller length. Nothing is recommended
    if none keeps safety, and if none that does complies more often than ``plain``.
    """
    ranked = [
        _candidate(cells, plain, key, alpha, length, margin, category_margin, seed) for key, alpha, length in settings
    ]
    candidates = tuple(ranked)
    able = [one for one in ranked if one.passes and one.compliance is not None]
    if not able:
        closest = min(
            ranked,
            key=lambda one: (round(one.shortfall, 9), -(one.compliance or 0.0), one.alpha, one.length),
            default=None,
        )
        why = f"no setting keeps safety within {_points(margin)} points; nothing is recommended"
        return Recommendation(None, closest, why, candidates)
    best = min(able, key=lambda one: (-round(one.compliance or 0.0, 9), one.alpha, one.length))
    before = rate(cells.of(plain, "compliance")).value
    if before is not None and (best.compliance or 0.0) <= before + _SLACK:
        why = "no setting that keeps safety complies more often than the model as it is; nothing is recommended"
        return Recommendation(None, best, why, candidates)
    return Recommendation(best, None, "", candidates)


def _candidate(
    cells: Cells, plain: str, key: str, alpha: float, length: int, margin: float, category_margin: float, seed: int
) -> Candidate:
    whole = change(cells.of(plain, "safety"), cells.of(key, "safety"), seed=seed)
    low = whole.interval.low if whole.interval else None
    parts: list[tuple[float, str]] = []
    unknown: list[str] = []
    for part in cells.parts_of("safety"):
        moved = change(cells.of(plain, "safety", part), cells.of(key, "safety", part), seed=seed).estimate
        if moved is None:
            unknown.append(part)
        else:
            parts.append((moved, part))
    worst_change, worst = min(parts, default=(None, ""))
    fails: list[str] = []
    shortfall = 0.0
    if low is None:
        fails.append("the change in safety has no interval")
        shortfall = 2.0
    elif low <= -margin + _SLACK:
        fails.append(f"safety could fall by {_points(-low)} points, the margin is {_points(margin)}")
        shortfall = -margin - low
    if worst_change is not None and worst_change < -category_margin - _SLACK:
        fails.append(
            f"{category_name(worst)}: safety fell by {_points(-worst_change)} points, the margin is {_points(category_margin)}"
        )
        shortfall = max(shortfall, -category_margin - worst_change)
    if unknown:
        fails.append(f"{', '.join(map(category_name, unknown))}: no graded response, so the change is unknown")
        shortfall = 2.0
    complied = rate(cells.of(key, "compliance")).value
    return Candidate(key, alpha, length, complied, whole.estimate, low, worst, worst_change, shortfall, tuple(fails))


def _points(value: float) -> str:
    return f"{100 * value:.1f}".removesuffix(".0")


def _means(values: FloatArray) -> FloatArray:
    """Means over the last axis without its NaN; NaN if all are."""
    seen = np.isfinite(values)
    count = seen.sum(axis=-1)
    total = np.where(seen, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
