"""Similarity of sets of 4-grams, and the texts on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.methods.pluralism.corpus.removal import Similarity, TextStore, gram_set, jaccard
from evenhand.methods.pluralism.corpus.simhash import char_grams

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
