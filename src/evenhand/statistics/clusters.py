"""Clusters: means, bootstrap intervals, sign-flip tests and effect sizes where whole clusters are the unit of inference.

A cluster is a randomised unit that several rows share, for example a predicate within a group. The primary estimate is
the mean of cluster means, the secondary one the mean over rows. The paper's own intervals and tests could not be found;
everything here is a chosen default. The usual proposal is the percentile bootstrap,
which is too narrow with few clusters, so it is offered but is not the default; measured coverage is in
docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, IntArray, quotient
from evenhand.statistics.intervals import t_interval, t_quantile
from evenhand.statistics.permutation import PermutationTest
from evenhand.statistics.resampling import DRAWS, cluster_weights

Statistic = Literal["cluster mean", "row mean"]
Method = Literal["studentised", "Wilson", "expanded percentile", "percentile"]

EXACT_CLUSTERS = 16
"""With at most this many clusters every sign flip is listed (65,536 of them)."""

LEAST_CLUSTERS = 5
"""With fewer clusters a bootstrap has too few different draws; the interval is then Student's t. A chosen default."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterMeans:
    """The mean of every cluster, (clusters,), in the order in which the clusters first occur, with their row counts."""

    means: FloatArray
    labels: tuple[Hashable, ...]
    sizes: IntArray


