"""Visible text: stop strings across token borders, and reasoning blocks taken out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evenhand.engines.reply_text import StopStrings, cut_at_stop, decode_text, ends_inside_reasoning, split_reasoning


def test_cut() -> None:
    assert cut_at_stop("one END two STOP", ["STOP", "END"]) == "one "
    assert cut_at_stop("one", ["STOP"]) == "one"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(3, 359), min_size=1, max_size=25), st.data())
def test_the_completing_token_is_always_a_candidate(tokenizer: Any, ids: list[int], data: st.DataObject) -> None:
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    low = data.draw(st.integers(0, max(0, len(text) - 1)))
    stop = text[low : low + data.draw(st.integers(1, 6))]
    if not stop:
        return
    finder = StopStrings(tokenizer, [stop], 360)
    first = next(n for n in range(1, len(ids) + 1) if finder.stops(ids[:n]))
    assert finder.candidates(np.array(ids[first - 1 : first]))[0]


@pytest.mark.parametrize(("stop", "token"), [("<|end|>", 1), ("<|user|>", 4)])
def test_special_tokens_become_end_tokens(tokenizer: Any, stop: str, token: int) -> None:
    assert StopStrings(tokenizer, [stop, "plain", ""], 400).end_ids == {token}


def test_decode_text_drops_special_tokens_only(tokenizer: Any) -> None:
    ids = tokenizer("Tell me , a joke .", add_special_tokens=False).input_ids
    assert decode_text(tokenizer, [[0, *ids, 5], [], ids]) == ["Tell me , a joke .", "", "Tell me , a joke ."]


@pytest.mark.parametrize(
    ("text", "opened", "visible", "reasoning"),
    [
        ("Plain answer.", False, "Plain answer.", ""),
        ("  spaces kept \n", False, "  spaces kept \n", ""),
        ("<think>\nhm\n</think>\n\nYes.", False, "Yes.", "hm"),
        ("<think></think>\nYes.", False, "Yes.", ""),
        ("hm\n</think>\nYes.", True, "Yes.", "hm"),
        ("hm\n</think>\nYes.", False, "Yes.", "hm"),
        ("still thinking", True, "", "still thinking"),
        ("<think>cut off", False, "", "cut off"),
        ("<think>a</think>One <think>b</think>two", False, "One two", "a\n\nb"),
        ("a</think><think>b</think>c", True, "c", "a\n\nb"),
        ("<Thinking>a</Thinking>b", False, "b", "a"),
        ("Use the <think> tag.", False, "Use the <think> tag.", ""),
    ],
)
def test_forms(text: str, opened: bool, visible: str, reasoning: str) -> None:
    assert split_reasoning(text, opened=opened) == (visible, reasoning)


@given(st.text(st.characters(exclude_characters="<")))
def test_text_without_tags_is_untouched(text: str) -> None:
    assert split_reasoning(text) == (text, "")


def test_prompts() -> None:
    assert ends_inside_reasoning("<|assistant|><think>\n")
    assert not ends_inside_reasoning("<|assistant|><think>\n\n</think>\n\n")
    assert not ends_inside_reasoning("<|assistant|>")
