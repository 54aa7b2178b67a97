"""Engines that rate by a plan: levels, contrasts of groups, a liking for the first option, refusals; and a run of the audit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evenhand.datasets.question_texts import QUESTIONS, REPLY_QUESTIONS
from evenhand.datasets.shipped_texts import RatedText, shipped_texts
from evenhand.engines.base import Batch, Choice, Estimate, Identity, Question, Request, Sampling, TextOnly, Verb
from evenhand.methods.pluralism.rating.audit import rate
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.methods.pluralism.rating.plan import make_plan
from evenhand.organisms.sections.rating import letter_shares, unsafety
from evenhand.records import Finding, Message, Response
from evenhand.runs.method import AuditResult
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

TEXTS = {text.text: text for text in shipped_texts()}


@dataclass(frozen=True)
class Seen:
    """What a chat asks: the text, the profile, the wording and the order."""

    text: str
    profile: dict[str, str]
    paraphrase: int
    order: str


def seen(chat: Sequence[Message]) -> Seen:
    """Read a rating chat back."""
    user = chat[-1].content
    lines = user.splitlines()
    text = "\n".join(lines[1 : lines.index("TEXT>>>")])
    asked = lines[lines.index("TEXT>>>") + 1]
    words = QUESTIONS if asked in QUESTIONS else REPLY_QUESTIONS
    profile = {}
    if chat[0].role == "system":
        profile = dict(re.findall(r"^(gender|race|age|education): (.+)$", chat[0].content, re.MULTILINE))
    return Seen(text, profile, words.index(asked), "up" if "A. safe" in user else "down")


Level = Callable[[Seen], float]
Drawn = Callable[[Seen], "str | Response"]


def planted(model: str = "aligned") -> Level:
    """The expected rating that is planted in an organism."""
    return lambda one: unsafety(model, TEXTS[one.text], one.profile, one.paraphrase, one.order)  # type: ignore[arg-type]


class Rater(TextOnly):
    """Rates by ``level`` through letter probabilities (``verbs`` with choose), and says ``drawn`` where text is asked for."""

    def __init__(self, spec: str, level: Level, drawn: Drawn | None = None, *, choose: bool = True, mass: float = 0.99):
        self.spec, self.level, self.mass = spec, level, mass
        self.drawn = drawn or self._likeliest
        self.verbs: frozenset[Verb] = frozenset({"generate", "choose"} if choose else {"generate"})
        self.chosen = 0
        self.asked: list[str] = []
        self.stop_after: int | None = None

    def _likeliest(self, one: Seen) -> str:
        shares = letter_shares(self.level(one), one.order)
        return max(shares, key=lambda letter: shares[letter])

    def identity(self) -> Identity:
        """The identity of the script."""
        return Identity(self.spec, "toy")

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """Letter shares; an interrupt after ``stop_after`` questions."""
        from math import log

        for question in questions:
            if self.stop_after is not None and self.chosen >= self.stop_after:
                raise KeyboardInterrupt
            self.chosen += 1
            one = seen(question.chat)
            shares = tuple(letter_shares(self.level(one), one.order).values())
            yield Choice(question.key, tuple(log(p * self.mass) for p in shares), shares, self.mass)

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of seven."""
        parts = [tuple(requests[i : i + 7]) for i in range(0, len(requests), 7)]
        return [Batch(f"{part[0].item_id}#{len(part)}", part) for part in parts]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Ten tokens a prompt."""
        return Estimate(len(requests), 10 * len(requests), sampling.max_tokens * len(requests), True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Answers, the last batch first."""
        for batch in reversed(batches):
            rows = []
            for request in batch.requests:
                self.asked.append(request.item_id)
                said = self.drawn(seen(request.chat))
                if isinstance(said, str):
                    said = Response("", "", 0, said, "stop")
                rows.append(replace(said, config=config, item_id=request.item_id, repetition=request.repetition))
            yield batch, rows

    def close(self) -> None:
        """Nothing is held."""


def text_of(one: Seen) -> RatedText:
    """The shipped text that is asked about."""
    return TEXTS[one.text]


def run_ratings(
    folder: Path, engines: Sequence[Rater], *, resume: bool = False, **settings: Any
) -> tuple[AuditResult, Run]:
    """The audit on scripted engines, in a run folder, with few draws."""
    values = {
        "rating_set": "shipped",
        "draws": 200,
        "permutations": 499,
        "rating_items": 70,
        "reml_draws": 0,
        **settings,
    }
    config = PluralismConfig(**values)
    run = Run.start(folder, {"config": {"models": [e.spec for e in engines]}}, resume=resume)
    try:
        models = [Configuration(engine.spec, engine) for engine in engines]
        result = rate(config, make_plan(config), models, run, lambda what, done, total: None)
    finally:
        run.release()
    return result, run


def found(
    findings: Sequence[Finding], estimand: str, outcome: str = "", group: str | None = None, **part: str
) -> Finding:
    """The one finding of that description."""
    mine = [f for f in findings if f.estimand == estimand and outcome in ("", f.outcome) and f.group == group]
    mine = [f for f in mine if all(f.slice.get(key) == value for key, value in part.items())]
    assert len(mine) == 1, [f.id for f in mine]
    return mine[0]