def finite_values(values: ArrayLike, what: str = "Values") -> FloatArray:
    """``values`` as a (rows,) array. Raises BadInput naming the first row that is not finite, or another shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise BadInput(f"{what} must be one number a row, got the shape {array.shape}.")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise BadInput(f"{what}: not a finite number.", row=int(bad[0]) + 1, do="Leave failed rows out and count them.")
    return array


def cluster_means(values: ArrayLike, clusters: Sequence[Hashable]) -> ClusterMeans:
    """Mean of ``values`` (rows,) in every cluster; ``clusters`` (rows,) holds a label for each row.

    Raises BadInput where the lengths differ or a value is not finite. Without rows there are no clusters.
    """
    value = finite_values(values)
    if len(clusters) != value.size:
        raise BadInput(f"{value.size} values need as many cluster labels, got {len(clusters)}.")
    codes: dict[Hashable, int] = {}
    code = np.fromiter((codes.setdefault(label, len(codes)) for label in clusters), dtype=np.int64, count=value.size)
    sizes = np.bincount(code, minlength=len(codes)).astype(np.int64)
    means = np.bincount(code, weights=value, minlength=len(codes)) / sizes
    return ClusterMeans(np.asarray(means, dtype=np.float64), tuple(codes), sizes)


def interval_reason(means: ArrayLike) -> str:
    """Why cluster means (clusters,) allow no interval; empty where they do."""
    value = np.asarray(means, dtype=np.float64)
    if value.size < 2:
        return "one cluster" if value.size else "no cluster"
    return "" if np.ptp(value) > _tolerance(value) else "no variation between clusters"


def _tolerance(values: FloatArray) -> float:
    return 1e-12 * max(1e-300, float(np.abs(values).max(initial=0.0)))


def _parts(grouped: ClusterMeans, statistic: Statistic) -> tuple[FloatArray, FloatArray]:
    """Totals and weights whose quotient of sums is the statistic."""
    if statistic == "row mean":
        return grouped.means * grouped.sizes, grouped.sizes.astype(np.float64)
    return grouped.means, np.ones(grouped.means.size)


def standard_error(grouped: ClusterMeans, statistic: Statistic = "cluster mean") -> float | None:
    """Standard error of the statistic with clusters as the unit, in the unit of the values; None with fewer than two.

    For the row mean it is the linearised error of a ratio of sums (Cochran 1977), which for clusters of one size is the
    ordinary error of their mean.
    """
    count = grouped.means.size
    if count < 2:
        return None
    totals, weights = _parts(grouped, statistic)
    residual = totals - weights * (totals.sum() / weights.sum())
    return float(math.sqrt(count / (count - 1) * float(residual @ residual)) / weights.sum())


def cluster_draws(
    grouped: ClusterMeans, *, draws: int = DRAWS, seed: int = 0, statistic: Statistic = "cluster mean"
) -> FloatArray:
    """Bootstrap draws of the statistic, (draws,). Two outcomes with as many clusters in one order share their weights."""
    totals, weights = _parts(grouped, statistic)
    drawn = cluster_weights(totals.size, draws, seed)
    return np.asarray((drawn @ totals) / (drawn @ weights), dtype=np.float64)


def _studentised(
    grouped: ClusterMeans, draws: int, seed: int, level: float, statistic: Statistic, unit: str
) -> Interval | None:
    """Bootstrap t; None where a tail holds draws without any spread, so that an end would be infinite."""
    totals, weights = _parts(grouped, statistic)
    estimate, count = totals.sum() / weights.sum(), totals.size
    residual = totals - weights * estimate
    drawn = cluster_weights(count, draws, seed)
    table = np.stack([residual, weights, residual**2, residual * weights, weights**2], axis=1)
    shift_total, size, squares, cross, size_squares = (drawn @ table).T
    shift = shift_total / size
    variance = np.maximum(squares - 2 * shift * cross + shift**2 * size_squares, 0.0) * count / (count - 1)
    flat = variance <= 1e-13 * float(residual @ residual)
    still = np.abs(shift_total) <= _tolerance(residual)
    ratio = quotient(shift * size, np.sqrt(variance), ~flat)
    ratio[flat] = np.where(still, 0.0, np.copysign(np.inf, shift))[flat]
    low, high = np.quantile(ratio, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
    error = standard_error(grouped, statistic)
    if error is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    ends = float(estimate - high * error), float(estimate - low * error)
    return Interval(*ends, level, f"studentised bootstrap {unit}")


def _wilson(grouped: ClusterMeans, level: float, statistic: Statistic, unit: str) -> Interval | None:
    """Wilson's interval at the effective number of rows p (1 - p) / error^2, with a t quantile."""
    count = grouped.means.size
    totals, weights = _parts(grouped, statistic)
    rate = float(totals.sum() / weights.sum())
    error = standard_error(grouped, statistic) or 0.0
    if interval_reason(grouped.means):
        if rate not in (0.0, 1.0):
            return None
        effective = float(count)
    else:
        squared = error**2
        rows = float(grouped.sizes.sum())
        effective = min(rate * (1 - rate) / squared, rows) if squared > 0 else rows
    t2 = t_quantile(0.5 + level / 2, count - 1) ** 2
    centre = (rate + t2 / (2 * effective)) / (1 + t2 / effective)
    half = math.sqrt(t2 * (rate * (1 - rate) / effective + t2 / (4 * effective**2))) / (1 + t2 / effective)
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return Interval(low, high, level, f"Wilson at the effective number of rows {unit}")


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
    statistic: Statistic = "cluster mean",
    method: Method | None = None,
) -> Interval | None:
    """Interval of the mean of cluster means or of the row mean, with clusters as the unit; in the unit of the values.

    ``values`` and ``clusters`` are (rows,). Methods, all chosen defaults:

    * ``studentised``: every draw is divided by its own standard error (Hall 1988), so it follows skew. Where draws without
      spread would make an end infinite, the expanded percentile interval is given instead.
    * ``Wilson``, for rates: at the effective number of rows, with a t quantile (Korn and Graubard 1998; Dean and Pagano
      2015). A rate that is 0 or 1 in every cluster counts each cluster as one row. No resampling.
    * ``expanded percentile``: percentiles at Phi(-sqrt(n / (n - 1)) t), as wide as Student's t for normal data
      (Hesterberg 2015); stays inside the range of the data.
    * ``percentile``: 2.5 and 97.5 %, the proposal of docs/statistics.md; too narrow with few clusters.

    Without ``method``, values that all lie in 0 to 1 are taken as rates and get Wilson's interval, others the studentised
    one: name the method for a quantity in nats. Below `LEAST_CLUSTERS` clusters the studentised and the expanded one are
    Student's t. The interval names what was done. None with fewer than two clusters or without variation between them: see
    `interval_reason`. Raises BadInput for Wilson's interval of values outside 0 to 1.
    """
    if draws < 1:
        raise BadInput(f"The bootstrap needs at least one draw, got {draws}.")
    value = finite_values(values)
    grouped = cluster_means(value, clusters)
    count = grouped.means.size
    if count < 2:
        return None
    rates = bool(np.all((value >= 0) & (value <= 1)))
    chosen = method or ("Wilson" if rates else "studentised")
    unit = f"over {count} clusters" + (", rows weighted equally" if statistic == "row mean" else "")
    if chosen == "Wilson":
        if not rates:
            raise BadInput("Wilson's interval needs values from 0 to 1.")
        return _wilson(grouped, level, statistic, unit)
    if interval_reason(grouped.means):
        return None
    if chosen != "percentile" and count < LEAST_CLUSTERS:
        totals, weights = _parts(grouped, statistic)
        error = standard_error(grouped, statistic) or 0.0
        return t_interval(float(totals.sum() / weights.sum()), error, count - 1, level, method=f"t {unit}")
    if chosen == "studentised":
        interval = _studentised(grouped, draws, seed, level, statistic, unit)
        if interval is not None:
            return interval
        chosen = "expanded percentile"
    covered = level
    if chosen == "expanded percentile":
        t = t_quantile(0.5 + level / 2, count - 1)
        covered = 1 - 2 * float(special.ndtr(-math.sqrt(count / (count - 1)) * t))
    drawn = cluster_draws(grouped, draws=draws, seed=seed, statistic=statistic)
    low, high = np.quantile(drawn, [0.5 - covered / 2, 0.5 + covered / 2])
    return Interval(float(low), float(high), level, f"{chosen} bootstrap {unit}")


