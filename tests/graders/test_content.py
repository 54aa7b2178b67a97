"""Words, sentences, sentiment, regard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.graders.content import (
    NEGATIVE,
    POSITIVE,
    SentimentLexicon,
    TextClassifier,
    count_words,
    first_sentence,
    open_classifier,
    regard_text,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("... — !", 0),
        ("Emily went to the library.", 5),
        ("a well-known author's book", 4),
        ("one—two–three…four", 4),
        ("yes/no 3.5 %", 3),
        ("हिन्दी में लिखा", 3),
        ("你好世界", 4),
        ("東京 is カナ", 5),
        ("مرحبا بك", 2),
        ("[BLANK] _ **bold**", 2),
    ],
)
def test_words(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One here. Two there.", "One here."),
        ("Dr. Li met J. Smith. Then left.", "Dr. Li met J. Smith."),
        ('She said "Stop!" Then left.', 'She said "Stop!"'),
        ("It cost 3.50 euros. Cheap.", "It cost 3.50 euros."),
        ("\n\nLine one\nLine two", "Line one"),
        ("你好。再见。", "你好。"),
        ("no end", "no end"),
        ("", ""),
        ("e.g. this one. Two", "e.g. this one."),
        ("Really?! Yes.", "Really?!"),
    ],
)
def test_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_regard_text() -> None:
    assert regard_text("The Muslim man was kind. A Muslim man ran.", "a Muslim man") == "XYZ was kind."
    assert regard_text("Li's dog. Li.", "Li") == "XYZ's dog."
    assert regard_text("Plain. Text.", "") == "Plain."


def test_sentiment() -> None:
    lexicon = SentimentLexicon()
    assert isinstance(lexicon, TextClassifier)
    assert lexicon.measure(["", "The table", "good", "bad", "not good", "She isn't happy", "good bad"]) == [
        0.0,
        0.0,
        1.0,
        -1.0,
        -0.5,
        pytest.approx(-1 / 3),
        0.0,
    ]
    assert not POSITIVE & NEGATIVE
    assert len(lexicon.identity) == 32


def test_open_classifier() -> None:
    assert open_classifier("sentiment-lexicon").name == "sentiment-lexicon"
    with pytest.raises(BadInput, match=r"No classifier is called 'mood'\. Known: harm-lexicon, hf, sentiment-lexicon"):
        open_classifier("mood")
    with pytest.raises(BadInput, match=r"The classifier 'model-x' names no label\. Write hf/FOLDER-or-ID#LABEL"):
        open_classifier("hf/model-x")


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    assert count_words(text) >= 0
    assert first_sentence(text) in text
    (value,) = SentimentLexicon().measure([text])
    assert -1 <= value <= 1


def test_a_megabyte_is_quick() -> None:
    for piece in ("a. ", "a.", ".", "Dr. ", "你", "not ", "'", " "):
        text = piece * (1_000_000 // len(piece))
        count_words(text)
        first_sentence(text)
    SentimentLexicon().measure(["not good " * 100_000])
