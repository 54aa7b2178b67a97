"""The GRASP table: every measure of every group with a permutation test over whole rater profiles.

Published (arXiv 2311.05074): the measures, the permutation of demographic profiles over raters, p as the share of permuted values
beyond the observed one on its side of the median, p before and after Benjamini and Hochberg, and the diversity sensitivity index of
an axis as its largest association index. Chosen defaults: a two-sided (b + 1) / (N + 1) reported alongside, 9,999 permutations, one
adjustment over all tests of a call, and suppression under 5 raters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.grasp_measures import (
    MEASURES,
    Measure,
    Ties,
    ZeroTerms,
    measures_of_tallies,
)
from evenhand.methods.pluralism.rating.statistics.raters import (
    EXCLUDED,
    LEAST_RATERS,
    RaterGroups,
    intersect,
    intersection_name,
    rater_groups,
    shuffled_codes,
)
from evenhand.statistics.cells import FloatArray, IntArray
from evenhand.statistics.krippendorff import label_indicators
from evenhand.statistics.multiplicity import benjamini_hochberg
from evenhand.statistics.two_way import label_table

PERMUTATIONS = 9_999
"""Random permutations; the published number could not be found. A chosen default."""

_CHUNK_CELLS = 3_000_000
_MAX_UNDEFINED = 0.05
_CROSS = ("xrr", "voting_agreement", "cross_negentropy", "gai")
_UNDEFINED: dict[Measure, str] = {
    "irr": "all ratings of the group are the same label, or no item has two of them",
    "plurality_size": "no item is rated by the group",
    "negentropy": "no item is rated by the group",
    "xrr": "no item is rated on both sides, or both gave one and the same label to everything",
    "voting_agreement": "both sides have one and the same plurality label everywhere, or no item in common",
    "cross_negentropy": "no item is rated on both sides",
    "gai": "irr is undefined, or xrr is not positive",
}


@dataclass(frozen=True, slots=True)
class GroupMeasure:
    """One measure of one group against the other raters of its axis.

    ``value`` is None with a reason where undefined or suppressed. ``null_median`` is the median under permuted
    profiles. ``p_one_sided`` is the published form, ``p`` the two-sided one with the observed arrangement counted, and
    ``q`` is ``p`` after Benjamini and Hochberg.
    """

    axis: str
    group: str
    measure: Measure
    raters: int
    others: int
    value: float | None
    null_median: float | None = None
    p_one_sided: float | None = None
    p: float | None = None
    q: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AxisSensitivity:
    """The diversity sensitivity index of an axis: its largest association index, and the group that has it.

    ``p`` is the share, with the observed one, of permuted profiles whose largest index is at least as large.
    """

    axis: str
    index: float | None
    group: str | None
    null_median: float | None
    p: float | None
    left_out: Mapping[str, int]
    suppressed: Mapping[str, int]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GraspTable:
    """All groups of all axes; ``family_size`` is the number of tests behind each q."""

    rows: tuple[GroupMeasure, ...]
    axes: tuple[AxisSensitivity, ...]
    items: int
    raters: int
    draws: int
    family_size: int

    def of(self, axis: str, group: str, measure: Measure) -> GroupMeasure:
        """One row. Raises BadInput if there is none."""
        for row in self.rows:
            if (row.axis, row.group, row.measure) == (axis, group, measure):
                return row
        raise BadInput(f"No measure '{measure}' of group '{group}' on axis '{axis}'.")


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The groups of all axes, and who belongs to each and to its other side, both (raters, groups)."""

    names: tuple[tuple[str, str], ...]
    ours: NDArray[np.float32]
    theirs: NDArray[np.float32]


def two_sided_p(observed: float, drawn: FloatArray) -> float | None:
    """Twice the smaller tail, at most 1, each tail (b + 1) / (N + 1) over the draws that are defined.

    None if over 5 % of the draws are undefined. Values within 1e-12 of the observed one count as equal.
    """
    finite = drawn[np.isfinite(drawn)]
    if not finite.size or finite.size < (1 - _MAX_UNDEFINED) * drawn.size:
        return None
    tolerance = 1e-12 * max(1.0, abs(observed))
    tails = int((finite >= observed - tolerance).sum()), int((finite <= observed + tolerance).sum())
    return min(1.0, 2 * (min(tails) + 1) / (finite.size + 1))


