"""Two exact indexes for pairs of fingerprints within k bits: block permutation and multi-index hashing.

Block permutation (Manku, Jain and Das Sarma 2007): two fingerprints within k bits differ in at most k of m blocks, so they share at
least m - k. Each choice of m - k blocks gives one table, sorted by these blocks, in which every such pair shares a bucket: nothing
is missed. A pair that shares more blocks occurs in several tables and is taken from the one of its lowest shared blocks.

Multi-index hashing (Norouzi, Punjani and Fleet 2012): of m substrings of two fingerprints within k bits, at least one is within its
share of k. The radii r satisfy sum (r + 1) = k + 1; if every substring exceeded its radius, the distance would be k + 1 or more.
Every substring has a table from its value to the rows. A pair is taken from the first substring that is within its radius.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.pairs import (
    Columns,
    Index,
    Pairs,
    Places,
    bit_field,
    in_order,
    joined,
    near,
    tile_pairs,
)

_DENSE = 128
"""Buckets with more rows than this are compared as a tile, smaller ones all at once, neighbour by neighbour."""
_WIDEST = 24
_CANDIDATES = 1 << 17
_MASKS = 32


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
    """All pairs within ``distance`` bits, one batch per table of ``span``; raises Crowded if one holds more than ``most``.

    Raises BadInput unless there are more blocks than ``distance`` (or pairs would be lost) and at most as many as bits.
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


