"""Every search gives the pairs of comparing all, for k = 0 to 16, whatever the fingerprints look like."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.hamming import (
    METHODS,
    Plan,
    batch_count,
    chance_pairs,
    near_pairs,
    pair_batches,
    plan,
)
from evenhand.methods.pluralism.corpus.pairs import numba_available

INDEXES = ("blocks", "multi-index")


def every_pair(prints: np.ndarray, distance: int) -> list[tuple[int, int, int]]:
    """All pairs by Python's integers."""
    values = [sum(int(word) << (64 * place) for place, word in enumerate(row)) for row in prints]
    apart = ((i, j, (values[i] ^ values[j]).bit_count()) for i in range(len(values)) for j in range(i + 1, len(values)))
    return [pair for pair in apart if pair[2] <= distance]


def turned(row: np.ndarray, bits: list[int]) -> np.ndarray:
    row = row.copy()
    for bit in bits:
        row[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return row


def made(kind: str, words: int) -> np.ndarray:
    generator = np.random.default_rng(5)
    width = 64 * words
    if kind == "random":
        return generator.integers(0, 2**64, (90, words), dtype=np.uint64)
    if kind == "equal":
        return np.full((30, words), 0x0123456789ABCDEF, dtype=np.uint64)
    if kind == "clustered":
        centres = generator.integers(0, 2**64, (5, words), dtype=np.uint64)
        return np.array(
            [
                turned(
                    centres[row % 5], generator.choice(width, int(generator.integers(0, 14)), replace=False).tolist()
                )
                for row in range(90)
            ]
        )
    # exactly 0 to 17 bits apart, spread evenly over the width so that as many blocks as possible differ, in every rotation
    start = generator.integers(0, 2**64, words, dtype=np.uint64)
    spread = [
        [(shift + place * width // max(1, count)) % width for place in range(count)]
        for count in range(18)
        for shift in range(4)
    ]
    return np.array([start, *(turned(start, bits) for bits in spread)])


def listed(pairs) -> list[tuple[int, int, int]]:  # type: ignore[no-untyped-def]
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("kind", ["random", "equal", "clustered", "adversarial"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_exact(method: str, kind: str, words: int) -> None:
    prints = made(kind, words)
    pairs = every_pair(prints, 16)
    for distance in range(17):
        found = near_pairs(prints, distance, method=method, threads=1 + distance % 2)  # type: ignore[arg-type]
        assert listed(found) == [pair for pair in pairs if pair[2] <= distance], distance


@given(
    values=st.lists(
        st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.sampled_from([0, 2**64 - 1, 2**63]), max_size=25
    ),
    distance=st.integers(0, 16),
    extra=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_any_number_of_parts_is_exact(values: list[int], distance: int, extra: int) -> None:
    prints = np.array(values, dtype=np.uint64).reshape(-1, 1)
    expected = every_pair(prints, distance)
    blocks = Plan("blocks", distance + 1 + (extra if distance < 9 else 0), 0.0)
    for how in (blocks, Plan("multi-index", 3 + extra, 0.0), Plan("brute", 0, 0.0)):
        batches = list(pair_batches(prints, distance, how))
        assert sorted(triple for batch in batches for triple in listed(batch)) == expected
        assert len(batches) == batch_count(prints, distance, how)
        cut = [0, len(batches) // 3, len(batches) // 2, len(batches)]
        spans = [pair_batches(prints, distance, how, span=range(*ends)) for ends in itertools.pairwise(cut)]
        assert [listed(batch) for span in spans for batch in span] == [listed(batch) for batch in batches]


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_change_a_batch(method: str) -> None:
    prints = made("clustered", 1)
    how = plan(prints, 8, method=method)  # type: ignore[arg-type]
    one, four = ([listed(b) for b in pair_batches(prints, 8, how, threads=n)] for n in (1, 4))
    assert one == four


def test_large_buckets_and_tile_edges() -> None:
    """More rows than a tile and a dense bucket hold, half of them near one centre."""
    generator = np.random.default_rng(9)
    prints = generator.integers(0, 2**64, (1500, 1), dtype=np.uint64)
    near = np.uint64(1) << generator.integers(0, 64, (700, 3), dtype=np.uint64)
    prints[::2][:700, 0] = prints[0, 0] ^ np.bitwise_or.reduce(near, axis=1)
    i, j = np.triu_indices(1500, 1)
    apart = np.bitwise_count(prints[i, 0] ^ prints[j, 0])
    for distance in (4, 10):
        close = apart <= distance
        for method in METHODS:
            found = near_pairs(prints, distance, method=method)
            assert (found.first == i[close]).all()
            assert (found.second == j[close]).all()
            assert (found.distance == apart[close]).all()


def test_the_choice_depends_on_rows_distance_and_evenness() -> None:
    generator = np.random.default_rng(0)
    few = generator.integers(0, 2**64, (500, 1), dtype=np.uint64)
    many = generator.integers(0, 2**64, (100_000, 1), dtype=np.uint64)
    assert plan(few, 10).method == "brute"
    assert plan(many, 3).method in INDEXES
    assert plan(many, 10).method in INDEXES
    uneven = many & np.uint64(0xFFFF)
    assert plan(uneven, 10, method="multi-index").seconds > plan(many, 10, method="multi-index").seconds
    for method in METHODS:
        assert plan(few, 16, method=method).method == method
    assert plan(many, 10, method="blocks").words().startswith("block permutation, 1")


def test_expected_chance_pairs() -> None:
    """Spec 9: 5.0e3 pairs among 10^6 rows at distance 10 of 64."""
    assert chance_pairs(10**6, 64, 10) == pytest.approx(5.0e3, rel=0.02)
    assert chance_pairs(1000, 128, 20) == pytest.approx(499_500 * binom.cdf(20, 128, 0.5))


@pytest.mark.parametrize(("words", "distance"), [(1, -1), (1, 32), (2, 64)])
def test_distances_without_sense_are_refused(words: int, distance: int) -> None:
    with pytest.raises(BadInput, match="is out of range"):
        near_pairs(np.zeros((3, words), dtype=np.uint64), distance)


def test_parts_that_would_lose_pairs_are_refused() -> None:
    prints = np.zeros((3, 1), dtype=np.uint64)
    with pytest.raises(BadInput, match="10 blocks cannot find all pairs within 10 bits"):
        list(pair_batches(prints, 10, Plan("blocks", 10, 0.0)))
    with pytest.raises(BadInput, match="2 substrings"):
        list(pair_batches(prints, 10, Plan("multi-index", 2, 0.0)))
    with pytest.raises(BadInput, match="Unknown search method 'magic'"):
        plan(prints, 10, method="magic")  # type: ignore[arg-type]


def test_compiled_pairs_are_the_same() -> None:
    if not numba_available():
        pytest.skip("numba is not installed")
    for words in (1, 2):
        prints = np.concatenate([made(kind, words) for kind in ("random", "equal", "clustered", "adversarial")] * 4)
        for distance in (0, 5, 16):
            one, other = (
                [listed(b) for b in pair_batches(prints, distance, Plan("brute", 0, 0.0, compiled=c), threads=2)]
                for c in (False, True)
            )
            assert [sorted(batch) for batch in one] == [sorted(batch) for batch in other]
