"""Which rows stay, against a plain reading of the two rules; similarity of 4-gram sets, and the texts on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.methods.pluralism.corpus import removal
from evenhand.methods.pluralism.corpus.hamming import Plan, pair_batches
from evenhand.methods.pluralism.corpus.pairs import columns
from evenhand.methods.pluralism.corpus.removal import Similarity, TextStore, gram_set, jaccard
from evenhand.methods.pluralism.corpus.simhash import char_grams


def plain(values: list[int], distance: int, unlike: set[int], rule: str) -> list[int]:
    """The keeper of every row, by the definition; pairs whose rows sum to a number in ``unlike`` are not similar."""

    def pair(i: int, j: int) -> bool:
        return (values[i] ^ values[j]).bit_count() <= distance and i + j not in unlike

    keeper: list[int] = []
    for row in range(len(values)):
        earlier = (i for i in range(row) if keeper[i] == i and pair(i, row))
        keeper.append(next(earlier, row) if rule == "first_come" else row)
    if rule == "components":
        for _ in values:
            for i in range(len(values)):
                for j in range(i):
                    if pair(j, i):
                        keeper[i] = keeper[j] = min(keeper[i], keeper[j])
    return keeper


@pytest.mark.parametrize("rule", ["first_come", "components"])
@pytest.mark.parametrize("crowd", [False, True])
@given(
    values=st.lists(st.integers(0, 255) | st.integers(0, 2**64 - 1), max_size=30),
    distance=st.integers(0, 6),
    unlike=st.sets(st.integers(0, 60)),
)
@settings(max_examples=60, deadline=None)
def test_both_rules_by_definition(rule: str, crowd: bool, values: list[int], distance: int, unlike: set[int]) -> None:
    prints = np.array(values, dtype=np.uint64).reshape(-1, 1)
    batches = pair_batches(prints, distance, Plan("blocks", distance + 1, 0.0), most=0 if crowd else None)
    keeper, crowded = getattr(removal, rule)(batches, columns(prints), distance, lambda i, j: bool(i + j not in unlike))
    assert keeper.tolist() == plain(values, distance, unlike, rule)
    near = any((a ^ b).bit_count() <= distance for at, a in enumerate(values) for b in values[:at])
    assert crowded == (crowd and near)


@pytest.mark.parametrize("rule", ["first_come", "components"])
def test_too_many_pairs_in_all_give_the_same_rows(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    centres = generator.integers(0, 2**64, 40, dtype=np.uint64)
    flips = np.uint64(1) << generator.integers(0, 64, (900, 5), dtype=np.uint64)
    prints = (centres[generator.integers(0, 40, 900)] ^ np.bitwise_or.reduce(flips, axis=1)).reshape(-1, 1)

    def run(most: int | None) -> tuple[list[int], bool]:
        batches = pair_batches(prints, 8, Plan("brute", 0, 0.0), most=most)
        keeper, crowded = getattr(removal, rule)(batches, columns(prints), 8, lambda i, j: (i * j) % 11 != 0)
        return keeper.tolist(), crowded

    enough, crowded = run(None)
    assert not crowded
    monkeypatch.setattr(removal, "MOST_HELD", 100)
    monkeypatch.setattr(removal, "_KEEPERS", 16)
    assert run(None if rule == "first_come" else 10) == (enough, True)


def test_the_two_rules_differ_on_a_chain() -> None:
    prints = np.array([[0b0], [0b11], [0b1111]], dtype=np.uint64)
    found = {}
    for rule in ("first_come", "components"):
        batches = pair_batches(prints, 2, Plan("brute", 0, 0.0))
        found[rule] = getattr(removal, rule)(batches, columns(prints), 2, lambda i, j: True)[0].tolist()
    assert found == {"first_come": [0, 0, 2], "components": [0, 0, 0]}


sets = st.frozensets(st.text(min_size=1, max_size=2), max_size=6)


@given(sets, sets)
def test_similarity_is_shared_over_all(first: frozenset[str], second: frozenset[str]) -> None:
    if not first | second:
        with pytest.raises(ValueError, match="undefined"):
            jaccard(first, second)
        return
    value = jaccard(first, second)
    assert value == len(first & second) / len(first | second)
    assert jaccard(second, first) == value
    assert (value == 1) == (first == second)


@given(st.text(max_size=12))
def test_sets_hold_the_grams_of_the_fingerprints(text: str) -> None:
    assert gram_set(text) == frozenset(char_grams(text))


def test_texts_come_back_and_sets_are_held_up_to_a_limit(tmp_path: Path) -> None:
    texts = ["abcde", "", "\u4f60\u597d \U0001f600", "bcdef", "x" * 9000]
    with TextStore(tmp_path) as store:
        store.extend([text.encode() for text in texts[:2]])
        store.extend([])
        store.extend([text.encode() for text in texts[2:]])
        assert len(store) == 5
        assert [store[number] for number in (4, 0, 1, 3, 2)] == [texts[number] for number in (4, 0, 1, 3, 2)]
        similarity = Similarity(store, np.array([0, 3, 4, 2]), held=1)
        assert similarity(0, 1) == 1 / 3
        assert similarity(0, 2) == 0
        assert similarity(2, 2) == 1
        assert similarity(1, 0) == 1 / 3