@lru_cache(maxsize=8)
def _signs(clusters: int, draws: int, seed: int) -> FloatArray:
    """Every sign pattern of a few clusters, or random ones, (patterns, clusters), read-only."""
    if clusters <= EXACT_CLUSTERS:
        bits = (np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1
    else:
        bits = np.random.default_rng([seed, 3]).integers(0, 2, size=(draws, clusters), dtype=np.int8)
    signs = np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    signs.setflags(write=False)
    return signs


def sign_flip_test(means: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> PermutationTest:
    """Two-sided test that cluster means (clusters,) are symmetric around 0, by flipping the sign of whole clusters.

    The statistic is |mean|. Exact with at most `EXACT_CLUSTERS` clusters, else ``draws`` random flips with p = (1 + k) /
    (1 + draws) (docs/statistics.md). With n clusters no p is below 2 / 2^n; one cluster always gives p = 1. Raises
    BadInput without clusters.
    """
    value = finite_values(means, "Cluster means")
    if value.size == 0 or draws < 1:
        raise BadInput("A sign-flip test needs at least one cluster and one draw.")
    observed = abs(float(value.mean()))
    # The tolerance counts flips that tie but for rounding.
    sums = np.abs(_signs(value.size, draws, seed) @ value)
    extreme = int((sums >= abs(float(value.sum())) - 1e-12 * float(np.abs(value).sum())).sum())
    smallest = 2.0 / 2.0**value.size
    if value.size <= EXACT_CLUSTERS:
        total = 2**value.size
        return PermutationTest(
            observed, extreme, total, extreme / total, smallest, True, "exact sign flips of clusters"
        )
    count, total = extreme + 1, draws + 1
    method = f"sign flips of clusters, {draws} random"
    return PermutationTest(observed, count, total, count / total, max(smallest, 1 / total), False, method)


def leave_one_cluster_out(means: ArrayLike) -> tuple[float, float] | None:
    """Lowest and highest mean of cluster means with one cluster left out; None with fewer than two clusters."""
    value = finite_values(means, "Cluster means")
    if value.size < 2:
        return None
    without = (value.sum() - value) / (value.size - 1)
    return float(without.min()), float(without.max())


def effect_size(means: ArrayLike) -> float | None:
    """d_z: mean of cluster means over their sample standard deviation; None where that is undefined or 0."""
    value = finite_values(means, "Cluster means")
    return None if interval_reason(value) else float(value.mean() / value.std(ddof=1))


def paired_t(means: ArrayLike) -> tuple[float, int, float] | None:
    """Student's t of cluster means against 0: (t, degrees of freedom, two-sided p); None where undefined.

    For comparison with studies that test this way (docs/statistics.md); the primary test is `sign_flip_test`.
    """
    value = finite_values(means, "Cluster means")
    if interval_reason(value):
        return None
    t = float(value.mean() / (value.std(ddof=1) / math.sqrt(value.size)))
    return t, value.size - 1, float(2 * special.stdtr(value.size - 1, -abs(t)))


def brown_forsythe(groups: Sequence[ArrayLike]) -> tuple[float, float] | None:
    """Brown and Forsythe's test (1974) that groups of cluster means spread equally: (statistic, p).

    None with fewer than two groups, a group of fewer than two clusters, or no spread in any of them.
    """
    arrays = [finite_values(group, "Cluster means") for group in groups]
    if len(arrays) < 2 or min(array.size for array in arrays) < 2:
        return None
    distances = [np.abs(array - np.median(array)) for array in arrays]
    if all(np.ptp(distance) <= _tolerance(array) for distance, array in zip(distances, arrays, strict=True)):
        return None  # the distances do not vary inside any group, so there is nothing to compare with
    result = stats.levene(*arrays, center="median")
    return float(result.statistic), float(result.pvalue)
