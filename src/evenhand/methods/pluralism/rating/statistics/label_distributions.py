"""How well a model's label probabilities fit the labels that people of a group gave: log loss and Wasserstein distance.

Source: pluralism section 7.3, a chosen default of that document. Both are means over items, one row a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.demographics import RaterGroups, one_hot
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.krippendorff import label_indicators
from evenhand.statistics.two_way import label_table

LEAST_PROBABILITY = 1e-6
"""A model's probability counts as at least this in the log loss, and how often is told. A chosen default."""


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
    stand for, in rising order, for example ``(0, 0.5, 1)``. Raises BadInput where shapes do not fit, values do not
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
