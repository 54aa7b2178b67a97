"""Partial pooling of small groups: group means drawn towards the common mean by how noisy they are.

Source: pluralism section 7.10 asks for it at intersections; the form is a chosen default: a normal one-way random model
of rater means, its two variances by REML, and the best linear unbiased prediction (Robinson 1991). A group of few raters
moves far, a large one hardly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.demographics import RaterGroups
from evenhand.statistics.clusters import finite_values
from evenhand.statistics.variance_components import variance_components


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
    variances are undefined. Raises BadInput where a value is not finite or the lengths differ.
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
