"""Exact search for all pairs of fingerprints within k bits.

Three methods give the same pairs: comparing all in tiles, block permutation, and multi-index hashing. ``plan`` takes the
one with the least expected time for the number of rows, the distance, and how even the bits are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, log2
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.indexes import (
    block_batches,
    block_cost,
    least_substrings,
    multi_index_batches,
    multi_index_cost,
    multi_index_count,
)
from evenhand.methods.pluralism.corpus.pairs import (
    Columns,
    Pairs,
    columns,
    compile_tiles,
    compiled_tile,
    in_order,
    joined,
    numba_available,
    tile_pairs,
)

Method = Literal["brute", "blocks", "multi-index"]
METHODS: tuple[Method, ...] = ("brute", "blocks", "multi-index")

_NAMES = {"brute": "all pairs in tiles", "blocks": "block permutation", "multi-index": "multi-index hashing"}
_ROWS = 256
_TABLES = 3000


@dataclass(frozen=True, slots=True)
class Plan:
    """How the pairs are searched.

    ``parts`` is the number of blocks or substrings (0 for all pairs), ``seconds`` the expected time on one core,
    ``compiled`` whether numba compares the tiles.
    """

    method: Method
    parts: int
    seconds: float
    compiled: bool = False

    def words(self) -> str:
        """The choice in words, for the screen and the manifest."""
        parts = {"brute": "", "blocks": f", {self.parts} blocks", "multi-index": f", {self.parts} substrings"}
        return _NAMES[self.method] + parts[self.method] + (", compiled" if self.compiled else "")


def check_distance(bits: int, distance: int) -> None:
    """Raises BadInput for a distance below 0, or of half the width and more, where unrelated texts lie."""
    if not 0 <= distance < bits // 2:
        raise BadInput(
            f"The distance {distance} is out of range for {bits} bits: unrelated texts are {bits // 2} bits apart on average.",
            do=f"Choose 0 to {bits // 2 - 1}.",
        )


def chance_pairs(rows: int, bits: int, distance: int) -> float:
    """Expected number of pairs within ``distance`` among unrelated rows with fair, independent bits."""
    return rows * (rows - 1) / 2 * (sum(comb(bits, apart) for apart in range(distance + 1)) / (1 << bits))


def plan(prints: NDArray[np.uint64], distance: int, *, method: Method | Literal["auto"] = "auto") -> Plan:
    """The method and its parts with the least expected time.

    ``prints`` is (n, words). Real texts share n-grams and their bits lean to one side, which makes buckets uneven; so the
    expected bucket sizes use the collision entropy of the single bits.
    """
    rows, bits = len(prints), 64 * prints.shape[1]
    check_distance(bits, distance)
    if method not in ("auto", *METHODS):
        raise BadInput(f"Unknown search method '{method}'.", do=f"Known: auto, {', '.join(METHODS)}.")
    effective = _entropy(prints)
    compared = rows * rows / 2 * bits / 64
    choices = [Plan("brute", 0, compared * 1.2e-9)]
    if numba_available():
        choices.append(Plan("brute", 0, 1.5 + compared * 1.3e-10, compiled=True))
    for blocks in range(distance + 1, min(bits, distance + 8) + 1):
        cost = block_cost(rows, bits, effective, distance, blocks)
        if comb(blocks, distance) <= _TABLES or blocks == distance + 1:
            choices.append(Plan("blocks", blocks, cost))
    for parts in range(least_substrings(bits), max(least_substrings(bits) + 1, bits // 8) + 1):
        choices.append(Plan("multi-index", parts, multi_index_cost(rows, bits, effective, distance, parts)))
    return min((choice for choice in choices if method in ("auto", choice.method)), key=lambda choice: choice.seconds)


def batch_count(prints: NDArray[np.uint64], distance: int, how: Plan) -> int:
    """Number of batches that ``pair_batches`` gives."""
    if how.method == "blocks":
        return comb(how.parts, distance)
    if how.method == "multi-index":
        return multi_index_count(64 * prints.shape[1], distance, how.parts)
    return -(-len(prints) // _ROWS)


def pair_batches(
    prints: NDArray[np.uint64],
    distance: int,
    how: Plan,
    *,
    threads: int = 1,
    most: int | None = None,
    span: range | None = None,
) -> Iterator[Pairs]:
    """Every pair of rows within ``distance`` bits, once, in batches whose order depends only on the plan.

    ``span`` selects batches from 0 to ``batch_count`` - 1 (default: all).
    Raises ``Crowded`` where one batch would hold more than ``most`` pairs.
    """
    span = range(batch_count(prints, distance, how)) if span is None else span
    check_distance(64 * prints.shape[1], distance)
    if len(prints) >= 1 << 31:
        raise BadInput(f"{len(prints)} rows are too many for one search.", do="Split the file.")
    cols = columns(prints)
    if how.method == "blocks":
        return block_batches(cols, distance, how.parts, threads, most, span)
    if how.method == "multi-index":
        return multi_index_batches(cols, distance, how.parts, threads, most, span)
    return _brute_batches(cols, distance, threads, most, span, fast=how.compiled)


def near_pairs(
    prints: NDArray[np.uint64], distance: int, *, method: Method | Literal["auto"] = "auto", threads: int = 1
) -> Pairs:
    """All pairs of rows within ``distance`` bits, sorted by first and second row.

    ``prints`` is (n, words) of 64 bits. The result is the same for every method and number of threads. All pairs are held
    at once (17 bytes each); ``pair_batches`` does not.
    """
    batches = pair_batches(prints, distance, plan(prints, distance, method=method), threads=threads)
    pairs = joined((batch.first, batch.second, batch.distance) for batch in batches)
    order = np.lexsort((pairs.second, pairs.first))
    return Pairs(pairs.first[order], pairs.second[order], pairs.distance[order])


def _brute_batches(
    cols: Columns, distance: int, threads: int, most: int | None, span: range, *, fast: bool
) -> Iterator[Pairs]:
    rows = cols[0].size
    words = np.stack(cols)
    if fast:
        compile_tiles()

    def work(batch: int) -> Pairs:
        start, stop = batch * _ROWS, min((batch + 1) * _ROWS, rows)
        if fast:
            return compiled_tile(words, start, stop, distance, most)
        return joined(tile_pairs(cols, (start, stop), (start, rows), distance), most)

    return in_order(work, span, threads)


def _entropy(prints: NDArray[np.uint64]) -> float:
    """Collision entropy in bits, as if bits were independent, of at most 65,536 rows."""
    some = prints[:: max(1, len(prints) // 65536)]
    if len(some) == 0:
        return float(64 * prints.shape[1])
    bits = np.unpackbits(np.ascontiguousarray(some).view(np.uint8), axis=1)
    share: list[float] = bits.mean(axis=0).tolist()
    return -sum(log2(part * part + (1 - part) * (1 - part)) for part in share)
