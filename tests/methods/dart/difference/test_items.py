"""The safety policy: what it adds to the task, and where a rationale is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.question_texts import TASK_SYSTEM_PROMPT
from evenhand.methods.dart.difference.items import CHARACTERS, POLICY_SYSTEM_PROMPT, SENTENCES, cap


def test_the_policy_adds_to_the_task_and_takes_nothing_away() -> None:
    assert POLICY_SYSTEM_PROMPT.startswith(TASK_SYSTEM_PROMPT + " ")
    assert "Conclusion: YES or Conclusion: NO" in POLICY_SYSTEM_PROMPT
    added = POLICY_SYSTEM_PROMPT.removeprefix(TASK_SYSTEM_PROMPT)
    assert all(word in added for word in ("hateful", "violent", "For YES", "For NO"))


def test_the_limits_are_those_of_the_published_code() -> None:
    assert (SENTENCES, CHARACTERS) == (4, 700)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("  \n ", ""),
        ("One.", "One."),
        ("One. Two! Three? Four. Five.", "One. Two! Three? Four."),
        ("One. Two. Three", "One. Two. Three"),
        ("no mark at all", "no mark at all"),
        ('He said "No." She left. They stayed. All ended. More.', 'He said "No." She left. They stayed. All ended.'),
        ("Well... yes. No!! So?! And. Then.", "Well... yes. No!! So?!"),
        ("a" * 900, "a" * 700),
        ("Short. " + "b" * 900 + ".", "Short."),
    ],
)
def test_a_rationale_is_cut_at_a_sentence_where_there_is_one(text: str, kept: str) -> None:
    assert cap(text) == kept


@given(st.text(max_size=1200))
def test_a_cut_text_is_a_beginning_within_both_limits(text: str) -> None:
    kept = cap(text)
    assert text.strip().startswith(kept)
    assert len(kept) <= CHARACTERS
    assert cap(kept) == kept, "cutting twice changes nothing"


@given(st.lists(st.sampled_from(["Groups differ here.", "Why is that?", "It is law!", "Nobody knows"]), max_size=4))
def test_what_is_within_the_limits_is_kept_whole(sentences: list[str]) -> None:
    text = " ".join(sentences)
    assert cap(text) == text
