"""Many token sequences in few rows: every shared beginning stands once, and each token sees its own ancestors alone.

Sequences are sorted, so that each shares its longest beginning with the one before it. A row holds a prefix tree: a token's
position is its depth, and a dense mask lets it attend to its path from the root. The last token of a sequence predicts
nothing and is left out unless another sequence goes on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pack", "Row", "pack", "shared_length", "sort_key"]

IntArray = NDArray[np.int64]


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
                own = slice(int(path[low]), int(path[-1]) + 1)
                seen[own, own] = np.tri(new, dtype=np.bool_)
                if low:
                    seen[own, path[:low]] = True
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


def pack(sequences: Sequence[NDArray[np.int32]], starts: Sequence[int], row_tokens: int, pad: int) -> Pack:
    """Lay out sequences, given in sorted order, in rows of about ``row_tokens``.

    ``starts[i]`` (at least 1) is the first token of sequence i that is scored; a longer sequence gets a row of its own.
    """
    rows = [Row()]
    places: list[tuple[int, IntArray]] = []
    previous: NDArray[np.int32] = np.zeros(0, np.int32)
    path: IntArray = np.zeros(0, np.int64)
    for ids in sequences:
        body = ids[:-1]
        shared = min(shared_length(previous, body), len(path))
        row = rows[-1]
        if row.length and row.length + len(body) - shared > row_tokens:
            rows.append(Row())
            row, shared, path = rows[-1], 0, np.zeros(0, np.int64)
        new = len(body) - shared
        path = np.concatenate([path[:shared], np.arange(row.length, row.length + new)])
        if new:
            row.tokens.append(body[shared:])
            row.depths.append(np.arange(shared, len(body)))
            row.branches.append((path, new))
            row.length += new
        places.append((len(rows) - 1, path))
        previous = body
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
