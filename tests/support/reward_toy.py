"""A toy engine for reward audits: a bigram model over words, exact, with faults to order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evenhand.engines.base import Identity, ScoreBatch, Span, Verb
from evenhand.records import LogProb

WEIGHT = Callable[[str, str], float]


@dataclass
class ToyEngine:
    """Scores words by ``weight(previous word, word)`` nats; ``split`` sets how many characters a token has (0: words).

    ``broken`` maps a text to the reason with which its span fails.
    """

    spec: str
    weight: WEIGHT
    weights: str = ""
    split: int = 0
    broken: Mapping[str, str] = field(default_factory=dict)
    floor: float = 0.0
    scored: list[str] = field(default_factory=list)
    stop_after: int | None = None
    dtype: str = "float32"
    verbs: frozenset[Verb] = frozenset({"score"})

    def identity(self) -> Identity:
        return Identity(spec=self.spec, weights=self.weights or self.spec, dtype=self.dtype)

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        return 0, len(context.rstrip()), False

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        ordered = sorted(spans, key=lambda span: span.context + span.text)
        parts = [tuple(ordered[i : i + 50]) for i in range(0, len(ordered), 50)]
        return [ScoreBatch("|".join(span.context + span.text for span in part)[:200], part) for part in parts]

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        for number, batch in enumerate(batches):
            if number == self.stop_after:
                raise KeyboardInterrupt
            yield batch, [self._row(span) for span in batch.spans]

    def _row(self, span: Span) -> LogProb:
        self.scored.append(span.context + span.text)
        reason = next((why for text, why in self.broken.items() if text in span.text), "")
        if reason:
            return LogProb(span.key, None, error=reason)
        words = [*span.context.split(), *span.text.split()]
        start = len(span.context.split())
        values = [self.weight(words[i - 1] if i else "", words[i]) for i in range(start, len(words))]
        if any(not math.isfinite(value) for value in values):
            return LogProb(span.key, None, error="the model returned logits that are not numbers")
        tokens = tuple(hash_of(word, self.split) for word in words[start:])
        return LogProb(span.key, math.fsum(values), tokens, tuple(values), (), start)

    def noise_floor(self, spans: Sequence[Span]) -> float:
        return self.floor

    def close(self) -> None:
        return None


def hash_of(word: str, salt: int) -> int:
    return (sum(ord(letter) * 31**place for place, letter in enumerate(word)) + salt) % 1_000_003


def shifted(base: WEIGHT, about: Mapping[str, float], words: Sequence[str]) -> WEIGHT:
    """The same weights, but a word of ``words`` after a word of ``about`` gains that many nats."""
    return lambda before, word: base(before, word) + (about.get(before, 0.0) if word in words else 0.0)


def flat(before: str, word: str) -> float:
    """Minus one nat a word, a little less for longer ones."""
    return -1.0 - 0.01 * len(word)


def jittered(salt: int) -> WEIGHT:
    """The flat weights with a little that depends on both words, so that predicates differ."""
    return lambda before, word: flat(before, word) + 0.01 * (hash_of(before + word, 97 * salt) % 7 - 3)


def renamed(engine: ToyEngine, spec: str, **more: Any) -> ToyEngine:
    return replace(engine, spec=spec, scored=[], **more)
