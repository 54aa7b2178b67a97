"""Majorities of bits against counting one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.methods.pluralism.corpus.simhash import majority


def one_by_one(hashes: list[int]) -> int:
    return sum((2 * sum(value >> bit & 1 for value in hashes) > len(hashes)) << bit for bit in range(64))


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), max_size=12))
@settings(max_examples=100)
def test_majority_is_counting(runs: list[list[int]]) -> None:
    flat = np.array([value for run in runs for value in run], dtype=np.uint64)
    found = majority(flat, np.array([len(run) for run in runs], dtype=np.int64))
    assert found.tolist() == [one_by_one(run) for run in runs]


def test_long_runs_and_many_groups() -> None:
    generator = np.random.default_rng(0)
    lengths = np.concatenate([generator.integers(0, 40, 2100), [4095, 4096, 4097, 70_000]])
    generator.shuffle(lengths)
    values = generator.integers(0, 2**64, int(lengths.sum()), dtype=np.uint64)
    found = majority(values, lengths)
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little").astype(np.int64)
    sums = np.concatenate([np.zeros((1, 64), dtype=np.int64), np.cumsum(bits, axis=0)])
    ends = np.cumsum(lengths)
    above = 2 * (sums[ends] - sums[ends - lengths]) > lengths[:, None]
    assert (np.packbits(above, axis=1, bitorder="little").view(np.uint64)[:, 0] == found).all()


def test_an_even_split_gives_zero() -> None:
    values = np.array([2**64 - 1, 0, 2**64 - 1, 1], dtype=np.uint64)
    assert majority(values, np.array([2, 2])).tolist() == [0, 1]
