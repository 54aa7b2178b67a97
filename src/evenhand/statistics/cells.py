"""Cells: one value for each (name, stem), the mean over repetitions, with NaN where nothing was measured.

See docs/statistics.md. Repetitions are averaged in their cell first, so they never count as independent
evidence; stems and names then carry equal weight. Where cells are missing, two groups are compared on the stems that
both have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A (names, stems) matrix of cell means with the group of every name.

    ``values`` is (names, stems), NaN where a cell is missing; ``counts`` is (names, stems), the responses behind each
    cell; ``groups`` is (names,), non-negative codes. ``binary`` says that each response was 0 or 1, so rates are
    probabilities. A count table (one row a name, no stems) is a matrix with one column.
    """

    values: FloatArray
    counts: IntArray
    groups: IntArray
    binary: bool = True

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.counts.shape != self.values.shape:
            raise BadInput(f"Cells need two matrices of one shape, got {self.values.shape} and {self.counts.shape}.")
        if self.groups.shape != self.values.shape[:1]:
            raise BadInput(f"{self.values.shape[0]} names need as many group codes, got {self.groups.shape}.")
        if self.groups.size and int(self.groups.min()) < 0:
            raise BadInput("A name has a negative group code.", row=int(np.argmin(self.groups)) + 1)
        if self.binary and bool(np.any((self.values < 0) | (self.values > 1))):
            raise BadInput("A cell of a 0/1 outcome lies outside 0 to 1.", do="Pass binary=False for measures.")

    @property
    def codes(self) -> IntArray:
        """The group codes that occur, sorted."""
        return np.unique(self.groups)

    @property
    def has_stems(self) -> bool:
        """Whether stems can be resampled (at least two)."""
        return bool(self.values.shape[1] >= 2)

    @property
    def nested(self) -> bool:
        """Whether every name (then a prompt) meets one stem only, so that names cannot be told apart from their stems."""
        return self.has_stems and bool((np.isfinite(self.values).sum(axis=1) <= 1).all())

    def by_stem(self) -> Cells:
        """One row a group, in the order of ``codes``: the mean over its names in each stem."""
        codes = self.codes
        values = np.stack([_column_means(self.of(code)) for code in codes])
        counts = np.stack([self.counts[self.groups == code].sum(axis=0) for code in codes])
        return Cells(values, counts, codes, self.binary)

    def of(self, group: int) -> FloatArray:
        """The cell means of one group, (names in group, stems)."""
        return np.asarray(self.values[self.groups == group], dtype=np.float64)

    def responses(self, group: int) -> int:
        """How many responses stand behind one group's cells."""
        return int(self.counts[self.groups == group].sum())

    def rows(self, mask: NDArray[np.bool_]) -> Cells:
        """Only the names where ``mask`` (names,) is true."""
        return Cells(self.values[mask], self.counts[mask], self.groups[mask], self.binary)

    def stems(self, mask: NDArray[np.bool_]) -> Cells:
        """Only the stems where ``mask`` (stems,) is true, for example all but the loaded ones."""
        return Cells(self.values[:, mask], self.counts[:, mask], self.groups, self.binary)

    def shared(self, *groups: int) -> Shared:
        """The named groups on the stems that each of them has a cell for.

        A stem counts as dropped when at least one of these groups, but not all of them, has it.
        Names left without any cell on the shared stems are left out.
        """
        present = np.stack([np.isfinite(self.of(group)).any(axis=0) for group in groups])
        everywhere = np.asarray(present.all(axis=0), dtype=np.bool_)
        kept = np.isin(self.groups, groups) & np.isfinite(self.values[:, everywhere]).any(axis=1)
        dropped = int((present.any(axis=0) & ~everywhere).sum())
        return Shared(self.rows(kept).stems(everywhere), np.flatnonzero(kept), dropped)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Cells on shared stems, the row of the full matrix behind each of their names, and the number of stems dropped."""

    cells: Cells
    rows: IntArray
    dropped: int

    def position(self, group: int, row: int | None) -> int | None:
        """Where a row of the full matrix is among this group's names; None where it is not here."""
        if row is None:
            return None
        hit = np.flatnonzero(self.rows[self.cells.groups == group] == row)
        return int(hit[0]) if hit.size else None


