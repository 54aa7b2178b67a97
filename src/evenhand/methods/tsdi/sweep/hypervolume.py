"""The area that settings dominate in the square of safety and compliance, with bootstrap intervals over prompts.

Both axes run from 0 to 1 and more is better; the reference point is (0, 0). The paper shows only the scatter: hypervolume, its
reference point and its interval are chosen defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.intervals import t_interval
from evenhand.statistics.resampling import DRAWS, cluster_weights

_CHUNK = 2_000_000
NO_POINT = "no setting has both a safety and a compliance rate"
FEW_PROMPTS = "fewer than 2 prompts on an axis: no interval"
NO_SPREAD = "every bootstrap draw gives the same area: no interval"


@dataclass(frozen=True, slots=True, eq=False)
class FrontArea:
    """A hypervolume, or the difference of two, in 0 to 1 (a difference: -1 to 1); None if ``reason`` says why.

    ``points`` is (settings, 2): each setting's safety and compliance, NaN if it has none; ``front`` are the positions of the
    settings that no other beats. For a difference both belong to the first set and ``other_points``, ``other_front`` to the
    second. ``draws`` are the bootstrap areas, ``bias`` their mean minus the value; the interval lies around value - bias.
    """

    value: float | None
    interval: Interval | None
    points: FloatArray
    front: tuple[int, ...]
    draws: FloatArray | None
    reason: str = ""
    other_points: FloatArray | None = None
    other_front: tuple[int, ...] = ()
    bias: float | None = None


def pareto_indexes(points: ArrayLike) -> tuple[int, ...]:
    """Positions of the points that no other beats (at least as good on both axes and better on one), best safety first.

    ``points`` is (settings, 2). Equal points all stay; a point with a NaN is left out. Raises BadInput as `hypervolume`.
    """
    table = _points(points)
    whole = np.asarray(np.isfinite(table).all(axis=1), dtype=np.bool_)
    at_least = (table[None, :, :] >= table[:, None, :]).all(axis=2)
    above = (table[None, :, :] > table[:, None, :]).any(axis=2)
    beaten = (at_least & above & whole[None, :]).any(axis=1)
    kept = np.flatnonzero(whole & ~beaten)
    return tuple(int(at) for at in kept[np.lexsort((kept, table[kept, 1], -table[kept, 0]))])


def hypervolume(points: ArrayLike) -> float | None:
    """Area of the union of the rectangles from (0, 0) to each point, (settings, 2), exact; None without a whole point.

    A point with a NaN is left out. Raises BadInput for another shape and for a coordinate beyond 0 to 1.
    """
    table = _points(points)
    whole = np.isfinite(table).all(axis=1)
    return float(_areas(table[None, whole, :])[0]) if whole.any() else None


def front_area(
    safety: ArrayLike, comply: ArrayLike, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> FrontArea:
    """The hypervolume of settings with a bootstrap interval that resamples prompts, alike for every setting.

    ``safety`` is (settings, harmful prompts), ``comply`` (settings, benign prompts): each cell the mean of the answers to a
    prompt, 0 to 1, NaN if it is missing. A missing cell is left out of its setting's mean; a setting without any cell on an
    axis has no point. In a draw harmful and benign prompts are drawn anew, each with replacement, the same ones for all settings;
    a setting that loses all its cells has no point in that draw. An area over noisy points is too large, the more so the more
    settings lie close together, so the interval is value - bias +- t x standard error with bias and error of the draws and one
    degree of freedom less than the prompts of the shorter axis. In simulations it held 90 to 96 % of the time on 1 to 12 settings
    along a curve (percentiles: 75 to 95 %), and 71 % with 8 equal settings and 60 prompts: a front of settings that hardly differ
    is still read too high. None with fewer than two prompts on an axis, or if every draw gives the same area. Raises BadInput for
    unequal numbers of settings and values beyond 0 to 1.
    """
    cells = _pair(safety, comply)
    points = _rates(cells)
    value, front = hypervolume(points), pareto_indexes(points)
    if value is None:
        return FrontArea(None, None, points, (), None, NO_POINT)
    if _fewest(cells) < 2:
        return FrontArea(value, None, points, front, None, FEW_PROMPTS)
    (drawn,) = _bootstrap([cells], draws, seed)
    return _finished(FrontArea(value, None, points, front, None), value, drawn, _fewest(cells), level)


def front_area_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> FrontArea:
    """The second hypervolume minus the first; each is (safety, comply) as for `front_area`, over the same prompts in one order.

    Both use the same drawn prompts, so the interval is that of the paired difference. More settings alone make a larger area:
    compare sets of equal size. Raises BadInput for unequal prompts.
    """
    one, two = _pair(*first), _pair(*second)
    if any(a.shape[1] != b.shape[1] for a, b in zip(one, two, strict=True)):
        raise BadInput("The two sets of settings have unequal numbers of prompts.", do="Give both the same prompts.")
    points, others = _rates(one), _rates(two)
    areas = hypervolume(points), hypervolume(others)
    front, other_front = pareto_indexes(points), pareto_indexes(others)
    if areas[0] is None or areas[1] is None:
        return FrontArea(None, None, points, front, None, NO_POINT, others, other_front)
    value = areas[1] - areas[0]
    if _fewest(one) < 2:
        return FrontArea(value, None, points, front, None, FEW_PROMPTS, others, other_front)
    drawn_one, drawn_two = _bootstrap([one, two], draws, seed)
    area = FrontArea(value, None, points, front, None, "", others, other_front)
    return _finished(area, value, drawn_two - drawn_one, _fewest(one), level)


_Cells = tuple[FloatArray, FloatArray]


def _bootstrap(sets: list[_Cells], draws: int, seed: int) -> list[FloatArray]:
    """The areas of each set of settings in each draw, (draws,) each, all from the same drawn prompts."""
    harmful = cluster_weights(sets[0][0].shape[1], draws, seed)
    benign = cluster_weights(sets[0][1].shape[1], draws, seed + 1)
    out: list[FloatArray] = []
    for safety, comply in sets:
        areas = np.empty(draws)
        step = max(1, _CHUNK // max(1, safety.shape[0]))
        for start in range(0, draws, step):
            part = slice(start, min(draws, start + step))
            rates = [_weighted(weights[part], cells) for weights, cells in ((harmful, safety), (benign, comply))]
            points = np.stack(rates, axis=2)
            whole = np.isfinite(points).all(axis=2, keepdims=True)
            areas[part] = _areas(np.where(whole, points, 0.0))  # a point at the reference has no area
        out.append(areas)
    return out


def _weighted(weights: FloatArray, cells: FloatArray) -> FloatArray:
    """Each setting's mean over its seen cells in each draw, (draws, settings)."""
    seen = np.isfinite(cells)
    total, held = weights @ np.where(seen, cells, 0.0).T, weights @ seen.T.astype(np.float64)
    return np.clip(quotient(total, held, held > 0), 0.0, 1.0)


