"""Groups of raters by a demographic value: intersections, suppression of small groups, shuffled group labels.

Source: pluralism sections 3.1, 7.4, 7.10 and 10. Suppression under 5 raters and the values left out of contrasts are
chosen defaults of that document, not published ones. A missing or left-out value is counted, never merged into another
group.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray, IntArray

LEAST_RATERS = 5
"""A group with fewer raters is suppressed: its figures would be noise, and could point at a person."""

EXCLUDED = ("Other",)
"""Values that are a level of their own, kept in totals and left out of contrasts."""

MISSING = "missing"


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
    """Groups from one value a rater, (raters,), None where unknown. Raises BadInput where a value is not a text."""
    counts: dict[str, int] = {}
    left_out: dict[str, int] = {}
    known = np.zeros(len(values), dtype=np.bool_)
    for at, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise BadInput("A demographic value is not a text.", row=at + 1, do="Use None for a missing value.")
        if value is None or not value.strip() or value in excluded:
            key = MISSING if value is None or not value.strip() else value
            left_out[key] = left_out.get(key, 0) + 1
            continue
        known[at] = True
        counts[value] = counts.get(value, 0) + 1
    names = tuple(sorted(name for name, size in counts.items() if size >= least))
    place = {name: at for at, name in enumerate(names)}
    found = [place.get(value, -1) if known[at] and value is not None else -1 for at, value in enumerate(values)]
    suppressed = {name: size for name, size in sorted(counts.items()) if size < least}
    sizes = tuple(counts[name] for name in names)
    return RaterGroups(names, sizes, np.asarray(found, dtype=np.int64), known, suppressed, left_out)


def intersection_name(axes: Sequence[str]) -> str:
    """What an intersection of axes is called, for example ``"race x gender"``."""
    return " x ".join(axes)


def intersect(
    demographics: Mapping[str, Sequence[str | None]], axes: Sequence[str], *, excluded: Collection[str] = EXCLUDED
) -> tuple[str | None, ...]:
    """One value a rater that joins those of ``axes``, for example ``"White, Man"``; None where any is missing or left out.

    Raises BadInput for an axis that is not there, fewer than two axes, or axes of unequal length.
    """
    if len(axes) < 2 or len(set(axes)) < len(axes):
        raise BadInput("An intersection needs at least two different axes.")
    for axis in axes:
        if axis not in demographics:
            raise BadInput(f"No demographic axis is called '{axis}'.", do=f"Known: {', '.join(demographics)}.")
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
