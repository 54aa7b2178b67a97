"""Block permutation (Manku, Jain and Das Sarma 2007): sort by some blocks of bits, compare what shares them.

Two fingerprints within k bits differ in at most k of m blocks, so they share at least m - k. One table for every choice
of m - k blocks, sorted by these, holds each such pair in one bucket: nothing is missed. A pair that shares more
blocks comes up in several tables and is taken from the one of its lowest shared blocks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.pairs import Columns, Index, Pairs, bit_field, in_order, joined, near, tile_pairs

_DENSE = 128
"""Buckets with more rows than this are compared as a tile, smaller ones all at once, neighbour by neighbour."""


def block_edges(bits: int, blocks: int) -> list[int]:
    """Where the blocks begin and end: ``blocks`` + 1 numbers from 0 to ``bits``."""
    return [bits * number // blocks for number in range(blocks + 1)]


def block_cost(rows: int, bits: int, effective: float, distance: int, blocks: int) -> float:
    """Expected seconds on one core, measured constants; ``effective`` is the entropy of the fingerprints in bits."""
    tables = math.comb(blocks, blocks - distance)
    key = min(64.0, bits * (blocks - distance) / blocks) * effective / bits
    bucket = rows / 2**key
    pair = 2.5e-9 if bucket > _DENSE else 7e-9
    return tables * (rows * 5e-8 + 1e-4 + rows * bucket / 2 * pair * bits / 64)


def block_batches(
    cols: Columns, distance: int, blocks: int, threads: int, most: int | None, span: range
) -> Iterator[Pairs]:
    """All pairs within ``distance`` bits, one batch a table of ``span``; raises Crowded where one holds more than ``most``.

    Raises BadInput where there are no more blocks than ``distance``, since pairs would be lost, or more than bits.
    """
    bits = 64 * len(cols)
    if not distance < blocks <= bits:
        raise BadInput(
            f"{blocks} blocks cannot find all pairs within {distance} bits.",
            do=f"Choose {distance + 1} to {bits} blocks, or leave the choice to the plan.",
        )
    edges = block_edges(bits, blocks)
    tables = itertools.islice(itertools.combinations(range(blocks), blocks - distance), span.start, span.stop)
    return in_order(lambda shared: joined(_table(cols, distance, edges, shared), most), tables, threads)


def _table(
    cols: Columns, distance: int, edges: list[int], shared: tuple[int, ...]
) -> Iterator[tuple[Index, Index, NDArray[np.uint8]]]:
    key = _key(cols, edges, shared)
    order = np.argsort(key, kind="stable")
    key = key[order]
    sorted_cols = [col[order] for col in cols]
    starts = np.concatenate([[0], np.flatnonzero(key[1:] != key[:-1]) + 1])
    sizes = np.diff(np.append(starts, key.size))
    for left, right, bits_apart in _in_buckets(sorted_cols, starts, sizes, distance):
        mine = _is_lowest(sorted_cols, left, right, edges, shared)
        if mine.any():
            yield order[left[mine]], order[right[mine]], bits_apart[mine]


def _key(cols: Columns, edges: list[int], shared: tuple[int, ...]) -> NDArray[np.unsignedinteger]:
    """The shared blocks side by side, as many of them as 64 bits hold: more pairs in a bucket lose none."""
    key = np.zeros(cols[0].size, dtype=np.uint64)
    width = 0
    for block in shared:
        size = edges[block + 1] - edges[block]
        if width + size > 64:
            break
        if width:
            key <<= np.uint64(size)
        key |= bit_field(cols, edges[block], edges[block + 1])
        width += size
    return key.astype(np.uint16) if width <= 16 else key


def _in_buckets(
    cols: Columns, starts: Index, sizes: Index, limit: int
) -> Iterator[tuple[Index, Index, NDArray[np.uint8]]]:
    for start, size in zip(starts[sizes > _DENSE].tolist(), sizes[sizes > _DENSE].tolist(), strict=True):
        yield from tile_pairs(cols, (start, start + size), (start, start + size), limit)
    small = np.flatnonzero((sizes > 1) & (sizes <= _DENSE))
    if small.size == 0:
        return
    counts = sizes[small]
    ends = np.repeat(starts[small] + counts, counts)
    position = ends - np.repeat(np.cumsum(counts), counts) + np.arange(ends.size)
    for step in range(1, int(counts.max())):
        alive = position + step < ends
        position, ends = position[alive], ends[alive]
        kept, bits_apart = near(cols, position, position + step, limit)
        if kept.size:
            yield position[kept], position[kept] + step, bits_apart


def _is_lowest(
    cols: Columns, left: Index, right: Index, edges: list[int], shared: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Whether the lowest blocks that a pair shares are exactly these."""
    difference = [col[left] ^ col[right] for col in cols]
    equal = np.stack([bit_field(difference, low, high) == 0 for low, high in itertools.pairwise(edges)], axis=1)
    lowest = equal & (np.cumsum(equal, axis=1) <= len(shared))
    wanted = np.zeros(len(edges) - 1, dtype=np.bool_)
    wanted[list(shared)] = True
    agree: NDArray[np.bool_] = (lowest == wanted).all(axis=1)
    return agree
