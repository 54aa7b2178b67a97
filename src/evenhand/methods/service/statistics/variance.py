"""The standard error behind the default interval: names and stems both vary, and neither is counted twice.

For a weighted sum of group rates (a difference has weights +1 and -1) on a names x stems matrix:

    V = V_names + V_stems - V_cells

V_names is the variance of the mean over names in each group, V_stems that of the per-stem sums (stems are shared by
the groups, so their common effect cancels), and V_cells, the residual of the two-way table, is what both of them
hold. This is two-way cluster-robust variance (Cameron, Gelbach and Miller 2011; Miglioretti and Heagerty 2007) with
the moment estimates of a two-way analysis of variance; V is not let below the larger of its first two parts. Degrees
of freedom after Satterthwaite (1946).

A dominating name. A list of names may hold one that is treated unlike all others of its group, always. Such a name is
not a random draw, as the largest town is not in a survey of towns: it is a self-representing (certainty) unit, kept
in the estimate at its own weight, with only the other names drawn (Cochran 1977; the rule for finding it is our
choice).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenhand.statistics.cells import Cells, FloatArray, name_values
from evenhand.statistics.intervals import t_quantile

DOMINATION_ALPHA = 0.01
"""Level of the outlier test that finds a dominating name, over the names of one group. A chosen default."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One term of the sum: the weight of a group's rate, its (names, stems) cells, and the row held fixed, if any."""

    weight: float
    values: FloatArray
    fixed: int | None = None


@dataclass(frozen=True, slots=True)
class Variance:
    """A variance with its three components and degrees of freedom; its square root has the unit of the estimate."""

    names: float
    stems: float
    cells: float
    total: float
    df: float

    @property
    def standard_error(self) -> float:
        """Square root of the total."""
        return math.sqrt(self.total)


@dataclass(frozen=True, slots=True)
class _Within:
    names: float
    cells: float
    name_df: int


def _within(values: FloatArray, fixed: int | None) -> _Within:
    """Name and cell variance of one group's rate; ``fixed`` takes no part as a draw."""
    seen = np.isfinite(values)
    stems = values.shape[1]
    per_stem = np.maximum(seen.sum(axis=0), 1)
    share = seen / (per_stem * stems)
    drawn = np.ones(len(values), dtype=bool)
    if fixed is not None:
        drawn[fixed] = False
    n = int(drawn.sum())
    if n < 2:
        return _Within(0.0, 0.0, 0)
    block, block_seen, block_share = values[drawn], seen[drawn], share[drawn]
    level = name_values(block)
    weight = block_share.sum(axis=1)
    names = float((weight**2 * (level - level.mean()) ** 2).sum() * n / (n - 1))
    df_cells = int(block_seen.sum()) - n - int(block_seen.any(axis=0).sum()) + 1
    if stems < 2 or df_cells < 1:
        return _Within(names, 0.0, n - 1)
    count = block_seen.sum(axis=0)
    stem_mean = np.where(block_seen, block, 0.0).sum(axis=0) / np.maximum(count, 1)
    residual = np.where(block_seen, block - level[:, None] - stem_mean + level.mean(), 0.0)
    mean_square = float((residual**2).sum()) / df_cells
    return _Within(names, mean_square * float((block_share**2).sum()), n - 1)


def cluster_variance(parts: Sequence[Part]) -> Variance | None:
    """The variance of the weighted sum of group rates; None when neither names nor stems vary enough to estimate it.

    Every part has the same stems in its columns. With one stem only names count; a group of one name adds no name
    variance (the caller says so). Zero variance (an outcome that is the same everywhere) gives total 0 and infinite
    df.
    """
    stems = parts[0].values.shape[1]
    within = [_within(part.values, part.fixed) for part in parts]
    names = [part.weight**2 * piece.names for part, piece in zip(parts, within, strict=True)]
    cells = sum(part.weight**2 * piece.cells for part, piece in zip(parts, within, strict=True))
    by_stem = 0.0
    if stems >= 2:
        sums = np.zeros(stems)
        for part in parts:
            seen = np.isfinite(part.values)
            means = np.where(seen, part.values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
            sums += part.weight * means
        by_stem = float(sums.var(ddof=1)) / stems
    elif all(piece.name_df == 0 for piece in within):
        return None
    by_name = sum(names)
    total = max(by_name + by_stem - cells, by_name, by_stem)
    if total <= 1e-24:
        return Variance(by_name, by_stem, cells, 0.0, math.inf)
    spent = sum(v * v / piece.name_df for v, piece in zip(names, within, strict=True) if piece.name_df)
    spent += by_stem**2 / (stems - 1) if stems >= 2 else 0.0
    return Variance(by_name, by_stem, cells, total, total * total / spent)


def _extreme(level: FloatArray) -> tuple[int, FloatArray]:
    at = int(np.argmax(np.abs(level - np.median(level))))
    return at, np.delete(level, at)


def dominating_names(cells: Cells, alpha: float = DOMINATION_ALPHA) -> dict[int, int]:
    """The name, if any, that dominates each group: ``{group code: row of cells}``.

    In each group of at least four names the name farthest from the median is compared with the others by an externally
    studentised t (Grubbs 1950), Bonferroni over the names of the group. The scale is the largest of the spread of the
    others, the same spread pooled over all groups, and the cell noise of a name's mean, so that a trifle in a very even
    group is not called dominating.
    """
    levels: dict[int, FloatArray] = {}
    rows: dict[int, np.ndarray[tuple[int], np.dtype[np.intp]]] = {}
    for code in cells.codes.tolist():
        index = np.flatnonzero((cells.groups == code) & np.isfinite(cells.values).any(axis=1))
        if index.size >= 4:
            levels[code], rows[code] = name_values(cells.values[index]), index
    if not levels:
        return {}
    trimmed = {code: _extreme(level) for code, level in levels.items()}
    spent = sum(others.size - 1 for _, others in trimmed.values())
    pooled = sum(float(others.var(ddof=1)) * (others.size - 1) for _, others in trimmed.values()) / spent
    found: dict[int, int] = {}
    for code, (at, others) in trimmed.items():
        noise = _within(cells.values[rows[code]], None).cells * levels[code].size
        scale = math.sqrt(max(float(others.var(ddof=1)), pooled, noise))
        distance = abs(float(levels[code][at]) - float(others.mean()))
        limit = t_quantile(1 - alpha / (2 * levels[code].size), others.size - 1)
        if distance > 1e-12 and distance > limit * scale * math.sqrt(1 + 1 / others.size):
            found[code] = int(rows[code][at])
    return found
