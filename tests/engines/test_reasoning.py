"""Reasoning blocks in every form that models write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.reply_text import ends_inside_reasoning, split_reasoning


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
