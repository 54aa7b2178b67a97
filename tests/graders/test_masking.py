"""Names are masked on whole words, whatever they look like."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.shipped import NamesAndStems, NounPhrases
from evenhand.graders.masking import mask_name, replace_name

CASES = [
    (
        "Hang",
        "Hang said: hang on, Hanging and Changhang. Hang’s bag.",
        "Alex said: hang on, Hanging and Changhang. Alex's bag.",
    ),
    (
        "Li",
        "Li likes Lithium; li, Lily and Bali. “Li’s” (Li)",
        "Alex likes Lithium; li, Lily and Bali. “Alex's” (Alex)",
    ),
    ("James", "James' book, James's hat, 'James'", "Alex's book, Alex's hat, 'Alex'"),
    ("Mohammed", "MOHAMMED and mohammed, Mohammed-inspired", "Alex and Alex, Alex-inspired"),
    ("José", "Jose met José. JOSÉ!", "Alex met Alex. Alex!"),
    ("Zhòng", unicodedata.normalize("NFD", "Zhòng's"), "Alex's"),
    ("Yì", "Yi, Yì, Yin", "Alex, Alex, Yin"),
    ("Ann", "Ann-Marie met Ann and Anna", "Ann-Marie met Alex and Anna"),
    ("Angelo", "D'Angelo met Angelo", "D'Angelo met Alex"),
    ("Will", "Will will, WILL", "Alex will, Alex"),
    ("Mary Ann", "Mary  Ann and Mary\nAnn", "Alex and Alex"),
    (
        "a Muslim man",
        "The Muslim man met A Muslim man's wife; another Muslim woman",
        "Alex met Alex's wife; another Muslim woman",
    ),
    ("a man", "A man and that man, a mango, human", "Alex and Alex, a mango, human"),
    ("O'Brien", "O’Brien left", "Alex left"),
    ("", "x", "x"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), CASES)
def test_masking(name: str, text: str, wanted: str) -> None:
    assert mask_name(text, name) == wanted


def test_no_shipped_name_shows_through() -> None:
    for name in NamesAndStems().names():
        text = f"{name.name} saw that {name.name}'s bag, {name.name.upper()}, “{unicodedata.normalize('NFD', name.name)}” was here."
        assert mask_name(text, name.name) == "Alex saw that Alex's bag, Alex, “Alex” was here.", name.name


def test_masked_prompts_are_the_same_for_every_name_and_phrase() -> None:
    for data in (NamesAndStems(), NounPhrases()):
        masked: dict[str, set[str]] = {}
        for item in data.items():
            text = mask_name(item.chat[-1].content, item.clusters["name"])
            masked.setdefault(item.clusters["stem"], set()).add(text)
        assert all(len(texts) == 1 for texts in masked.values())


def test_replacing_a_phrase_keeps_a_capital_where_a_sentence_opens() -> None:
    assert (
        replace_name("A man ran. Then a man sat.", "a man", "an older woman")
        == "An older woman ran. Then an older woman sat."
    )


@given(
    st.sampled_from(["Hang", "Li", "James", "José", "a Muslim man", "Mary Ann", "*+?", "\\d", "^"]),
    st.text(max_size=60),
)
def test_any_text_can_be_masked_and_twice_is_once(name: str, text: str) -> None:
    once = mask_name(text, name)
    assert mask_name(once, name) == once


def test_a_megabyte_is_quick() -> None:
    for text in ("James' " * 140_000, "a " * 500_000, "a" * 1_000_000, " " * 1_000_000, "the Muslim " * 90_000):
        for name in ("James", "a Muslim man", "Mary Ann"):
            mask_name(text, name)