def _one_sided_p(observed: float, drawn: FloatArray) -> float | None:
    finite = drawn[np.isfinite(drawn)]
    if not finite.size or finite.size < (1 - _MAX_UNDEFINED) * drawn.size:
        return None
    beyond = finite > observed if observed >= np.median(finite) else finite < observed
    return float(beyond.mean())


def _plan(axes: Mapping[str, RaterGroups]) -> _Plan:
    named = [(axis, groups, code) for axis, groups in axes.items() for code in range(len(groups.names))]
    raters = len(next(iter(axes.values())).codes)
    ours, theirs = (np.zeros((raters, len(named)), dtype=np.float32) for _ in range(2))
    for at, (_, groups, code) in enumerate(named):
        ours[:, at] = groups.codes == code
        theirs[:, at] = groups.known & (groups.codes != code)
    return _Plan(tuple((axis, groups.names[code]) for axis, groups, code in named), ours, theirs)


def _measures(
    indicators: NDArray[np.float32], plan: _Plan, orders: IntArray, ties: Ties, zero_terms: ZeroTerms
) -> FloatArray:
    """The measures when rater j takes the profile of rater orders[., j], (7, groups, permutations).

    Counts of raters are whole numbers, exact in single precision.
    """
    items, labels, raters = indicators.shape

    def tallies(side: NDArray[np.float32]) -> FloatArray:
        counts = indicators.reshape(-1, raters) @ side[orders].transpose(1, 2, 0).reshape(raters, -1)
        return counts.astype(np.float64).reshape(items, labels, -1)

    measured = measures_of_tallies(tallies(plan.ours), tallies(plan.theirs), ties=ties, zero_terms=zero_terms)
    return measured.reshape(len(MEASURES), -1, len(orders))


def _reason(measure: Measure, raters: int, others: int, least: int) -> str:
    """Why a measure is not computed whatever the labels are; empty if it is."""
    if raters < least:
        return f"fewer than {least} raters: suppressed"
    if measure in _CROSS and others == 0:
        return "the group is everyone"
    if measure in _CROSS and others < least:
        return f"fewer than {least} raters outside the group: suppressed"
    if measure in ("irr", "gai") and raters < 2:
        return "agreement inside a group needs 2 raters"
    return ""


