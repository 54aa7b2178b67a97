"""Small items, responses and a scripted engine for grader tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.graders.base import Gradable
from evenhand.records import FinishReason, Item, Message, Response


def item(
    name: str = "Emily", group: str = "a", stem: str = "S1", prompt: str = "{} went to the library to [BLANK]."
) -> Item:
    """One item of the service audit."""
    chat = (Message("system", "You are helpful. Fill in [BLANK]."), Message("user", prompt.format(name)))
    return Item(f"service/{stem}/{name}", "service", chat, group, "neutral", {"name": name, "stem": stem})


def response(
    text: str, to: Item | None = None, finish: FinishReason = "stop", repetition: int = 0, **more: str
) -> Response:
    """One response to an item."""
    return Response("m", (to or item()).id, repetition, text, finish, **more)  # type: ignore[arg-type]


def row(text: str, to: Item | None = None) -> Gradable:
    """A row as a grader gets it."""
    to = to or item()
    return Gradable(to, response(text, to), text)


class ScriptedEngine(TextOnly):
    """An engine that answers each chat by a function, and remembers what it was asked."""

    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(self, answer: Callable[[tuple[Message, ...]], str | Response], spec: str = "scripted"):
        self.spec, self.answer = spec, answer
        self.asked: list[Request] = []
        self.samplings: list[Sampling] = []

    def identity(self) -> Identity:
        """The identity of the script."""
        return Identity(self.spec, "none")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of two."""
        return [Batch(str(i), tuple(requests[i : i + 2])) for i in range(0, len(requests), 2)]

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Nothing costs anything."""
        return Estimate(len(requests), 0, 0, True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Answer batch by batch, the last first."""
        self.samplings.append(sampling)
        for batch in reversed(batches):
            self.asked += batch.requests
            yield batch, [self._one(request, config) for request in batch.requests]

    def _one(self, request: Request, config: str) -> Response:
        from dataclasses import replace

        answer = self.answer(request.chat)
        if isinstance(answer, Response):
            return replace(answer, config=config, item_id=request.item_id, repetition=request.repetition)
        return Response(config, request.item_id, request.repetition, answer, "stop")

    def close(self) -> None:
        """Nothing to release."""


@pytest.fixture
def kit() -> Any:
    """``kit.item``, ``kit.response``, ``kit.row`` and ``kit.ScriptedEngine``."""
    return SimpleNamespace(item=item, response=response, row=row, ScriptedEngine=ScriptedEngine)
