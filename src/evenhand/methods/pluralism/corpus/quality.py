"""Which generated prompts are accepted, and why the others are rejected.

Quality control was not found in the published work. Every rule here is a chosen default.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import BadInput
from evenhand.graders.normalise import clean_text
from evenhand.graders.refusals import refusal_opener
from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.removal import gram_set, jaccard
from evenhand.methods.pluralism.corpus.simhash import Features, fingerprints, normalise
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.records import Response

if TYPE_CHECKING:
    from evenhand.records import Interval


Reason = Literal[
    "failed",
    "refusal",
    "empty",
    "several lines",
    "length",
    "language",
    "copy of a seed",
    "repeated",
    "near a seed",
    "near a row",
    "not classified",
    "wrong domain",
    "below delta",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a generated prompt is rejected, in the order in which the rules are tried."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"[^\W\d_]+")
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("‘", "’"), ("«", "»"))
_LATIN_SHARE = 0.8
_COMMON = {
    "en": "the a an of to and in is are for i you how what my do can that it with this on be me your not when why",
    "es": "el la los las un una de y en es son para que como mi puedo con por no se lo del al cómo qué",
    "fr": "le la les un une de des et en est sont pour je vous comment que mon ma avec pas dans ce qui du au",
    "de": "der die das ein eine und in ist sind für ich du wie was mein kann mit nicht auf zu den dem von",
    "it": "il lo la gli un una di e in è sono per che come mio posso con non si del della i le",
    "pt": "o a os as um uma de e em é são para que como meu posso com não se do da no na",
    "nl": "de het een van en in is zijn voor ik je hoe wat mijn kan met niet op te dat",
}
_FREQUENT = {language: frozenset(words.split()) for language, words in _COMMON.items()}


def tokens(text: str) -> int:
    """Words and single marks of a text: the unit of the length rule, the same for every generator."""
    return len(_TOKEN.findall(text))


def line_of(text: str) -> str:
    """A generated line without invisible characters, outer white space, and one pair of quotes around the whole."""
    line = clean_text(text).strip()
    for begin, end in _QUOTES:
        if len(line) > 2 and line.startswith(begin) and line.endswith(end) and begin not in line[1:-1]:
            return line[1:-1].strip()
    return line


def language_problem(text: str, language: str) -> str:
    """Why a text is not in ``language`` ("en", or "any", which takes all); empty if it may be.

    A rough rule: at least 80 % of the letters are Latin, and no other of six European languages has more of its most frequent
    words in the text than English. Short texts without such words pass.
    """
    if language == "any":
        return ""
    letters = [c for c in text if c.isalpha()]
    latin = sum(unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if letters and latin < _LATIN_SHARE * len(letters):
        return f"{latin} of {len(letters)} letters are Latin"
    words = [word.casefold() for word in _WORD.findall(text)]
    hits = {name: sum(word in frequent for word in words) for name, frequent in _FREQUENT.items()}
    other, most = max(((name, n) for name, n in hits.items() if name != "en"), key=lambda pair: pair[1])
    return f"{most} frequent words of '{other}', {hits['en']} of 'en'" if most > hits["en"] else ""


def form_reason(response: Response, *, least: int, most: int, language: str) -> tuple[Reason | None, str]:
    """What is wrong with a generated text as such, or None; and the detail. ``least`` and ``most`` count `tokens`."""
    if response.finish_reason == "error":
        return "failed", response.error[:300]
    if response.provider_refusal or response.finish_reason == "content_filter":
        return "refusal", (response.provider_refusal or "content filter")[:300]
    line = line_of(response.text)
    if not any(c.isalnum() for c in line):
        return "empty", ""
    if opener := refusal_opener(line):
        return "refusal", f"opener: {opener}"
    if len(line.splitlines()) > 1:
        return "several lines", f"{len(line.splitlines())} lines"
    size = tokens(line)
    if response.finish_reason == "length":
        return "length", "cut off at the most tokens of the generator"
    if not least <= size <= most:
        return "length", f"{size} tokens"
    problem = language_problem(line, language)
    return ("language", problem) if problem else (None, "")


def class_reason(row: Classified, target: str, delta: float) -> tuple[Reason | None, str]:
    """What the classifier objects to in a text that was generated for ``target``, or None; and the detail."""
    if row.status != "ok":
        return "not classified", f"{row.status}: {row.error}"[:300]
    top = SLUGS[row.values.index(max(row.values))]
    if top != target:
        return "wrong domain", f"{top} at {max(row.values):.3f}"
    return ("below delta", f"{max(row.values):.3f}") if row.label == NONE or max(row.values) < delta else (None, "")


@dataclass(frozen=True, slots=True)
class Near:
    """The row that a text is near to: its key, the distance in bits, and the Jaccard similarity (0 to 1)."""

    key: str
    distance: int
    jaccard: float


class Prints:
    """Fingerprints of rows, asked which of them is nearest to a new text.

    A text counts as near within ``distance`` bits, without verification: the similarity is only reported. A chance pair costs one
    attempt of the generator, and so no synthetic row lies within the distance of another row. Texts without
    features are near to nothing.
    """

    def __init__(self, *, bits: int, distance: int, features: Features):
        self.bits, self.distance, self.features = bits, distance, features
        self.keys: list[str] = []
        self._place: dict[str, int] = {}
        self._texts: list[str] = []
        self._ready: dict[str, NDArray[np.uint64] | None] = {}
        self._words: NDArray[np.uint64] = np.zeros((64, bits // 64), dtype=np.uint64)

    def prepare(self, texts: Sequence[str]) -> None:
        """Fingerprint texts that will be asked about or added: together is many times faster than one by one."""
        plain = [normalise(text) for text in texts]
        prints = fingerprints(plain, features=self.features, bits=self.bits)
        self._ready = {
            text: words if size else None
            for text, words, size in zip(plain, prints.words, prints.counts.tolist(), strict=True)
        }

    def _print(self, plain: str) -> NDArray[np.uint64] | None:
        """The fingerprint of a normalised text; None if it has no features."""
        if plain not in self._ready:
            self.prepare([plain])
        return self._ready[plain]

    def add(self, keys: Sequence[str], texts: Sequence[str]) -> None:
        """Take rows in; those without features are left out."""
        if len(texts) > 1:
            self.prepare(texts)
        for key, text in zip(keys, texts, strict=True):
            plain = normalise(text)
            words = self._print(plain)
            if words is None:
                continue
            if len(self.keys) == len(self._words):
                self._words = np.concatenate([self._words, np.zeros_like(self._words)])
            self._words[len(self.keys)] = words
            self._place[key] = len(self.keys)
            self.keys.append(key)
            self._texts.append(plain)

    def nearest(self, text: str, among: Sequence[str] | None = None) -> Near | None:
        """The nearest row within the distance, the first of equal ones; ``among`` restricts the search to these keys."""
        plain = normalise(text)
        fingerprint = self._print(plain)
        if not self.keys or fingerprint is None:
            return None
        rows = np.arange(len(self.keys))
        if among is not None:
            rows = np.array(sorted(self._place[key] for key in among if key in self._place), dtype=np.int64)
        if not rows.size:
            return None
        words = self._words[: len(self.keys)] if among is None else self._words[rows]
        apart = np.bitwise_count(words ^ fingerprint).sum(axis=1, dtype=np.int64)
        least = int(apart.argmin())
        if apart[least] > self.distance:
            return None
        at = int(rows[least])
        similarity = jaccard(gram_set(self._texts[at]), gram_set(plain))
        return Near(self.keys[at], int(apart[least]), similarity)


def spot_sample(keys: Sequence[str], share: float, seed: int) -> list[str]:
    """The rows that a person is to check: ``share`` of them, at least one, drawn without replacement, in the given order."""
    if not keys or share <= 0:
        return []
    size = min(len(keys), max(1, round(share * len(keys))))
    drawn = np.random.default_rng([seed, 31]).choice(len(keys), size=size, replace=False)
    return [keys[at] for at in sorted(drawn.tolist())]


def spot_interval(right: int, checked: int, level: float = 0.95) -> Interval | None:
    """Wilson's interval for the share of rows that a person marks as right; None if none was checked."""
    from evenhand.statistics.intervals import wilson

    if checked < 0:
        raise BadInput(f"The number of checked rows cannot be {checked}.")
    return wilson(right, checked, level)
