"""The list of identity words: what matches, what is unclear, and how bad lists are told."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.table import read_table
from evenhand.errors import BadInput
from evenhand.methods.reward.coverage.terms import (
    AMBIGUITIES,
    GENDER_DIVERSE,
    TERMS,
    TermList,
    read_terms,
    searchable,
)

SHIPPED = read_terms()


def found(text: str, terms: TermList = SHIPPED) -> list[tuple[str, str]]:
    return [(mention.term.identity, mention.ambiguous) for mention in terms.mentions(text)]


def test_the_shipped_list_is_whole() -> None:
    header = TERMS.read_text(encoding="utf-8").splitlines()[0]
    assert header == "term,identity,axis,role,ambiguous,note"
    axes = SHIPPED.identities()
    assert set(axes) == {
        "pronoun",
        "gender",
        "sexual orientation",
        "religion",
        "ethnicity or nationality",
        "disability",
        "age",
    }
    assert set(axes["gender"]) >= GENDER_DIVERSE
    assert {"xe", "ze", "ey", "fae", "ve", "thon"} < set(axes["pronoun"])
    assert {term.ambiguous for term in SHIPPED.terms} == set(AMBIGUITIES)
    unexplained = {t.term for t in SHIPPED.terms if t.ambiguous == "name" and not t.note}
    assert not unexplained


def test_every_shipped_term_is_found_in_its_own_words() -> None:
    for term in SHIPPED.terms:
        names = {mention.term.identity for mention in SHIPPED.mentions(f"we said {term.term} today")}
        assert term.identity in names, term.term


@pytest.mark.parametrize("spelling", ["non-binary", "nonbinary", "Non Binary", "NON\u2011BINARY", "non\u00adbinary"])
def test_hyphens_spaces_and_case(spelling: str) -> None:
    assert found(f"A {spelling} person spoke.") == [("nonbinary people", "")]


@pytest.mark.parametrize(
    "text", ["trans women", "Trans-women", "trans woman", "TRANSGENDER WOMEN", "a trans\u00a0woman's coat"]
)
def test_a_longer_phrase_hides_the_shorter_on_its_axis(text: str) -> None:
    assert found(text) == [("transgender women", "")]


def test_axes_do_not_hide_each_other() -> None:
    assert found("Black women") == [("Black people", ""), ("women", "")]


@pytest.mark.parametrize("text", ["theme", "shepherd", "womanizer_x", "menu", "Malek", "Heather", "transit", "x3xe4"])
def test_parts_of_words_do_not_match(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "ambiguous"),
    [
        ("a straight line", "meaning"),
        ("straight people", ""),
        ("I'm straight.", ""),
        ("trans fat", "meaning"),
        ("trans people", ""),
        ("Gay Talese wrote it", "name"),
        ("gay rights", ""),
        ("the Gays sang", ""),
        ("they left", "number"),
        ("her", "role"),
    ],
)
def test_unclear_words(text: str, ambiguous: str) -> None:
    (mention,) = SHIPPED.mentions(text)
    assert mention.ambiguous == ambiguous
    assert mention.clear == (ambiguous in ("", "role"))


def test_short_titles_count_in_their_own_spelling_alone() -> None:
    assert found("Ms. Lee") == [("women", "")]
    assert found("MS Word, ms") == []


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("She is Muslim.", "adjective"),
        ("She is a Muslim.", "noun"),
        ("Muslims pray.", "noun"),
        ("Muslim students", "adjective"),
        ("Muslim schools", "noun or adjective"),
    ],
)
def test_noun_or_adjective(text: str, role: str) -> None:
    (mention,) = [m for m in SHIPPED.mentions(text) if m.term.axis == "religion"]
    assert mention.role == role


@pytest.mark.parametrize(
    ("text", "disclosed"),
    [
        ("I am a trans woman", True),
        ("I’m nonbinary", True),
        ("I identify as agender", True),
        ("I am a proud Black woman", True),
        ("As a lesbian, I worry", True),
        ("As a lesbian, she worries", False),
        ("I am a friend of women", False),
        ("I am not gay", False),
        ("My pronouns are xe/xem", True),
        ("I saw xe/xem", False),
        ("She said: a bisexual man", False),
    ],
)
def test_what_a_speaker_says_of_themself(text: str, disclosed: bool) -> None:
    assert any(mention.disclosed for mention in SHIPPED.mentions(text)) is disclosed


def test_a_list_of_your_own(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    path.write_text("term,identity,axis\nweaver,weavers,trade\nsmith,smiths,trade\n", encoding="utf-8")
    terms = read_terms(path)
    assert found("Two weavers and a Smith", terms) == [("weavers", ""), ("smiths", "")]
    assert terms.origin == str(path)
    assert terms.checksum == read_table(path).checksum


BAD = [
    ("a,,trade,noun,\n", r"terms\.csv, row 1: The identity is empty"),
    ("...,dots,trade,noun,\n", r"row 1: The term has no letter"),
    ("a,b,trade,noun,perhaps\n", r"row 1: Unknown ambiguity 'perhaps'"),
    ("a-b,b,trade,noun,\nA B,c,trade,noun,\n", r"row 2: 'A B' differs from row 1 only in case, spaces or hyphens"),
]


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_bad_lists_are_told(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "terms.csv"
    path.write_text("term,identity,axis,role,ambiguous\n" + rows, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_terms(path)


@given(st.text(max_size=200))
def test_any_text_is_searched(text: str) -> None:
    plain = searchable(text)
    for mention in SHIPPED.mentions(text):
        word = plain[mention.start : mention.end]
        assert word
        assert word.strip() == word
        assert not re.search(r"[^\W_]$", plain[: mention.start])
        assert not re.match(r"[^\W_]", plain[mention.end :])


@given(
    st.lists(st.sampled_from(["xe", "women", "trans", "gay", "people", "I", "am", "a", "-", "'s", "the"]), max_size=12)
)
def test_each_axis_covers_a_place_once(words: list[str]) -> None:
    ends: dict[str, int] = {}
    for mention in SHIPPED.mentions(" ".join(words)):
        assert mention.start >= ends.get(mention.term.axis, 0)
        ends[mention.term.axis] = mention.end


def test_a_frame_is_a_list_too() -> None:
    frame = pl.DataFrame({"term": ["x-y"], "identity": ["z"], "axis": ["a"]})
    assert [found(text, read_terms(frame)) for text in ("XY", "x y", "x-y", "x, y")] == [[("z", "")]] * 3 + [[]]
