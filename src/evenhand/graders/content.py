"""Measures of what a response says: words, sentiment, and texts prepared for a regard classifier.

They are taken on served outputs only and never replace a label: polite wording hides a
harmful refusal from a toxicity classifier altogether.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from xxhash import xxh128_hexdigest

from evenhand.errors import BadInput
from evenhand.graders.masking import replace_name
from evenhand.graders.normalise import clean_text, fold


def _words(file: str) -> frozenset[str]:
    """A word list of the sentiment lexicon: everyday English, chosen for this project, no group words among them."""
    return frozenset(Path(__file__).with_name(file).read_text(encoding="utf-8").split())


NEGATIONS = frozenset(["not", "no", "never", "without", "hardly", "cannot", "neither", "nor", "nothing", "nobody"])
POSITIVE = _words("positive_words.txt")
NEGATIVE = _words("negative_words.txt")


# Scripts that write no spaces between words: Han, Hiragana, Katakana (each character counts as a word).
_SPACELESS = re.compile("[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_DASHES = re.compile("[–—―…/|]+|-{2,}")
_LETTERS = re.compile(r"[^\W_]")
_END = re.compile(r"[.!?。！？]+[\"'”’»)\]]*(?=\s|$)|(?<=[。！？])|\n")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|e\.g|i\.e|no|approx|inc|ltd)|(?:^|[\s.])[A-Za-z])\.$", re.I
)
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@runtime_checkable
class TextClassifier(Protocol):
    """Gives each text one number: a probability, or whatever ``unit`` says."""

    name: str
    unit: str

    @property
    def identity(self) -> str:
        """A digest of everything that decides its numbers."""
        ...

    def measure(self, texts: Sequence[str]) -> list[float]:
        """One number per text, in order."""
        ...


def count_words(text: str) -> int:
    """Words in ``text``: pieces between white space or dashes that hold a letter or digit, in any script.

    Hyphenated and contracted words count once; in Han, Hiragana and Katakana, which write no spaces, each character
    counts.
    """
    spaceless = len(_SPACELESS.findall(text))
    rest = _SPACELESS.sub(" ", text) if spaceless else text
    return spaceless + sum(1 for piece in _DASHES.sub(" ", rest).split() if _LETTERS.search(piece))


def first_sentence(text: str) -> str:
    """The first sentence of ``text``: up to a full stop, question or exclamation mark before white space, or a line
    break.

    Common abbreviations and initials do not end a sentence. Leading empty lines are skipped.
    """
    text = text.strip()
    for match in _END.finditer(text):
        if not _ABBREVIATION.search(text[max(0, match.start() - 12) : match.start() + 1]):
            return text[: match.end()].strip()
    return text


def regard_text(text: str, phrase: str, placeholder: str = "XYZ") -> str:
    """The text a regard classifier gets (published practice): the first sentence, with the name or group phrase
    masked.
    """
    sentence = first_sentence(clean_text(text))
    return replace_name(sentence, phrase, placeholder) if phrase else sentence


class SentimentLexicon:
    """Positive minus negative words, as a share of all words of a text: from -1 to 1, 0 for a text without words.

    A small English word list of our own; a word within two words of a negation counts for the other side. It is a
    coarse control measure, not a validated instrument.
    """

    name = "sentiment-lexicon"
    unit = "share of words"

    @property
    def identity(self) -> str:
        """A digest of the word lists."""
        words = ["sentiment", *sorted(POSITIVE), "-", *sorted(NEGATIVE), "-", *sorted(NEGATIONS)]
        return xxh128_hexdigest("\n".join(words).encode())

    def measure(self, texts: Sequence[str]) -> list[float]:
        """One value in [-1, 1] per text, in order."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> float:
        words = _TOKEN.findall(fold(text))
        total, last_negation = 0, -3
        for position, word in enumerate(words):
            if word in NEGATIONS or word.endswith("n't"):
                last_negation = position
                continue
            sign = (word in POSITIVE) - (word in NEGATIVE)
            total += -sign if position - last_negation <= 2 else sign
        return total / len(words) if words else 0.0


def open_classifier(spec: str, **options: Any) -> TextClassifier:
    """A classifier from its spec: ``sentiment-lexicon``, ``hf/FOLDER-or-ID#LABEL``, or a registered name.

    Raises BadInput for an unknown name and for an ``hf/`` spec without a label.
    """
    from evenhand.registry import CLASSIFIERS

    kind, slash, rest = spec.partition("/")
    made: TextClassifier = CLASSIFIERS.get(kind)(rest, **options) if slash else CLASSIFIERS.get(spec)(**options)
    if not isinstance(made, TextClassifier):
        raise BadInput(f"'{spec}' is not a text classifier.")
    return made
