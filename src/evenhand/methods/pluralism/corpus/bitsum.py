"""For every text, which bits more than half of its feature hashes have set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GROUP = 1024
_LONG = 4096


def majority(hashes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The majority word of each run of hashes.

    ``hashes`` (features,) holds the runs one after the other, ``lengths`` (texts,) their sizes. Bit b of entry t is 1
    where more than half of the hashes of run t have bit b set; an even split gives 0, and so does an empty run.

    The sums are kept bit by bit: word l of a text holds binary digit l of 64 sums at once, and a full adder takes three
    words of one digit to one of that digit and one of the next. Texts of like length go together, padded with zeros.
    """
    found = np.zeros(lengths.size, dtype=np.uint64)
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    short = order[lengths[order] <= _LONG]
    for at in range(0, short.size, _GROUP):
        group = short[at : at + _GROUP]
        steps = np.arange(int(lengths[group[-1]]))[:, None]
        inside = steps < lengths[group]
        index = np.where(inside, starts[group] + steps, 0)
        rows = hashes[index]
        rows *= inside
        found[group] = _above(_digits(rows), lengths[group] // 2)
    for text in order[short.size :]:
        found[text] = _long_majority(hashes[starts[text] : starts[text] + lengths[text]])
    return found


def _digits(rows: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Column sums of the bits of (steps, texts) words, as binary digits: entry l is digit l, (texts,) words."""
    digits: list[NDArray[np.uint64]] = []
    waiting = list(rows)
    while waiting:
        carries: list[NDArray[np.uint64]] = []
        while len(waiting) > 1:
            first, second = waiting.pop(), waiting.pop()
            third = waiting.pop() if waiting else None
            differ = first ^ second
            carry = first & second
            if third is not None:
                carry |= differ & third
                differ ^= third
            carries.append(carry)
            waiting.append(differ)
        digits.append(waiting[0])
        waiting = carries
    return digits


def _above(digits: list[NDArray[np.uint64]], threshold: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Words whose bit b is 1 where sum b of a text is greater than that text's threshold."""
    full = np.uint64(0xFFFFFFFFFFFFFFFF)
    above = np.zeros(threshold.size, dtype=np.uint64)
    equal = np.full(threshold.size, full)
    for place in range(len(digits) - 1, -1, -1):
        wanted = np.where((threshold >> place) & 1, full, np.uint64(0))
        above |= equal & digits[place] & ~wanted
        equal &= ~(digits[place] ^ wanted)
    return above


def _long_majority(hashes: NDArray[np.uint64]) -> np.uint64:
    sums = np.zeros(64, dtype=np.int64)
    for at in range(0, hashes.size, 65536):
        block = np.ascontiguousarray(hashes[at : at + 65536]).astype("<u8").view(np.uint8).reshape(-1, 8)
        sums += np.unpackbits(block, axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
    packed: NDArray[np.uint64] = np.packbits(2 * sums > hashes.size, bitorder="little").view("<u8").astype(np.uint64)
    return np.uint64(packed[0])
