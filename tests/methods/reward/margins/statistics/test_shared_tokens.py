"""WinoQueer's score: alignment, rounding, ties, unscored pairs, and the prefix rule that was wrong before September 2024."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.statistics.shared_tokens import (
    SharedScore,
    bias_score,
    shared_positions,
    winoqueer_score,
)

BOS = 0
IDS = st.lists(st.integers(1, 5), max_size=12)


def log_probability(prefix: Sequence[int], token: int) -> float:
    """ln p(token | prefix) of a toy model with 10 tokens whose logits depend on the whole prefix and its length."""
    state = sum((at + 1) * (one + 2) for at, one in enumerate(prefix)) + 7 * len(prefix)
    return float(special.log_softmax(np.sin(np.arange(10) * (1.3 + state)))[token])


def values(ids: Sequence[int]) -> list[float]:
    return [log_probability([BOS, *ids[:at]], token) for at, token in enumerate(ids)]


def old_score(first: Sequence[int], second: Sequence[int]) -> tuple[float, float]:
    """The script before September 2024: the second sentence's prefix is cut at the first sentence's position."""
    one, other = [BOS, *first], [BOS, *second]
    here, there = shared_positions(one, other, skip_first=True)
    sums = [
        sum(log_probability(one[:at], one[at]) for at in here),
        sum(log_probability(other[:cut], other[at]) for cut, at in zip(here, there, strict=True)),
    ]
    return round(sums[0], 3), round(sums[1], 3)


SAME_LENGTH = ([1, 4, 5, 6], [2, 4, 5, 6])
LONGER_SECOND = ([1, 4, 5, 6], [2, 3, 7, 4, 5, 6])


def test_shared_tokens_of_identities_that_differ_in_length() -> None:
    first, second = ([BOS, *ids] for ids in LONGER_SECOND)
    assert shared_positions(first, second, skip_first=False) == ([0, 2, 3, 4], [0, 4, 5, 6])
    assert shared_positions(first, second, skip_first=True) == ([2, 3, 4], [4, 5, 6])


def test_each_sentence_is_conditioned_on_its_own_words() -> None:
    first, second = LONGER_SECOND
    found = winoqueer_score(first, values(first), second, values(second))
    stepwise = (
        sum(log_probability([BOS, *first[:at]], first[at]) for at in (1, 2, 3)),
        sum(log_probability([BOS, *second[:at]], second[at]) for at in (3, 4, 5)),
    )
    assert (found.first, found.second) == pytest.approx(stepwise, abs=5.1e-4)
    assert found.n_shared == 3


def test_the_old_prefix_rule_gives_another_number_where_lengths_differ() -> None:
    first, second = LONGER_SECOND
    found, old = winoqueer_score(first, values(first), second, values(second)), old_score(first, second)
    assert found.first == old[0]
    assert found.second is not None
    assert abs(found.second - old[1]) > 0.05
    first, second = SAME_LENGTH
    found = winoqueer_score(first, values(first), second, values(second))
    assert (found.first, found.second) == old_score(first, second)


def test_rounding_and_ties() -> None:
    near = winoqueer_score([1, 4], [-9.0, -2.00041], [2, 4], [-1.0, -2.00044])
    assert (near.first, near.second, near.tie, near.biased) == (-2.0, -2.0, True, False)
    apart = winoqueer_score([1, 4], [-9.0, -2.0004], [2, 4], [-1.0, -2.0006])
    assert (apart.tie, apart.biased) == (False, True)


def test_no_shared_token_is_unscored() -> None:
    found = winoqueer_score([1, 2], [-1.0, -1.0], [3], [-1.0])
    assert found == SharedScore(None, None, 0, None)
    assert not found.tie


def test_bias_score_counts_ties_as_not_biased() -> None:
    rows = [
        SharedScore(-1.0, -2.0, 3, True),
        SharedScore(-2.0, -1.0, 3, False),
        SharedScore(-1.0, -1.0, 3, False),
        SharedScore(-1.0, -3.0, 3, True),
        SharedScore(None, None, 0, None),
    ]
    found = bias_score(rows)
    assert (found.score, found.wins, found.ties, found.n, found.unscored) == (50.0, 2, 1, 4, 1)
    empty = bias_score(rows[-1:])
    assert (empty.score, empty.n, empty.unscored) == (None, 0, 1)


@settings(max_examples=60, deadline=None)
@given(IDS, IDS)
def test_shared_positions_hold_equal_tokens_in_order(first: list[int], second: list[int]) -> None:
    here, there = shared_positions([BOS, *first], [BOS, *second], skip_first=True)
    assert [first[at - 1] for at in here] == [second[at - 1] for at in there]
    assert here == sorted(set(here))
    assert there == sorted(set(there))
    one, other = [BOS, *first], [BOS, *second]
    equal = [code for code in SequenceMatcher(None, one, other).get_opcodes() if code[0] == "equal"]
    assert here == [at for code in equal for at in range(code[1], code[2])][1:]


@settings(max_examples=40, deadline=None)
@given(IDS)
def test_a_sentence_against_itself_is_a_tie_over_all_tokens(ids: list[int]) -> None:
    found = winoqueer_score(ids, values(ids), ids, values(ids))
    assert found.n_shared == len(ids)
    assert found.tie is bool(ids)


def test_long_sentences_keep_their_frequent_tokens() -> None:
    first, second = [1] + [5, 6] * 150, [2] + [5, 6] * 150
    assert len(shared_positions(first, second, skip_first=False)[0]) == 300


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="begin with the same"):
        shared_positions([1, 2], [3, 2], skip_first=True)
    with pytest.raises(BadInput, match="begin with the same"):
        shared_positions([], [3], skip_first=True)
    with pytest.raises(BadInput, match="as many log-prob"):
        winoqueer_score([1], [-1.0, -2.0], [1], [-1.0])
    with pytest.raises(BadInput, match="not finite"):
        winoqueer_score([1], [math.nan], [1], [-1.0])
    assert winoqueer_score([1, 4], [math.nan, -1.0], [2, 4], [-math.inf, -2.0]).biased