def least_substrings(bits: int) -> int:
    """The fewest substrings whose tables, of 2 ** width entries, stay small."""
    return -(-bits // _WIDEST)


def radii(distance: int, substrings: int) -> list[int]:
    """How many bits may be turned in each substring; -1 where a substring need not be searched."""
    whole, rest = divmod(distance + 1, substrings)
    return [whole - (number >= rest) for number in range(substrings)]


def _mask_count(width: int, radius: int) -> int:
    return sum(math.comb(width, turned) for turned in range(radius + 1))


def multi_index_cost(rows: int, bits: int, effective: float, distance: int, substrings: int) -> float:
    """Expected seconds on one core, measured constants; ``effective`` is the entropy of the fingerprints in bits."""
    total = 0.0
    width = bits / substrings
    for radius in radii(distance, substrings):
        probes = _mask_count(round(width), radius)
        candidates = rows * probes / 2 * rows / 2 ** (width * effective / bits)
        total += rows * 1e-7 + 2**width * 3e-9 + probes * (rows * 8e-9 + 2e-5) + candidates * 4.7e-9 * bits / 64
    return total


@dataclass(frozen=True, slots=True)
class _Lookup:
    """One substring: its sorted values, the rows in that order, where each value begins, and who has bit b unset."""

    number: int
    order: Index
    values: NDArray[np.uint32]
    begins: NDArray[np.int32]
    unset: list[NDArray[np.int32]]
    cols: Columns


def multi_index_count(bits: int, distance: int, substrings: int) -> int:
    """Number of batches that ``multi_index_batches`` gives."""
    return _ends(block_edges(bits, substrings), radii(distance, substrings))[-1]


def _ends(edges: list[int], limits: list[int]) -> list[int]:
    """Number of batches that there are up to and with each substring."""
    widths = [high - low for low, high in itertools.pairwise(edges)]
    counts = (-(-_mask_count(width, radius) // _MASKS) for width, radius in zip(widths, limits, strict=True))
    return list(itertools.accumulate(counts))


def multi_index_batches(
    cols: Columns, distance: int, substrings: int, threads: int, most: int | None, span: range
) -> Iterator[Pairs]:
    """All pairs within ``distance`` bits, in the batches of ``span``; raises Crowded if one holds more than ``most``.

    Raises BadInput if the substrings are wider than 24 bits or more than the bits.
    """
    bits = 64 * len(cols)
    if not least_substrings(bits) <= substrings <= bits:
        raise BadInput(
            f"Cannot search {substrings} substrings of {bits} bits.",
            do=f"Choose {least_substrings(bits)} to {bits}, or leave the choice to the plan.",
        )
    edges = block_edges(bits, substrings)
    limits = radii(distance, substrings)
    begin = 0
    for number, end in enumerate(_ends(edges, limits)):
        first, last, begin = max(span.start - begin, 0), min(span.stop, end) - begin, end
        if first >= last:
            continue
        lookup = _lookup(cols, edges, number)

        def work(masks: tuple[int, ...], lookup: _Lookup = lookup) -> Pairs:
            parts = (part for mask in masks for part in _turned(lookup, mask, distance, edges, limits))
            return joined(parts, most)

        masks = _masks(edges[number + 1] - edges[number], limits[number])
        yield from in_order(work, itertools.islice(masks, first, last), threads)


def _lookup(cols: Columns, edges: list[int], number: int) -> _Lookup:
    low, high = edges[number], edges[number + 1]
    values = bit_field(cols, low, high).astype(np.uint32)
    order = np.argsort(values, kind="stable")
    begins = np.zeros((1 << (high - low)) + 1, dtype=np.int32)
    np.cumsum(np.bincount(values, minlength=1 << (high - low)), out=begins[1:])
    values = values[order]
    unset = [np.flatnonzero(values & np.uint32(1 << bit) == 0).astype(np.int32) for bit in range(high - low)]
    return _Lookup(number, order, values, begins, unset, [col[order] for col in cols])


def _masks(width: int, radius: int) -> Iterator[tuple[int, ...]]:
    """All patterns of at most ``radius`` of ``width`` bits, some at a time."""
    every = (  # as many as _mask_count says
        sum(1 << bit for bit in turned)
        for count in range(min(radius, width) + 1)
        for turned in itertools.combinations(range(width), count)
    )
    return iter(lambda: tuple(itertools.islice(every, _MASKS)), ())


def _turned(
    lookup: _Lookup, mask: int, distance: int, edges: list[int], limits: list[int]
) -> Iterator[tuple[Index, Index, NDArray[np.uint8]]]:
    """Near pairs whose substrings differ in exactly the bits of ``mask``."""
    if mask:  # each pair once: from the row that has the highest of these bits unset
        asking = lookup.unset[mask.bit_length() - 1]
        sought = lookup.values[asking] ^ np.uint32(mask)
        begins, ends = lookup.begins[sought], lookup.begins[sought + np.uint32(1)]
    else:  # equal substrings: every later row of the same bucket
        asking = np.arange(lookup.values.size, dtype=np.int32)
        begins, ends = asking + 1, lookup.begins[lookup.values + np.uint32(1)]
    full = np.flatnonzero(ends > begins)
    asking, begins, counts = asking[full], begins[full], (ends - begins)[full]
    running = np.cumsum(counts)
    at, done = 0, 0
    while at < asking.size:
        stop = max(at + 1, int(np.searchsorted(running, done + _CANDIDATES, side="right")))
        left, right = _expanded(asking[at:stop], begins[at:stop], counts[at:stop], running[at:stop] - done)
        at, done = stop, int(running[stop - 1])
        kept, bits_apart = near(lookup.cols, left, right, distance)
        if kept.size:
            left, right = left[kept], right[kept]
            mine = _is_first(lookup, left, right, edges, limits)
            if mine.any():
                yield lookup.order[left[mine]], lookup.order[right[mine]], bits_apart[mine]


def _expanded(asking: Places, begins: Places, counts: Places, running: Places) -> tuple[Index, Index]:
    """Each asking row against ``counts`` places from ``begins`` on, as running sums: ``np.repeat`` is several times slower."""
    heads = running - counts
    left = np.zeros(int(running[-1]), dtype=np.int64)
    right = np.ones(left.size, dtype=np.int64)
    left[heads] = np.diff(asking, prepend=0)
    right[heads] = begins
    right[heads[1:]] -= begins[:-1] + counts[:-1] - 1
    return np.cumsum(left, out=left), np.cumsum(right, out=right)


def _is_first(lookup: _Lookup, left: Places, right: Places, edges: list[int], limits: list[int]) -> NDArray[np.bool_]:
    """Whether no substring before this one is within its radius."""
    difference = [col[left] ^ col[right] for col in lookup.cols]
    first = np.ones(left.size, dtype=np.bool_)
    for number in range(lookup.number):
        first &= np.bitwise_count(bit_field(difference, edges[number], edges[number + 1])) > limits[number]
    return first
