"""Cells: repetitions averaged first, bad rows named, stems intersected and counted."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.statistics.cells import Cells, cells_from_counts, cells_from_rows, group_rate, name_values

GROUPS = np.array([0, 0, 1, 1])


def test_repetitions_are_averaged_in_their_cell_first() -> None:
    # Name 0 has four repetitions on stem 0 and one on stem 1: the stems still weigh equally.
    cells = cells_from_rows([0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 0, 1], [1, 1, 1, 1, 0, 0, 0], [0, 0])
    assert cells.values.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert cells.counts.tolist() == [[4, 1], [1, 1]]
    assert group_rate(cells.of(0)) == 0.25


def test_missing_values_leave_a_missing_cell() -> None:
    cells = cells_from_rows([0, 1, 2, 3], [0, 0, 0, 0], [1.0, np.nan, 0.0, 1.0], GROUPS, n_stems=2)
    assert np.isnan(cells.values[1, 0])
    assert np.isnan(cells.values[:, 1]).all()
    assert cells.counts.sum() == 3
    assert cells.responses(0) == 1


def test_stems_of_two_groups_are_intersected_and_the_rest_counted() -> None:
    values = np.array([[1.0, 0.0, np.nan], [1.0, np.nan, np.nan], [0.0, np.nan, 1.0], [1.0, np.nan, 0.0]])
    cells = Cells(values, np.isfinite(values).astype(np.int64), GROUPS)
    shared = cells.shared(0, 1)
    assert shared.cells.values.tolist() == [[1.0], [1.0], [0.0], [1.0]]
    assert shared.dropped == 2
    assert shared.position(1, 3) == 1
    assert shared.position(1, 0) is None


def test_a_name_without_a_shared_stem_is_left_out() -> None:
    values = np.array([[1.0, np.nan], [np.nan, 1.0], [0.0, np.nan], [1.0, np.nan]])
    shared = Cells(values, np.ones((4, 2), dtype=np.int64), GROUPS).shared(0, 1)
    assert shared.rows.tolist() == [0, 2, 3]
    assert shared.dropped == 1


def test_name_values_are_plain_means_when_complete_and_adjusted_for_hard_stems_when_not() -> None:
    complete = np.array([[0.2, 0.8], [0.0, 0.6]])
    assert name_values(complete) == pytest.approx([0.5, 0.3])
    # Both names behave alike; the second was not asked the hard stem (its plain mean would be .1, not .5).
    uneven = np.array([[0.1, 0.9], [0.1, np.nan]])
    assert name_values(uneven) == pytest.approx([0.5, 0.5])


def test_counts_make_one_column() -> None:
    cells = cells_from_counts([1, 0], [4, 0], [0, 1])
    assert cells.values[0, 0] == 0.25
    assert np.isnan(cells.values[1, 0])
    assert not cells.has_stems


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cells_from_rows([0, 1], [0, 0], [1, 2], [0, 0]), r"row 2: .*2 is not between 0 and 1"),
        (lambda: cells_from_rows([0, 5], [0, 0], [1, 1], [0, 0]), r"row 2: .*out of range"),
        (lambda: cells_from_rows([0], [0, 0], [1, 1], [0]), "unequal length"),
        (lambda: cells_from_rows([0, 0], [0, 0], [1, 1], [0], repetitions=[1, 1]), r"row 2: .*twice"),
        (lambda: cells_from_rows([0], [0], [np.inf], [0], binary=False), r"row 1: Infinite"),
        (lambda: cells_from_counts([5], [4], [0]), r"row 1: A count of 5 out of 4"),
        (lambda: cells_from_counts([5, 1], [4], [0]), "one length"),
        (lambda: Cells(np.ones((2, 2)), np.ones((2, 1), dtype=np.int64), np.zeros(2, dtype=np.int64)), "one shape"),
        (lambda: Cells(np.ones((2, 2)), np.ones((2, 2), dtype=np.int64), np.zeros(3, dtype=np.int64)), "group codes"),
        (lambda: Cells(np.ones((1, 1)), np.ones((1, 1), dtype=np.int64), np.array([-1])), "negative group code"),
        (lambda: Cells(np.full((1, 1), 3.0), np.ones((1, 1), dtype=np.int64), np.array([0])), "outside 0 to 1"),
    ],
)
def test_bad_rows_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()
    row = f"row {caught.value.row}: " if caught.value.row else ""
    assert re.search(message, row + str(caught.value))
