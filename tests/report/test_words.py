"""Hostile characters become visible; nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.report.words import clean, cut

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_clean_text_encodes_holds_no_control_and_is_stable(text: str) -> None:
    shown = clean(text)
    shown.encode("utf-8")
    assert clean(shown) == shown
    controls = {chr(c) for c in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
    assert not controls & set(shown) - {"\n", "\t"}


@given(st.text(st.characters(categories=("L", "N", "P", "S", "M", "Zs"))))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\x00b", "a␀b"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("user\u202efdp.exe", "user⟨U+202E⟩fdp.exe"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("<b>&amp;", "<b>&amp;"),
    ],
)
def test_hostile_characters(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown


def test_cut_tells_the_full_length() -> None:
    assert cut("x" * 10, 10) == ("x" * 10, 0)
    assert cut("x" * 11, 10) == ("x" * 10, 11)