def cells_from_rows(
    names: ArrayLike,
    stems: ArrayLike,
    values: ArrayLike,
    groups: ArrayLike,
    *,
    repetitions: ArrayLike | None = None,
    n_stems: int | None = None,
    binary: bool = True,
) -> Cells:
    """Average long rows into cells.

    Parameters
    ----------
    names, stems : (rows,) codes from 0; ``values`` : (rows,) outcome of each response, NaN for a missing one.
    groups : (names,) the group code of each name code.
    repetitions : (rows,) optional; when given, a repeated (name, stem, repetition) is an error.
    n_stems : number of stems, when some may have no row.

    Raises
    ------
    BadInput : arrays of unequal length, a code out of range, an outcome that is not 0 to 1 although binary, a duplicate
        row; each names its 1-based row.
    """
    name, stem = np.asarray(names, dtype=np.int64), np.asarray(stems, dtype=np.int64)
    value, group = np.asarray(values, dtype=np.float64), np.asarray(groups, dtype=np.int64)
    if not name.shape == stem.shape == value.shape or name.ndim != 1:
        raise BadInput(f"Rows of unequal length: {name.size} names, {stem.size} stems, {value.size} values.")
    width = int(stem.max(initial=-1)) + 1 if n_stems is None else n_stems
    outside = (name < 0) | (name >= group.size) | (stem < 0) | (stem >= width)
    if outside.any():
        raise BadInput("A name or stem code is out of range.", row=int(np.argmax(outside)) + 1)
    wrong = ~np.isnan(value) & ((value < 0) | (value > 1)) if binary else np.isinf(value)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadInput(f"Outcome {value[row]:g} is not between 0 and 1." if binary else "Infinite value.", row=row + 1)
    code = name * width + stem
    if repetitions is not None:
        triples = np.stack([code, np.asarray(repetitions, dtype=np.int64)], axis=1)
        _, first = np.unique(triples, axis=0, return_index=True)
        if first.size < code.size:
            again = np.setdiff1d(np.arange(code.size), first)[0]
            raise BadInput("A (name, stem, repetition) occurs twice.", row=int(again) + 1, do="Keep one row of each.")
    seen = ~np.isnan(value)
    size = group.size * width
    count = np.bincount(code[seen], minlength=size)
    total = np.bincount(code[seen], weights=value[seen], minlength=size)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Cells(mean.reshape(-1, width), count.astype(np.int64).reshape(-1, width), group, binary)


def cells_from_counts(successes: ArrayLike, totals: ArrayLike, groups: ArrayLike) -> Cells:
    """Cells of a count table: ``successes`` of ``totals`` responses for each name, no stems, so one column.

    Raises BadInput where a count is negative or larger than its total; a total of 0 makes a missing cell.
    """
    success, total = np.asarray(successes, dtype=np.float64), np.asarray(totals, dtype=np.int64)
    if success.shape != total.shape or success.ndim != 1:
        raise BadInput(f"Count tables need two columns of one length, got {success.shape} and {total.shape}.")
    wrong = (success < 0) | (success > total) | (total < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadInput(f"A count of {success[row]:g} out of {total[row]} is impossible.", row=row + 1)
    rate = np.where(total > 0, success / np.maximum(total, 1), np.nan)
    return Cells(rate[:, None], total[:, None], np.asarray(groups, dtype=np.int64))


def quotient(top: FloatArray, bottom: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """``top / bottom`` where the mask is true, NaN elsewhere; shapes broadcast."""
    empty = np.full(np.broadcast_shapes(np.shape(top), np.shape(bottom)), np.nan)
    return np.asarray(np.divide(top, bottom, out=empty, where=where), dtype=np.float64)


def _column_means(values: FloatArray) -> FloatArray:
    """Mean over available names for each stem; NaN where a stem has none."""
    seen = np.isfinite(values)
    count = seen.sum(axis=0)
    total = np.where(seen, values, 0.0).sum(axis=0)
    return quotient(total, count.astype(np.float64), count > 0)


def group_rate(values: FloatArray) -> float | None:
    """p_g: the mean over stems of the mean over names. None where there is no cell."""
    means = _column_means(values)
    return float(np.nanmean(means)) if np.isfinite(means).any() else None


def name_values(values: FloatArray) -> FloatArray:
    """One number for each name, (names,): its mean over stems.

    With missing cells a plain mean would credit a name with the ease of its stems, so each cell is first centred by
    the mean of its stem over all names given here, which does not depend on group labels; then the common mean is
    added back. Names without any cell are NaN.
    """
    seen = np.isfinite(values)
    if seen.all():
        return np.asarray(values.mean(axis=1), dtype=np.float64)
    means = _column_means(values)
    centred = np.where(seen, values - np.where(np.isfinite(means), means, 0.0), 0.0)
    count = seen.sum(axis=1)
    level = float(np.nanmean(means)) if np.isfinite(means).any() else np.nan
    return np.where(count > 0, centred.sum(axis=1) / np.maximum(count, 1) + level, np.nan)
