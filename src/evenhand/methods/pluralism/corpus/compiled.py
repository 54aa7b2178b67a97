"""The comparison of all pairs compiled by numba, where it is installed; the pairs are the same without it."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import installed
from evenhand.methods.pluralism.corpus.pairs import Crowded, Pairs

_CHUNK = 2048


@cache
def available() -> bool:
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
        found = 0
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
                        if found < first.size:
                            first[found], second[found], distance[found] = row, left + at, apart[at]
                        found += 1
        return found

    return search


def prepare() -> None:
    """Import numba and compile, before any thread starts."""
    tile_pairs(np.zeros((1, 2), dtype=np.uint64), 0, 1, 0)


def tile_pairs(words: NDArray[np.uint64], start: int, stop: int, limit: int, most: int | None = None) -> Pairs:
    """Pairs within ``limit`` bits of a row from ``start`` to ``stop`` and any later row; ``words`` is (words, n).

    Raises Crowded for more than ``most``.
    """
    size = 4096
    while True:
        first, second = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        distance = np.empty(size, dtype=np.uint8)
        found = int(_kernel()(words, start, stop, limit, first, second, distance))
        if found <= size:
            return Pairs(first[:found].copy(), second[:found].copy(), distance[:found].copy())
        if most is not None and found > most:
            raise Crowded
        size = found
