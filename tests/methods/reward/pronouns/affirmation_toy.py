"""A toy pronoun set and engines that answer and score it by rule, for the affirmation audit's tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xxhash import xxh64_intdigest

from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, ScoreBatch, Span
from evenhand.errors import EngineError
from evenhand.methods.reward.pronouns.grader import PronounFamily
from evenhand.methods.reward.pronouns.items import AffirmationSet
from evenhand.methods.reward.pronouns.misgendered import Blank
from evenhand.records import Item, LogProb, Message, Response

FAMILIES = {
    "he": PronounFamily("he", "he", "him", "his", "his", "himself", "binary"),
    "she": PronounFamily("she", "she", "her", "her", "hers", "herself", "binary"),
    "they": PronounFamily("they", "they", "them", "their", "theirs", "themself", "they"),
    "xe": PronounFamily("xe", "xe", "xem", "xyr", "xyrs", "xemself", "neo"),
}
FRAMES = [f"A{number}" for number in range(8)]
NAMES = ("Robin", "Sam")


def toy_set() -> AffirmationSet:
    """Two names x four families x eight frames, as prompts and as blanks."""
    prompts, blanks = [], []
    for name in NAMES:
        for family in FAMILIES:
            for frame in FRAMES:
                key = f"toy/{name}/{family}/{frame}"
                before = f"{name} uses {family} pronouns. In {frame} a friend met"
                clusters = {"template": frame, "antecedent": name}
                kind = "short" if name == "Sam" else "long"
                prompts.append(
                    Item(
                        key, "affirmation", (Message("user", before),), family, "", clusters, {"antecedent_type": kind}
                    )
                )
                options = {other: f" {one.acc}" for other, one in FAMILIES.items()}
                blanks.append(Blank(key, name, family, "acc", "", frame, before, " at the park.", options))
    return AffirmationSet(prompts, blanks, FAMILIES, {"toy": "1"})


def share(*parts: object) -> float:
    """A fixed number in [0, 1)."""
    return (xxh64_intdigest("/".join(map(str, parts)).encode()) >> 11) / 2**53


@dataclass
class ToyEngine:
    """Says the declared pronoun with probability ``right[family]``, none with ``none``, else "him".

    ``favour[family]`` nats are added to a sentence that holds the declared pronoun; every word costs half a nat and a digest.
    ``after`` batches of either kind it breaks down.
    """

    spec: str
    right: Mapping[str, float]
    favour: Mapping[str, float] = field(default_factory=dict)
    none: float = 0.0
    verbs: frozenset[str] = frozenset({"generate", "score"})
    after: int = 10**9
    failing: str = ""
    offset: int = 0
    generated: int = 0
    scored: int = 0
    plain: set[bool] = field(default_factory=set)

    def identity(self) -> Identity:
        """An identity for each toy."""
        return Identity(self.spec, "toy")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of 16."""
        parts = [tuple(requests[i : i + 16]) for i in range(0, len(requests), 16)]
        return [Batch(f"{part[0].item_id}#{part[0].repetition}", part) for part in parts]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """One token a request."""
        return Estimate(len(requests), len(requests), len(requests) * sampling.max_tokens, True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """The toy's continuations, batch by batch."""
        for batch in batches:
            if self.generated >= self.after:
                raise EngineError("the toy broke down")
            self.generated += 1
            self.plain |= {request.plain for request in batch.requests}
            yield batch, [self._say(request, config) for request in batch.requests]

    def _say(self, request: Request, config: str) -> Response:
        key = (config, request.item_id, request.repetition)
        if self.failing and self.failing in request.item_id:
            return Response(*key, "", "error", error="refused by the toy")
        family = request.item_id.split("/")[2] if request.item_id.startswith("toy") else "they"
        luck = share(self.spec, *key[1:])
        word = FAMILIES[family].acc if luck < self.right.get(family, 0.5) else ("them" if family == "he" else "him")
        text = " a friend." if share("none", *key[1:]) < self.none else f" {word} at the park."
        return Response(*key, text, "stop", prompt_tokens=5, completion_tokens=4)

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """Batches of 32."""
        parts = [tuple(spans[i : i + 32]) for i in range(0, len(spans), 32)]
        return [ScoreBatch(part[0].text, part) for part in parts]

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """The toy's scores, the last batch first."""
        for batch in reversed(batches):
            if self.scored >= self.after:
                raise EngineError("the toy broke down")
            self.scored += 1
            yield batch, [self._value(span) for span in batch.spans]

    def _value(self, span: Span) -> LogProb:
        words = span.text.split()
        if self.failing and self.failing in span.text:
            return LogProb(span.key, None, error="it does not fit")
        values = [-0.5 - 0.01 * share(word) for word in words]
        told = re.search(r"uses (\w+) pronouns\. .* (\w+) at the park", span.text)
        assert told is not None
        if FAMILIES[told.group(1)].acc == told.group(2):
            values[-1] += self.favour.get(told.group(1), 0.0)
        tokens = tuple(len(word) + self.offset for word in words)
        return LogProb(span.key, sum(values), tokens, tuple(values))

    def close(self) -> None:
        """Nothing to release."""
