"""Packs: what is shared stands once, what is not predicted is left out, rows are full, and the order is that of the ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evenhand.engines.packing import Pack, pack, shared_length, sort_key

Ids = NDArray[np.int32]
ids_lists = st.lists(st.integers(0, 2**31 - 1), max_size=6)


def ids_of(*rows: list[int]) -> list[Ids]:
    return sorted((np.asarray(row, dtype=np.int32) for row in rows), key=sort_key)


def held(packed: Pack) -> list[list[int]]:
    """The tokens of each row, padding (9) left out."""
    return [[token for token in row if token != 9] for row in packed.tokens.tolist()]


@given(st.lists(ids_lists, max_size=8))
def test_bytes_sort_as_ids_do(rows: list[list[int]]) -> None:
    found = sorted((np.asarray(row, dtype=np.int32) for row in rows), key=sort_key)
    assert [ids.tolist() for ids in found] == sorted(rows)


@given(ids_lists, ids_lists, ids_lists)
def test_what_two_sequences_share(both: list[int], one: list[int], other: list[int]) -> None:
    first, second = (np.asarray(both + rest, dtype=np.int32) for rest in (one, other))
    found = shared_length(first, second)
    assert found == shared_length(second, first) >= len(both)
    assert first[:found].tolist() == second[:found].tolist()
    assert found in (len(first), len(second)) or first[found] != second[found]


def test_a_long_beginning_stands_once_and_the_last_token_not_at_all() -> None:
    shared = [0, 1, 2, 3, 4, 5]
    packed = pack(ids_of([*shared, 6, 7], [*shared, 8, 7], [*shared, 6, 8]), [1, 1, 1], row_tokens=64, pad=9)
    assert held(packed) == [[*shared, 6, 8]]
    assert packed.depths.tolist() == [[0, 1, 2, 3, 4, 5, 6, 6]]
    assert len(packed.nodes) == 8  # the same distribution is asked for once, however many sequences need it
    assert len(packed.target) == 3 * 7


def test_a_sequence_that_begins_another_costs_nothing() -> None:
    long = [0, 1, 2, 3, 4, 5, 6, 7]
    packed = pack(ids_of(long[:5], long[:7], long), [1, 1, 1], row_tokens=64, pad=9)
    assert held(packed) == [long[:-1]]


def test_only_what_is_scored_is_predicted() -> None:
    packed = pack(ids_of([0, 1, 2, 3, 4], [0, 5, 6]), [3, 2], row_tokens=64, pad=9)
    assert packed.target.tolist() == [3, 4, 6]
    assert packed.bounds.tolist() == [[0, 2], [2, 3]]
    assert packed.tokens.reshape(-1)[packed.nodes[packed.at]].tolist() == [2, 3, 5]


def test_unrelated_sequences_share_a_row_and_its_first_token() -> None:
    packed = pack(ids_of([0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 1]), [1, 1, 1], row_tokens=64, pad=9)
    assert held(packed) == [[0, 1, 2, 4, 5, 7, 8]]


def test_sequences_that_begin_unlike_see_nothing_of_each_other() -> None:
    packed = pack(ids_of([0, 1, 2], [3, 4, 5]), [1, 1], row_tokens=64, pad=9)
    assert held(packed) == [[0, 1, 3, 4]]
    assert packed.depths.tolist() == [[0, 1, 0, 1]]
    assert packed.mask[0].tolist() == [
        [True, False, False, False], [True, True, False, False], [False, False, True, False], [False, False, True, True],
    ]  # fmt: skip


@pytest.mark.parametrize("row_tokens", [1, 16, 40, 100])
def test_rows_are_full_and_not_too_long(row_tokens: int) -> None:
    draw = np.random.default_rng(3)
    rows = ids_of(*([0, *draw.integers(10, 10_000, size).tolist()] for size in draw.integers(5, 30, 60)))
    longest = max(map(len, rows)) - 1
    packed = pack(rows, [1] * len(rows), row_tokens, pad=9)
    count, width = packed.tokens.shape
    assert width <= max(row_tokens, longest) + 1
    tokens = sum(len(row) - 1 for row in rows)
    assert sum(map(len, held(packed))) == tokens - (len(rows) - count)  # the first token is shared within a row
    if row_tokens >= 40:
        assert count * width <= 1.15 * tokens


def test_a_beginning_longer_than_a_row_is_read_once() -> None:
    shared = list(range(10, 60))
    rows = ids_of(*([*shared, n, 5] for n in range(100, 130)))
    packed = pack(rows, [len(shared)] * len(rows), row_tokens=16, pad=9)
    assert packed.tokens.shape == (1, len(shared) + 30)


def test_a_row_does_not_grow_without_end() -> None:
    shared = list(range(10, 16))
    rows = ids_of(*([*shared, n, 5, 6] for n in range(100, 300)))
    packed = pack(rows, [1] * len(rows), row_tokens=16, pad=9)
    assert packed.tokens.shape[1] <= 8 * len(shared) + 8
    assert len(packed.tokens) > 1


def test_a_row_behind_a_very_long_beginning_stays_bounded() -> None:
    shared = list(range(10, 2010))
    rows = ids_of(*([*shared, *([n] * 500)] for n in range(5000, 5020)))
    packed = pack(rows, [len(shared)] * len(rows), row_tokens=16, pad=9)
    assert packed.tokens.shape[1] <= len(shared) + 4096 + 500
    assert len(packed.tokens) == 3
