"""Batch plans."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.base import Request
from evenhand.engines.planning import batch_key, blocks, length_sorted
from evenhand.errors import BadInput
from evenhand.records import Message


def requests(lengths: list[int], repetitions: int) -> list[Request]:
    return [
        Request(f"i{n}", r, (Message("user", "x" * length),))
        for n, length in enumerate(lengths)
        for r in range(repetitions)
    ]


@given(st.lists(st.integers(1, 90), max_size=40), st.integers(1, 5), st.integers(1, 2000), st.randoms())
def test_length_sorted(lengths: list[int], repetitions: int, budget: int, shuffler: random.Random) -> None:
    table = requests(lengths, repetitions)
    sizes = {request: len(request.chat[0].content) for request in table}
    plan = length_sorted(table, [sizes[request] for request in table], 10, budget)
    assert sorted((r.item_id, r.repetition) for batch in plan for r in batch.requests) == sorted(
        (r.item_id, r.repetition) for r in table
    )
    homes: dict[str, set[str]] = {}
    for batch in plan:
        longest = max(sizes[request] for request in batch.requests)
        items = {request.item_id for request in batch.requests}
        assert len(items) == 1 or len(batch.requests) * (longest + 10) <= budget
        for item in items:
            homes.setdefault(item, set()).add(batch.key)
    assert all(len(keys) == 1 for keys in homes.values())
    shuffled = table[:]
    shuffler.shuffle(shuffled)
    assert length_sorted(shuffled, [sizes[request] for request in shuffled], 10, budget) == plan


def test_keys_depend_on_everything_in_a_batch() -> None:
    base = requests([3, 4], 1)
    keys = {
        batch_key(base), batch_key(base[::-1]), batch_key(base[:1]), batch_key([base[0], Request("i1", 1, base[1].chat)]),
        batch_key([base[0], Request("i2", 0, base[1].chat)]), batch_key([base[0], Request("i1", 0, base[0].chat)]),
        batch_key([base[0], Request("i1", 0, (Message("system", "xxxx"),))]),
    }  # fmt: skip
    assert len(keys) == 7
    assert all(len(key) == 32 for key in keys)


def test_rows_asked_twice_and_empty_chats_are_named() -> None:
    table = requests([3], 2)
    with pytest.raises(BadInput, match=r"Item 'i0', repetition 1 is asked for twice \(request 3\)"):
        blocks([*table, table[1]], 4)
    with pytest.raises(BadInput, match="'bare' has no message"):
        length_sorted([Request("bare", 0, ())], [0], 1, 10)


def test_blocks() -> None:
    plan = blocks(requests([1] * 5, 3), 4)
    assert [len(batch.requests) for batch in plan] == [4, 4, 4, 3]
    assert blocks([], 4) == []
