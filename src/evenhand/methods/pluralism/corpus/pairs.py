"""Pairs of fingerprints and their distances: in tiles with NumPy, or compiled by numba if it is installed, with equal results.

Batches are computed in threads and returned in a fixed order.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import installed

Columns = list[NDArray[np.uint64]]
"""The 64-bit words of n fingerprints, one (n,) array a word."""
Index = NDArray[np.int64]
Places = NDArray[np.integer[Any]]

_TILE_ROWS = 64
_TILE_COLUMNS = 1024
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows: ``first < second`` and their Hamming distance in bits, three (n,) arrays."""

    first: Index
    second: Index
    distance: NDArray[np.uint8]

    def __len__(self) -> int:
        return self.first.size


class Crowded(Exception):
    """More pairs than are to be held at once: a signal between the search and the removal, never shown."""


def columns(prints: NDArray[np.uint64]) -> Columns:
    """The words of (n, words) fingerprints as contiguous arrays."""
    return [np.ascontiguousarray(prints[:, word]) for word in range(prints.shape[1])]


def near(cols: Columns, first: Places, second: Places, limit: int) -> tuple[Index, NDArray[np.uint8]]:
    """Which of these pairs lie within ``limit`` bits: their places in ``first``, and their distances."""
    distance = np.bitwise_count(cols[0].take(first) ^ cols[0].take(second))
    for col in cols[1:]:
        distance += np.bitwise_count(col.take(first) ^ col.take(second))
    kept = np.flatnonzero(distance <= limit)
    return kept, distance[kept]


def joined(batches: Iterable[tuple[Index, Index, NDArray[np.uint8]]], most: int | None = None) -> Pairs:
    """Parts as one batch, each pair with its lower row first; raises Crowded beyond ``most`` pairs."""
    parts = []
    total = 0
    for part in batches:
        parts.append(part)
        total += part[0].size
        if most is not None and total > most:
            raise Crowded
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, np.zeros(0, dtype=np.uint8))
    first, second, distance = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Pairs(np.minimum(first, second), np.maximum(first, second), distance)


def tile_pairs(
    cols: Columns, rows: tuple[int, int], others: tuple[int, int], limit: int
) -> Iterator[tuple[Index, Index, NDArray[np.uint8]]]:
    """Pairs within ``limit`` bits of a row in ``rows`` and a later row in ``others`` (both from, to), by comparing all."""
    for top in range(rows[0], rows[1], _TILE_ROWS):
        bottom = min(top + _TILE_ROWS, rows[1])
        for left in range(max(top + 1, others[0]), others[1], _TILE_COLUMNS):
            right = min(left + _TILE_COLUMNS, others[1])
            distance = np.bitwise_count(cols[0][top:bottom, None] ^ cols[0][left:right])
            for col in cols[1:]:
                distance += np.bitwise_count(col[top:bottom, None] ^ col[left:right])
            close = distance <= limit
            if not close.any():
                continue
            row, column = np.nonzero(close)
            first, second = row + top, column + left
            later = first < second
            if later.any():
                yield first[later], second[later], distance[row[later], column[later]]


def bit_field(cols: Columns, low: int, high: int) -> NDArray[np.uint64]:
    """Bits ``low`` to ``high`` (not included, at most 64 of them) of every fingerprint, as numbers."""
    word, shift = divmod(low, 64)
    field = cols[word] >> np.uint64(shift)
    if shift and high > 64 * (word + 1):
        field |= cols[word + 1] << np.uint64(64 - shift)
    if high - low < 64:
        field &= np.uint64((1 << (high - low)) - 1)
    return field


def in_order(work: Callable[[_Task], _Result], tasks: Iterable[_Task], threads: int) -> Iterator[_Result]:
    """``work`` of every task, in the order of the tasks, with few results waiting at a time."""
    if threads == 1:
        yield from map(work, tasks)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@cache
def numba_available() -> bool:
    """Whether numba can be imported."""
    return installed("numba")


@cache
def _kernel() -> Any:
    numba = importlib.import_module("numba")
    ones, pairs, nibbles = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
    one, two, four, top = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
    spread = np.uint64(0x0101010101010101)

    @numba.njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
    def bits_set(value: Any) -> Any:
        value = value - ((value >> one) & ones)
        value = (value & pairs) + ((value >> two) & pairs)
        return (((value + (value >> four)) & nibbles) * spread) >> top

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
    def search(words: Any, start: int, stop: int, limit: int, first: Any, second: Any, distance: Any) -> Any:
        """Fill the outputs as far as they reach; the number of pairs found."""
        count = 0
        apart = np.empty(_CHUNK, dtype=np.uint8)
        for row in range(start, stop):
            for left in range(row + 1, words.shape[1], _CHUNK):
                size = min(_CHUNK, words.shape[1] - left)
                apart[:size] = 0
                for word in range(words.shape[0]):
                    mine, others = words[word, row], words[word, left : left + size]
                    for at in range(size):
                        apart[at] += np.uint8(bits_set(mine ^ others[at]))
                least = np.uint8(255)
                for at in range(size):
                    least = min(least, apart[at])
                if least > limit:
                    continue
                for at in range(size):
                    if apart[at] <= limit:
                        if count < first.size:
                            first[count], second[count], distance[count] = row, left + at, apart[at]
                        count += 1
        return count

    return search


def compile_tiles() -> None:
    """Import numba and compile, before any thread starts."""
    compiled_tile(np.zeros((1, 2), dtype=np.uint64), 0, 1, 0)


def compiled_tile(words: NDArray[np.uint64], start: int, stop: int, limit: int, most: int | None = None) -> Pairs:
    """Pairs within ``limit`` bits of a row from ``start`` to ``stop`` and any later row; ``words`` is (words, n).

    Raises Crowded for more than ``most``.
    """
    size = 4096
    while True:
        first, second = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        distance = np.empty(size, dtype=np.uint8)
        count = int(_kernel()(words, start, stop, limit, first, second, distance))
        if count <= size:
            return Pairs(first[:count].copy(), second[:count].copy(), distance[:count].copy())
        if most is not None and count > most:
            raise Crowded
        size = count
