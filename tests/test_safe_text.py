"""Text made harmless for spreadsheets, terminals and JSON."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.safe_text import clean, csv_restore, csv_safe, cut, json_safe, surrogate_free, terminal_safe

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=60)


@pytest.mark.parametrize(
    "cell", ["=1+1", "+44", "-2", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "'=1", "＝1", "\n=1", "''@x"]
)
def test_csv_safe_quotes_formulas_and_gives_them_back(cell: str) -> None:
    safe = csv_safe(cell)
    assert safe == "'" + cell
    assert csv_restore(safe) == cell


@pytest.mark.parametrize("cell", ["", "plain", "a=b", "it's", "'quoted'", "5-3", "service/S01/Emily"])
def test_csv_safe_leaves_other_cells(cell: str) -> None:
    assert csv_safe(cell) == cell
    assert csv_restore(cell) == cell


@given(ANY_TEXT)
def test_csv_round_trip_never_starts_a_formula(text: str) -> None:
    clean = surrogate_free(text).replace("\0", "")
    safe = csv_safe(text)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert csv_restore(safe) == clean
    out = io.StringIO(newline="")
    csv.writer(out).writerow([safe])
    out.getvalue().encode()


def test_terminal_safe_strips_codes_and_keeps_words() -> None:
    text = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x9b2Jbell\x07 a\rb\u202eabc\u2066 tab\t."
    assert terminal_safe(text) == "red link bell a\nbabc tab\t."


def test_terminal_safe_does_not_hide_text_behind_an_unclosed_command() -> None:
    assert terminal_safe("\x1b]0;all of this stays visible") == "0;all of this stays visible"


def test_terminal_safe_keeps_scripts_and_emoji() -> None:
    text = "Zhòng שלום مرحبا 你好 👩‍👧"
    assert terminal_safe(text) == text


@given(ANY_TEXT)
def test_terminal_safe_leaves_no_control_characters(text: str) -> None:
    safe = terminal_safe(text)
    assert not [
        c for c in safe if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) <= 0x9F or 0xD800 <= ord(c) <= 0xDFFF
    ]
    assert terminal_safe(safe) == safe


def test_megabytes_are_quick() -> None:
    for piece in ("\x1b]", "\x1b[", "\x1b[31m", "\x9d", "=", "\ud800", "a"):
        text = piece * (1_000_000 // len(piece))
        terminal_safe(text)
        csv_safe(text)


def test_json_safe_replaces_lone_surrogates_everywhere() -> None:
    value = {"a\ud800": ["x\udfff", ("\ud83d\ude00", 1.5, None, True)]}
    safe = json_safe(value)
    assert safe == {"a\ufffd": ["x\ufffd", ["😀", 1.5, None, True]]}
    json.dumps(safe, ensure_ascii=False).encode()


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