def _areas(points: FloatArray) -> FloatArray:
    """Areas of many sets of whole points, (draws, settings, 2) to (draws,): a sweep from the best safety down."""
    order = np.argsort(-points[:, :, 0], axis=1, kind="stable")
    x = np.take_along_axis(points[:, :, 0], order, axis=1)
    height = np.maximum.accumulate(np.take_along_axis(points[:, :, 1], order, axis=1), axis=1)
    following = np.concatenate([x[:, 1:], np.zeros((len(x), 1))], axis=1)
    return np.asarray(((x - following) * height).sum(axis=1), dtype=np.float64)


def _finished(area: FrontArea, value: float, draws: FloatArray, prompts: int, level: float) -> FrontArea:
    """``area`` with the bias and the bias-corrected t interval of its draws; ``prompts`` is the smaller number of an axis."""
    bias = float(draws.mean()) - value
    error = float(draws.std(ddof=1)) * math.sqrt(prompts / (prompts - 1))
    if error <= 1e-12:
        return replace(area, bias=bias, draws=draws, reason=NO_SPREAD)
    floor = 0.0 if area.other_points is None else -1.0
    interval = t_interval(
        value - bias, error, prompts - 1, level, method="bootstrap over prompts, bias-corrected t", bounds=(floor, 1.0)
    )
    return replace(area, interval=interval, bias=bias, draws=draws)


def _fewest(cells: _Cells) -> int:
    return min(int(cells[0].shape[1]), int(cells[1].shape[1]))


def _rates(cells: _Cells) -> FloatArray:
    """Safety and compliance of each setting, (settings, 2)."""
    return np.concatenate([_weighted(np.ones((1, part.shape[1])), part) for part in cells]).T


def _pair(safety: ArrayLike, comply: ArrayLike) -> _Cells:
    parts = np.asarray(safety, dtype=np.float64), np.asarray(comply, dtype=np.float64)
    for name, part in zip(("Safety", "Compliance"), parts, strict=True):
        if part.ndim != 2:
            raise BadInput(f"{name} must be (settings, prompts).")
        if not _in_range(part):
            raise BadInput(f"{name} holds a value outside 0 to 1.")
    if len(parts[0]) != len(parts[1]):
        raise BadInput(f"Safety has {len(parts[0])} settings, compliance {len(parts[1])}.")
    return parts


def _points(points: ArrayLike) -> FloatArray:
    table = np.asarray(points, dtype=np.float64)
    if table.size == 0:
        table = table.reshape(0, 2)
    if table.ndim != 2 or table.shape[1] != 2:
        raise BadInput("Points must be (settings, 2): safety and compliance.")
    if not _in_range(table):
        raise BadInput("A coordinate of a point is outside 0 to 1.")
    return table


def _in_range(values: FloatArray) -> bool:
    return bool((np.isnan(values) | ((values >= 0) & (values <= 1))).all())
