"""Exact Jaccard similarity of the sets of character 4-grams, and the texts it needs, kept on the disk."""

from __future__ import annotations

import tempfile
from array import array
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import numpy as np

from evenhand.methods.pluralism.corpus.simhash import GRAM

_LONGEST_HELD = 4096


def gram_set(text: str) -> frozenset[str]:
    """The different 4-grams of a normalised text, as ``char_grams`` makes them."""
    if len(text) <= GRAM:
        return frozenset([text] if text else [])
    return frozenset({text[at : at + GRAM] for at in range(len(text) - GRAM + 1)})


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared over all different 4-grams, 0 to 1. Raises ValueError where neither has any: the value is undefined."""
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
