"""Scripted engines for the corpus: answers planted in placeholder texts, and a generator with every kind of fault."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from evenhand.engines.base import Batch, Choice, Estimate, Identity, Question, Request, Sampling, TextOnly, Verb
from evenhand.methods.pluralism.corpus.wording import DOMAINS, OPTIONS, SLUGS
from evenhand.records import Response

SYLLABLES = [c + v for c in "bdfgjklmnprstvwz" for v in "aeiou"]
PROFILES = [("Man", "White", "gen z"), ("Woman", "Multiracial", "gen x+"), ("Woman", "Other", "")]
_AREA = re.compile(r"(area|weak|flip)(\d\d)")
_FENCE = re.compile(r"^<<<FENCE-[0-9a-f]{16}>>>$", re.MULTILINE)


def words(draw: random.Random, size: int = 14) -> str:
    """Placeholder words that say nothing."""
    return " ".join("".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))) for _ in range(size))


def line(seed: str, area: int, kind: str = "area") -> str:
    """A placeholder prompt that the scripted classifier puts into a domain (1 to 14)."""
    draw = random.Random(seed)
    return f"Tell me the {words(draw, 7)} of {kind}{area:02d} {words(draw, 7)}"


def fenced_parts(content: str) -> list[str]:
    """What stands after each fence line."""
    return [part.strip("\n") for part in _FENCE.split(content)[1:]]


def planted(text: str, domain: int, paraphrase: int) -> float:
    """P(yes): areaNN is .9, weakNN .4, flipNN .7 under the first wording and .2 under the second; else .02."""
    best = 0.02
    for kind, number in _AREA.findall(text):
        if int(number) == domain:
            best = max(best, {"area": 0.9, "weak": 0.4, "flip": (0.7, 0.2)[paraphrase]}[kind])
    return best


class ScriptedClassifier(TextOnly):
    """Answers yes/no questions, or writes JSON, by what is planted in the text. ``asked`` keeps every prompt it saw."""

    def __init__(self, verbs: frozenset[Verb] = frozenset({"generate", "choose"}), spec: str = "scripted/classifier"):
        self.spec, self.verbs = spec, verbs
        self.asked: list[str] = []
        self.calls = 0
        self.fails = "BROKEN"

    def identity(self) -> Identity:
        """The identity of the script."""
        return Identity(self.spec, "none")

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """One answer a question; a text with the word ``fails`` (BROKEN) has none."""
        self.calls += 1
        for question in questions:
            content = question.chat[-1].content
            self.asked.append(content)
            assert question.options == OPTIONS
            text, task = fenced_parts(content)
            name = re.match(r"The domain (.+) covers:", task)
            assert name is not None
            number = 1 + [domain.name for domain in DOMAINS].index(name[1])
            if self.fails and self.fails in text:
                yield Choice(question.key, (), (), None, "planted failure")
                continue
            p = planted(text, number, int("By the definition" in content))
            yield Choice(question.key, (0.0, 0.0), (p, 1 - p), 0.8)

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of four."""
        return [Batch(str(i), tuple(requests[i : i + 4])) for i in range(0, len(requests), 4)]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Nothing costs anything."""
        return Estimate(len(requests), 0, 0, True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """JSON replies, the last batch first."""
        for batch in reversed(batches):
            yield batch, [self.reply(request, config) for request in batch.requests]

    def reply(self, request: Request, config: str) -> Response:
        """The JSON of a text; the words REFUSED, SILENT, GARBLED and ONCE in it plant faults, ONCE only at first."""
        content = request.chat[-1].content
        self.asked.append(content)
        text = fenced_parts(content)[0]
        again = "earlier reply" in content
        if "REFUSED" in text:
            answer = "I'm sorry, I cannot do that."
        elif "SILENT" in text:
            answer = "  "
        elif "GARBLED" in text or ("ONCE" in text and not again):
            answer = "The domain is none."
        else:
            paraphrase = int("by their definitions" in content)
            answer = json.dumps({slug: planted(text, at, paraphrase) for at, slug in enumerate(SLUGS, start=1)})
        return Response(config, request.item_id, request.repetition, answer, "stop")

    def close(self) -> None:
        """Nothing to release."""


FAULTS = (
    "failed", "refusal", "filtered", "empty", "several lines", "short", "long", "cut off", "language", "script", "copy",
    "repeated", "near a seed", "near a row", "broken", "wrong domain", "weak",
)  # fmt: skip


class ScriptedGenerator(ScriptedClassifier):
    """Writes placeholder prompts; a share of its lines has one of `FAULTS`. Depends on the attempt alone."""

    def __init__(self, rows: Sequence[str] = (), share: float = 0.4, spec: str = "scripted/generator"):
        super().__init__(frozenset({"generate"}), spec)
        self.rows, self.share = list(rows), share

    def reply(self, request: Request, config: str) -> Response:
        """One line, or a fault."""
        content = request.chat[-1].content
        self.asked.append(content)
        name = re.match(r"Domain: (.+)\n", content)
        assert name is not None
        area = 1 + [domain.name for domain in DOMAINS].index(name[1])
        draw = random.Random(request.item_id)
        good = line(f"made {request.item_id}", area)
        seeds = [part for part in fenced_parts(content) if part][:3]
        finish, error = "stop", ""
        if draw.random() >= self.share:
            text = good
        else:
            fault = draw.choice(FAULTS)
            text = self._faulty(fault, good, area, seeds, draw)
            finish = {"cut off": "length", "filtered": "content_filter", "failed": "error"}.get(fault, "stop")
            error = "planted failure" if fault == "failed" else ""
        return Response(config, request.item_id, request.repetition, text, finish, error=error)  # type: ignore[arg-type]

    def _faulty(self, fault: str, good: str, area: int, seeds: Sequence[str], draw: random.Random) -> str:
        seed = seeds[0] if seeds else good
        return {
            "failed": "",
            "refusal": "I cannot write such a message.",
            "filtered": "",
            "empty": " … ",
            "several lines": f"Here is one:\n{good}",
            "short": "area",
            "long": f"{good} {words(draw, 70)}",
            "cut off": good,
            "language": f"¿Cómo puedo {good.split('of ')[1]} con la de los que no para una?",
            "script": "".join(chr(0x430 + ord(c) % 32) if c.isalpha() else c for c in good),
            "copy": seed.upper(),
            "repeated": f"Tell me again and again about area{area:02d} as you told me before",
            "near a seed": seed[:-1],
            "near a row": draw.choice(self.rows)[:-1] if self.rows else good,
            "broken": f"BROKEN {good}",
            "wrong domain": line(f"wrong {draw.random()}", area % 14 + 1),
            "weak": line(f"weak {draw.random()}", area, "weak"),
        }[fault]


def write_prompts(path: Path, sizes: dict[int, int], *, none: int = 0, extra: Sequence[str] = ()) -> list[str]:
    """A csv of placeholder prompts with ids and profiles; returns the texts. Every text has three raters."""
    texts = [line(f"{area} {at}", area) for area, size in sizes.items() for at in range(size)]
    texts += [f"Tell me the {words(random.Random(f'none {at}'), 14)}" for at in range(none)]
    texts += extra
    rows = ["id,prompt,gender,race,age,education"]
    for at, text in enumerate(texts):
        for gender, race, age in PROFILES:
            cell = text.replace('"', '""')
            rows.append(f'i{at:04d},"{cell}",{gender},{race},{age},High school or below')
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return texts