def grasp(
    labels: ArrayLike,
    demographics: Mapping[str, Sequence[str | None]],
    *,
    count: int,
    intersections: Sequence[Sequence[str]] = (),
    least: int = LEAST_RATERS,
    excluded: Collection[str] = EXCLUDED,
    ties: Ties = "severe",
    zero_terms: ZeroTerms = "smooth",
    draws: int = PERMUTATIONS,
    seed: int = 0,
) -> GraspTable:
    """Every measure of every group of every axis and intersection, with permutation tests.

    Parameters
    ----------
    labels : (items, raters), codes 0 to ``count`` - 1 in the order of severity, -1 where missing.
    demographics : axis -> one value per rater, None if unknown. A group's other side is everybody else with a known
        value on that axis, those of suppressed groups among them.
    intersections : tuples of axes, for example ``[("race", "gender")]``.
    least : groups, and other sides, with fewer raters are listed without figures.
    excluded : values left out of contrasts.
    draws : permutations of whole profiles over all raters; 0 for no test.

    Raises
    ------
    BadInput : no axis, one given twice or with another number of raters, a label code out of range.
    """
    codes, number = label_table(labels, count)
    items, raters = codes.shape
    if not demographics:
        raise BadInput("GRASP needs at least one demographic axis.")
    for axis, values in demographics.items():
        if len(values) != raters:
            raise BadInput(f"Axis '{axis}' has {len(values)} values for {raters} raters.")
    columns: dict[str, Sequence[str | None]] = dict(demographics)
    for axes in intersections:
        name = intersection_name(axes)
        if name in columns:
            raise BadInput(f"The axis '{name}' is given twice.")
        columns[name] = intersect(demographics, axes, excluded=excluded)
    axis_groups = {axis: rater_groups(values, least=least, excluded=excluded) for axis, values in columns.items()}
    plan = _plan(axis_groups)
    indicators = label_indicators(codes, number).astype(np.float32)
    observed = _measures(indicators, plan, np.arange(raters)[None, :], ties, zero_terms)[:, :, 0]
    drawn = np.empty((len(MEASURES), len(plan.names), 0))
    if draws and plan.names:
        chunk = max(1, _CHUNK_CELLS // max(1, items * number * len(plan.names)))
        parts = [
            _measures(indicators, plan, orders, ties, zero_terms)
            for orders in shuffled_codes(np.arange(raters), draws=draws, seed=seed, chunk=chunk)
        ]
        drawn = np.concatenate(parts, axis=2)
    rows: list[GroupMeasure] = []
    scored: dict[str, list[int]] = {axis: [] for axis in axis_groups}
    for axis, groups in axis_groups.items():
        total = int(groups.known.sum())
        places = {name: at for at, (other, name) in enumerate(plan.names) if other == axis}
        sizes = {**dict(zip(groups.names, groups.sizes, strict=True)), **groups.suppressed}
        for name in sorted(sizes):
            size = sizes[name]
            for at, measure in enumerate(MEASURES):
                reason = _reason(measure, size, total - size, least)
                value = float(observed[at, places[name]]) if not reason else np.nan
                if not np.isfinite(value):
                    why = reason or _UNDEFINED[measure]
                    rows.append(GroupMeasure(axis, name, measure, size, total - size, None, reason=why))
                    continue
                if measure == "gai":
                    scored[axis].append(places[name])
                rows.append(_tested(axis, name, measure, size, total - size, value, drawn[at, places[name]]))
    adjusted = benjamini_hochberg([row.p for row in rows])
    rows = [replace(row, q=q) for row, q in zip(rows, adjusted.values, strict=True)]
    gai = MEASURES.index("gai")
    sensitivities = tuple(
        _axis(
            axis,
            groups,
            [plan.names[at][1] for at in scored[axis]],
            observed[gai, scored[axis]],
            drawn[gai, scored[axis]],
        )
        for axis, groups in axis_groups.items()
    )
    return GraspTable(tuple(rows), sensitivities, items, raters, draws, adjusted.family_size)


def _tested(
    axis: str, name: str, measure: Measure, raters: int, others: int, value: float, drawn: FloatArray
) -> GroupMeasure:
    if not drawn.size:
        return GroupMeasure(axis, name, measure, raters, others, value)
    finite = drawn[np.isfinite(drawn)]
    median = float(np.median(finite)) if finite.size else None
    p = two_sided_p(value, drawn)
    reason = "over 5 % of the permuted values are undefined" if p is None else ""
    published = _one_sided_p(value, drawn)
    return GroupMeasure(axis, name, measure, raters, others, value, median, published, p, reason=reason)


def _axis(
    axis: str, groups: RaterGroups, names: Sequence[str], observed: FloatArray, drawn: FloatArray
) -> AxisSensitivity:
    if not names:
        why = "no group of this axis has an association index"
        return AxisSensitivity(axis, None, None, None, None, groups.left_out, groups.suppressed, why)
    best = int(observed.argmax())
    value = float(observed[best])
    whole = np.isfinite(drawn).all(axis=0) if drawn.size else np.zeros(0, dtype=np.bool_)
    if not whole.size or whole.mean() < 1 - _MAX_UNDEFINED:
        why = "over 5 % of the permuted values are undefined" if whole.size else ""
        return AxisSensitivity(axis, value, names[best], None, None, groups.left_out, groups.suppressed, why)
    largest = drawn[:, whole].max(axis=0)
    p = (1 + int((largest >= value - 1e-12).sum())) / (largest.size + 1)
    median = float(np.median(largest))
    return AxisSensitivity(axis, value, names[best], median, p, groups.left_out, groups.suppressed)
