"""Many token sequences in few rows: every shared beginning is stored once, and each token sees its own ancestors alone.

Sequences are sorted, so that each shares its longest beginning with the one before it. A row holds a prefix tree: a token's
position is its depth, and a dense mask lets it attend to its path from the root. The last token of a sequence predicts
nothing and is left out unless another sequence goes on from it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
_LITTLE = 4
"""Sharing fewer tokens than this is not worth keeping two sequences in one row."""
_LONGER = 8
"""A row may grow to this many times what its sequences share: reading a long beginning again costs more than a long row."""
_MOST_NEW = 4096
"""No row takes more than this behind what its sequences share: a mask grows with the square of the row."""


def sort_key(ids: NDArray[np.int32]) -> bytes:
    """Bytes that sort as the sequences of ids do."""
    return ids.astype(">i4").tobytes()


def shared_length(first: NDArray[np.int32], second: NDArray[np.int32]) -> int:
    """How many tokens two sequences share from the start."""
    most = min(len(first), len(second))
    differ = first[:most] != second[:most]
    where = int(differ.argmax()) if most else 0
    return where if most and differ[where] else most


@dataclass(slots=True)
class Row:
    """One row of a batch: tokens with their depths, and the paths of its sequences."""

    tokens: list[NDArray[np.int32]] = field(default_factory=list)
    depths: list[IntArray] = field(default_factory=list)
    branches: list[tuple[IntArray, int]] = field(default_factory=list)
    length: int = 0

    def mask(self, width: int) -> NDArray[np.bool_]:
        """(width, width): what each token sees. Padding sees itself, so that no row of the softmax is empty."""
        seen = np.zeros((width, width), dtype=np.bool_)
        np.fill_diagonal(seen, True)
        for path, new in self.branches:
            low = len(path) - new
            if new:
                new_places = slice(int(path[low]), int(path[-1]) + 1)
                seen[new_places, new_places] = np.tri(new, dtype=np.bool_)
                if low:
                    seen[new_places, path[:low]] = True
        return seen


@dataclass(frozen=True, slots=True)
class Pack:
    """A batch: ``tokens``, ``depths`` (rows, width), ``mask`` (rows, width, width), and what is to be predicted where.

    ``nodes`` are the places (row * width + column) whose next-token distribution is needed, each once; target k is the
    token ``target[k]`` after ``nodes[at[k]]``. ``bounds[i]`` are the first and last + 1 target of sequence i.
    """

    tokens: IntArray
    depths: IntArray
    mask: NDArray[np.bool_]
    nodes: IntArray
    at: IntArray
    target: IntArray
    bounds: IntArray


@dataclass(frozen=True, slots=True)
class _Run:
    """Sequences that stand together because each shares a beginning with the one before: their numbers, and their tokens."""

    numbers: list[int]
    tokens: int


def _runs(bodies: Sequence[NDArray[np.int32]], row_tokens: int) -> list[_Run]:
    """Cut the sorted sequences where little is shared or a row is full. The first token is not counted: rows share it."""
    runs: list[_Run] = []
    numbers: list[int] = []
    tokens = 0
    previous: NDArray[np.int32] = np.zeros(0, np.int32)
    for number, body in enumerate(bodies):
        shared = shared_length(previous, body) if numbers else 0
        full = tokens + len(body) - shared >= max(row_tokens, min(_LONGER * shared, shared + _MOST_NEW))
        if numbers and (shared < _LITTLE or full):
            runs.append(_Run(numbers, tokens))
            numbers, tokens, shared = [], 0, 0
        numbers.append(number)
        tokens += len(body) - max(shared, 1)
        previous = body
    runs.append(_Run(numbers, tokens))
    return runs


def _filled(runs: Sequence[_Run], row_tokens: int) -> list[list[_Run]]:
    """Put the longest runs first, each into the fullest row that still has room, so that rows hold little padding."""
    order = sorted(range(len(runs)), key=lambda i: (-runs[i].tokens, i))
    rows: list[list[_Run]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for i in order:
        run = runs[i]
        at = bisect_left(room, (run.tokens, -1))
        if at < len(room):
            left, row = room.pop(at)
        else:
            left, row = row_tokens, len(rows)
            rows.append([])
        rows[row].append(run)
        insort(room, (left - run.tokens, row))
    return rows


def _laid_out(runs: Sequence[_Run], row_tokens: int) -> list[list[_Run]]:
    """Rows of at most ``row_tokens`` (or the longest run) or a little less, whichever leaves the smallest rectangle."""
    row_tokens = max(row_tokens, 1 + max(run.tokens for run in runs))
    total = sum(run.tokens for run in runs)
    even = total / max(1, -(-total // row_tokens))
    tried = [
        _filled(runs, capacity)
        for capacity in (row_tokens, *(min(row_tokens, int(even * x) + 1) for x in (1.0, 1.03, 1.08)))
    ]
    return min(tried, key=lambda rows: len(rows) * max(sum(run.tokens for run in row) for row in rows))


def pack(sequences: Sequence[NDArray[np.int32]], starts: Sequence[int], row_tokens: int, pad: int) -> Pack:
    """Lay out sequences, given in sorted order, in rows of about ``row_tokens``; what shares a long beginning may take more.

    ``starts[i]`` (at least 1) is the first token of sequence i that is scored.
    """
    bodies = [ids[:-1] for ids in sequences]
    rows: list[Row] = []
    places: list[tuple[int, IntArray]] = [(0, np.zeros(0, np.int64))] * len(bodies)
    for number, held in enumerate(_laid_out(_runs(bodies, row_tokens), row_tokens)):
        row = Row()
        for run in held:
            # Runs share the row's first token at least: most often the beginning of sequence, one token in twenty.
            previous: NDArray[np.int32] = row.tokens[0][:1] if row.tokens else np.zeros(0, np.int32)
            path: IntArray = np.zeros(min(1, row.length), np.int64)
            for i in run.numbers:
                body = bodies[i]
                shared = min(shared_length(previous, body), len(path))
                new = len(body) - shared
                path = np.concatenate([path[:shared], np.arange(row.length, row.length + new)])
                if new:
                    row.tokens.append(body[shared:])
                    row.depths.append(np.arange(shared, len(body)))
                    row.branches.append((path, new))
                    row.length += new
                places[i] = (number, path)
                previous = body
        rows.append(row)
    width = max(row.length for row in rows)
    tokens = np.full((len(rows), width), pad, dtype=np.int64)
    depths = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        if row.length:
            tokens[i, : row.length] = np.concatenate(row.tokens)
            depths[i, : row.length] = np.concatenate(row.depths)
    wanted = [r * width + p[start - 1 :] for (r, p), start in zip(places, starts, strict=True)]
    nodes, at = np.unique(np.concatenate(wanted), return_inverse=True)
    ends = np.cumsum([len(part) for part in wanted])
    return Pack(
        tokens=tokens,
        depths=depths,
        mask=np.stack([row.mask(width) for row in rows]),
        nodes=nodes,
        at=at.reshape(-1).astype(np.int64),
        target=np.concatenate([ids[start:] for ids, start in zip(sequences, starts, strict=True)]).astype(np.int64),
        bounds=np.stack([ends - [len(part) for part in wanted], ends], axis=1),
    )
