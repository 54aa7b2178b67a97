"""Controls for reading margins: neutral pairs taken off, and clusters at random beside the extreme ones.

Both are chosen defaults (implicit_reward sections 4.6 and 4.7), not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.clusters import cluster_means, finite_values


@dataclass(frozen=True, slots=True, eq=False)
class NetMargins:
    """Margins less those of the neutral controls, (pairs,), NaN where ``matched`` (pairs,) is False.

    ``missing`` counts the pairs without any neutral pair of their key.
    """

    values: FloatArray
    matched: NDArray[np.bool_]
    missing: int


def net_margins(
    delta: ArrayLike, keys: Sequence[Hashable], neutral_delta: ArrayLike, neutral_keys: Sequence[Hashable]
) -> NetMargins:
    """Difference in differences: each margin less the mean margin of the neutral pairs with the same key.

    A key names what pair and control share: template, referent and identity terms. What a stage does to the identity word
    itself then cancels. Intervals of net margins hold the neutral pairs fixed: they do not tell how other neutral
    predicates would have come out. Source: implicit_reward section 4.6, a chosen default. The unit is that of ``delta``.
    """
    value = finite_values(delta, "Margins")
    if len(keys) != value.size:
        raise BadInput(f"{value.size} margins need as many keys, got {len(keys)}.")
    neutral = cluster_means(neutral_delta, neutral_keys)
    control = dict(zip(neutral.labels, neutral.means.tolist(), strict=True))
    subtracted = np.array([control.get(key, math.nan) for key in keys], dtype=np.float64)
    matched = np.isfinite(subtracted)
    return NetMargins(value - subtracted, matched, int(value.size - matched.sum()))


def extremes(
    cluster_labels: Sequence[Hashable], means: ArrayLike, share: float = 0.05, least: int = 20, seed: int = 0
) -> tuple[tuple[Hashable, ...], tuple[Hashable, ...], tuple[Hashable, ...]]:
    """Clusters to read: (top, bottom, random), labels of the highest and lowest means and as many at random.

    Each list holds ``share`` of the clusters and at least ``least``, but never more than half of them, so that no cluster
    is both top and bottom. Top begins with the highest mean, bottom with the lowest. The random list is drawn from all
    clusters as a control. Source: implicit_reward section 4.7, a chosen default.
    """
    value = finite_values(means, "Cluster means")
    if len(cluster_labels) != value.size:
        raise BadInput(f"{value.size} cluster means need as many labels, got {len(cluster_labels)}.")
    number = min(max(least, math.ceil(share * value.size)), value.size // 2)
    falling = np.argsort(-value, kind="stable")[:number]
    rising = np.argsort(value, kind="stable")[:number]
    chance = np.random.default_rng([seed, 4]).choice(value.size, size=number, replace=False) if number else rising
    top, bottom, random = (tuple(cluster_labels[at] for at in part.tolist()) for part in (falling, rising, chance))
    return top, bottom, random
