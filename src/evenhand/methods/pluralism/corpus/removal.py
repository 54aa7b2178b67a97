"""Which of several near-duplicate rows are kept; pairs are verified by the Jaccard similarity of their character 4-grams.

First-come: rows in input order. A row is dropped if an earlier kept row is within the distance and similar enough, and its keeper
is the first such row. Components: rows joined by a chain of such pairs form one group, of which the first is kept; a row may then
be farther from its keeper than the distance. The two differ, and both are exact.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evenhand.methods.pluralism.corpus.pairs import Columns, Crowded, Index, Pairs, near, tile_pairs
from evenhand.methods.pluralism.corpus.simhash import GRAM

_LONGEST_HELD = 4096
MOST_HELD = 20_000_000
"""Pairs held for first-come removal, 8 bytes each; beyond, rows are compared with the keepers so far instead."""
_BLOCK = 256
_KEEPERS = 4096
Similar = Callable[[int, int], bool]


def gram_set(text: str) -> frozenset[str]:
    """The different 4-grams of a normalised text, as ``char_grams`` makes them."""
    if len(text) <= GRAM:
        return frozenset([text] if text else [])
    return frozenset({text[at : at + GRAM] for at in range(len(text) - GRAM + 1)})


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared over all different 4-grams, 0 to 1. Raises ValueError if neither has any: the value is undefined."""
    if not first and not second:
        raise ValueError("the Jaccard similarity of two empty sets is undefined")
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


class Texts(Protocol):
    """Texts by their numbers from 0."""

    def __getitem__(self, number: int, /) -> str:
        """One text."""
        ...


class TextStore:
    """Texts in a temporary file: memory holds 8 bytes for each. Use as a context manager."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._ends = array("Q", [0])

    def __enter__(self) -> TextStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def extend(self, parts: list[bytes]) -> None:
        """Add texts, in UTF-8, at the end."""
        end = self._ends[-1]
        for part in parts:
            end += len(part)
            self._ends.append(end)
        self._file.seek(0, 2)
        self._file.write(b"".join(parts))

    def __getitem__(self, number: int) -> str:
        begin, end = self._ends[number], self._ends[number + 1]
        self._file.seek(begin)
        return self._file.read(end - begin).decode()


class Similarity:
    """Jaccard similarity of stored texts by their numbers; remembers the sets of the latest ones."""

    def __init__(self, store: Texts, numbers: np.ndarray[tuple[int], np.dtype[np.int64]], held: int = 2048) -> None:
        self._store, self._numbers, self._held = store, numbers, held
        self._sets: OrderedDict[int, frozenset[str]] = OrderedDict()

    def __call__(self, first: int, second: int) -> float:
        """Similarity of the texts at these two places of ``numbers``, 0 to 1."""
        return jaccard(self._grams(first), self._grams(second))

    def _grams(self, place: int) -> frozenset[str]:
        grams = self._sets.get(place)
        if grams is not None:
            self._sets.move_to_end(place)
            return grams
        text = self._store[int(self._numbers[place])]
        grams = gram_set(text)
        if len(text) <= _LONGEST_HELD:
            self._sets[place] = grams
            if len(self._sets) > self._held:
                self._sets.popitem(last=False)
        return grams


def first_come(batches: Iterable[Pairs], cols: Columns, distance: int, similar: Similar) -> tuple[Index, bool]:
    """The keeper of every row, (n,), the row itself where it stays; and whether there were too many pairs to hold.

    ``batches`` must give every pair of rows within ``distance`` once, in any order; ``similar(i, j)`` confirms a pair.
    """
    rows = cols[0].size
    packed: list[NDArray[np.uint64]] = []
    held = 0
    try:
        for batch in batches:
            packed.append((batch.second.astype(np.uint64) << np.uint64(32)) | batch.first.astype(np.uint64))
            held += len(batch)
            if held > MOST_HELD:
                raise Crowded
    except Crowded:
        packed.clear()
        return _against_keepers(cols, distance, similar), True
    keeper = np.arange(rows)
    pairs = np.concatenate(packed) if packed else np.zeros(0, dtype=np.uint64)
    packed.clear()
    pairs.sort()
    for start in range(0, pairs.size, 1 << 20):
        part = pairs[start : start + (1 << 20)]
        _settle(keeper, part & np.uint64(0xFFFFFFFF), part >> np.uint64(32), similar)
    return keeper, False


def _settle(keeper: Index, first: NDArray[np.integer], second: NDArray[np.integer], similar: Similar) -> None:
    """Drop rows, given pairs sorted by the later row and then the earlier."""
    for early, late in zip(first.tolist(), second.tolist(), strict=True):
        if keeper[late] == late and keeper[early] == early and similar(early, late):
            keeper[late] = early


def _against_keepers(cols: Columns, distance: int, similar: Similar) -> Index:
    """First-come removal that holds no pairs: a block of rows against the keepers so far, then among themselves."""
    rows = cols[0].size
    keeper = np.arange(rows)
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, rows, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, rows))
        for at in range(0, kept.size, _KEEPERS):
            block = block[keeper[block] == block]
            some = kept[at : at + _KEEPERS]
            late, early = np.repeat(block, some.size), np.tile(some, block.size)
            close, _ = near(cols, early, late, distance)
            _settle(keeper, early[close], late[close], similar)
        stop = min(start + _BLOCK, rows)
        inside = list(tile_pairs(cols, (start, stop), (start, stop), distance))
        if inside:
            early, late = (np.concatenate(part) for part in list(zip(*inside, strict=True))[:2])
            order = np.lexsort((early, late))
            _settle(keeper, early[order], late[order], similar)
        block = np.arange(start, stop)
        kept = np.concatenate([kept, block[keeper[block] == block]])
    return keeper


def components(batches: Iterable[Pairs], cols: Columns, distance: int, similar: Similar) -> tuple[Index, bool]:
    """As ``first_come``, with the first row of the connected component as the keeper. No pairs are held."""
    root = np.arange(cols[0].size)
    try:
        for batch in batches:
            _unite(root, batch.first, batch.second, similar)
    except Crowded:
        for first, second in _tiles_apart(root, cols, distance):
            _unite(root, first, second, similar)
        return _roots(root, np.arange(root.size)), True
    return _roots(root, np.arange(root.size)), False


def _tiles_apart(root: Index, cols: Columns, distance: int) -> Iterator[tuple[Index, Index]]:
    """Near pairs in small tiles, less those whose rows have been joined by then."""
    rows = root.size
    for first, second, _ in tile_pairs(cols, (0, rows), (0, rows), distance):
        apart = _roots(root, first) != _roots(root, second)
        if apart.any():
            yield first[apart], second[apart]


def _unite(root: Index, first: Index, second: Index, similar: Similar) -> None:
    """Join the trees of similar rows; the lower row is always the root."""
    apart = _roots(root, first) != _roots(root, second)
    for early, late in zip(first[apart].tolist(), second[apart].tolist(), strict=True):
        one, other = _root(root, early), _root(root, late)
        if one != other and similar(early, late):
            root[max(one, other)] = min(one, other)


def _root(root: Index, row: int) -> int:
    while root[row] != row:
        root[row] = root[root[row]]
        row = int(root[row])
    return row


def _roots(root: Index, rows: Index) -> Index:
    roots = root[rows]
    while True:
        above = root[roots]
        if np.array_equal(above, roots):
            return roots
        roots = above
