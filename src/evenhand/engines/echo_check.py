"""The self-test of an endpoint's echo log-probabilities, before anything is scored with them.

Some servers leave log-probabilities out without a word; at least one gives each token's in the place of another, or given
the token itself. The test asks nothing of the model's quality. It uses what must hold for any model that reads from left
to right: texts with one beginning have one beginning of log-probabilities, a changed token changes its own, and a text has
the same ones when it is written as when it is echoed. The tolerances are chosen defaults.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any

from evenhand.engines.base import Question, Verb
from evenhand.engines.endpoint import Echo, Failure, Start, echo_job
from evenhand.engines.sender import Job, NoSuchAddress, Sender
from evenhand.engines.wire import first_choice, log_probability, question_body, top_tokens, unread
from evenhand.errors import EngineError
from evenhand.records import Message

_TOLERANCE = 0.1
"""Nats by which one token's log-probability may differ between two requests (16-bit numbers give about 0.01); more than
this, the default tau of the reward audit, could not be told apart from a difference between texts."""

_PAIRS = (
    ("The colours are red, green and blue, as they said.", "The colours are red, seven and blue, as they said."),
    ("We met on Monday in the old house by the river.", "We met on Monday in the big house by the river."),
    ("First one, then two, then three, and then four.", "First one, then two, then never, and then four."),
)
_BEGINNINGS = ("One, two, three, four,", "Dear friend, I write to you", "The river runs through the")
_WORDS = 8


class _Unfit(EngineError):
    """The echo failed the test."""


@dataclass(frozen=True, slots=True)
class Written:
    """A continuation as the endpoint wrote it: its tokens and their log-probabilities in nats."""

    tokens: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """The two questions of the test: echo this text with a number of new tokens, and continue this text."""

    echo: Callable[[str, int], Awaitable[Echo | Failure]]
    write: Callable[[str], Awaitable[Written | Failure]]


@dataclass(frozen=True, slots=True)
class EchoTraits:
    """How an endpoint echoes.

    ``max_tokens`` is the fewest it takes (0 or 1), ``start`` what precedes a prompt, ``noise`` the largest
    difference in nats that one token's log-probability showed between two texts of one beginning.
    """

    max_tokens: int
    start: Start
    noise: float


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an endpoint can do besides generating: how it echoes, whether a chat comes with ``top_logprobs``, or why not."""

    echo: EchoTraits | None
    echo_reason: str
    top_tokens: bool
    chat_reason: str

    @property
    def verbs(self) -> frozenset[Verb]:
        """Score, choose, both or none."""
        score: frozenset[Verb] = frozenset({"score"} if self.echo else ())
        choose: frozenset[Verb] = frozenset({"choose"} if self.echo or self.top_tokens else ())
        return score | choose

    def why_not(self, verb: Verb) -> str:
        """Why the endpoint lacks a verb."""
        return {"score": self.echo_reason, "choose": f"{self.chat_reason}; {self.echo_reason}"}.get(verb, "")


def find_abilities(connect: Callable[[], AbstractAsyncContextManager[Sender]], model: str) -> Abilities:
    """Test an endpoint, with about fifteen short requests. Raises EngineError where nothing answers or the key is refused."""

    async def find() -> Abilities:
        async with connect() as sender:
            echo, echo_reason = await _try_echo(sender, model)
            chat_reason = await _try_chat(sender, model)
        return Abilities(echo, echo_reason, not chat_reason, chat_reason)

    with ThreadPoolExecutor(1) as pool:  # the caller may have an event loop of its own
        return pool.submit(lambda: asyncio.run(find())).result()


async def _try_echo(sender: Sender, model: str) -> tuple[EchoTraits | None, str]:
    async def echo(text: str, max_tokens: int) -> Echo | Failure:
        return await sender.send(echo_job(model, text, max_tokens), first=True)

    async def write(text: str) -> Written | Failure:
        job: Job[Written | Failure] = Job(
            "completions",
            f"write/{text}",
            lambda _: _written_body(model, text),
            read_written,
            Failure,
            lambda: Failure("a content filter stopped the prompt"),
        )
        return await sender.send(job)

    try:
        return await check_echo(Ask(echo, write)), ""
    except _Unfit as error:
        return None, str(error)
    except NoSuchAddress:
        return None, "text-only endpoint: it has no /completions, so it cannot score"


async def _try_chat(sender: Sender, model: str) -> str:
    """Why a chat does not come with the likeliest first tokens; empty if it does."""
    question = Question("probe", (Message("user", "Answer with one word, yes or no: is water wet?"),), ("yes", "no"))
    lacks = "the endpoint gives no `top_logprobs` for a chat"

    def read(payload: Any) -> str:
        try:
            return "" if top_tokens(payload) else lacks
        except ValueError as error:
            return f"{lacks} ({error})"

    job: Job[str] = Job(
        "chat/completions",
        "probe",
        lambda dialect: question_body(model, question, dialect),
        read,
        lambda reason: f"{lacks} ({reason})",
        lambda: lacks,
    )
    try:
        return await sender.send(job, first=True)
    except NoSuchAddress:
        return "the endpoint has no /chat/completions"


def _written_body(model: str, text: str) -> bytes:
    """The JSON body that asks for a short continuation with its log-probabilities, drawn at temperature 1.

    A drawn token has the model's own probability whether the server states it before or after the temperature.
    """
    body = {
        "model": model, "prompt": text, "echo": False, "logprobs": 1, "max_tokens": _WORDS, "temperature": 1.0,
        "top_p": 1.0, "n": 1, "stream": False,
    }  # fmt: skip
    return json.dumps(body, ensure_ascii=True).encode()


def read_written(payload: Any) -> Written | Failure:
    """A completions reply without echo. Raises WireError where it has no choice."""
    choice = first_choice(payload)
    if not choice:
        raise unread(payload, "choices[0]")
    scores = choice.get("logprobs")
    tokens = scores.get("tokens") if isinstance(scores, dict) else None
    values = scores.get("token_logprobs") if isinstance(scores, dict) else None
    if not isinstance(tokens, list) or not isinstance(values, list) or not tokens or len(tokens) != len(values):
        return Failure("the endpoint gives no log-probabilities for what it writes")
    if not all(isinstance(token, str) for token in tokens):
        return Failure("the reply holds a token that is no text")
    return Written(tuple(tokens), tuple(map(log_probability, values)))


async def check_echo(ask: Ask) -> EchoTraits:
    """Test an endpoint. Raises EngineError, saying what is wrong, where its log-probabilities cannot be trusted."""
    max_tokens, first = await _fewest(ask)
    start: Start = "shown" if first.shown else "none"

    async def echo(text: str) -> Echo:
        found = await ask.echo(text, max_tokens)
        if isinstance(found, Failure):
            raise _Unfit(f"{found.reason}: it cannot score")
        if found.shown != first.shown:
            raise _Unfit("the endpoint begins some texts otherwise than others: it cannot score")
        return found

    pairs = [(await echo(one), await echo(other)) for one, other in _PAIRS]
    noise = _in_place(pairs)
    await _as_written(ask, echo)
    if start == "none" and _hidden(pairs[0][0], pairs[1][0]):
        start = "hidden"
    return EchoTraits(max_tokens, start, noise)


async def _fewest(ask: Ask) -> tuple[int, Echo]:
    """The fewest new tokens that the endpoint takes, and its first echo."""
    reasons: list[str] = []
    for max_tokens in (0, 1):
        found = await ask.echo(_PAIRS[0][0], max_tokens)
        if isinstance(found, Echo):
            return max_tokens, found
        if found.reason not in reasons:
            reasons.append(found.reason)
    raise _Unfit(f"{'; and then: '.join(reasons)}: it cannot score")


def _in_place(pairs: list[tuple[Echo, Echo]]) -> float:
    """The noise in nats over the common beginnings. Raises EngineError if a number is in the wrong place."""
    noise, moved = 0.0, False
    for one, other in pairs:
        same = next((i for i, (a, b) in enumerate(zip(one.tokens, other.tokens, strict=False)) if a != b), 0)
        if same < 2 or any(value is None for echo in (one, other) for value in echo.values[1:]):
            raise _Unfit("the endpoint leaves log-probabilities out: it cannot score")
        gaps = [_gap(one.values[i], other.values[i]) for i in range(1, same)]
        if max(gaps[:-1], default=0.0) > _TOLERANCE:
            raise _Unfit(
                f"the endpoint gives one beginning of a text log-probabilities that differ by {max(gaps):.2g} nats "
                "from one request to the next: it cannot score"
            )
        if gaps[-1] > _TOLERANCE:
            raise _Unfit(
                "the endpoint gives each token the log-probability of the next one (off by one): it cannot score"
            )
        noise = max(noise, *gaps)
        moved = moved or _gap(one.values[same], other.values[same]) > _TOLERANCE
    if not moved:
        raise _Unfit(
            "the endpoint does not give a token its own log-probability (off by one, or constant): it cannot score"
        )
    return noise


async def _as_written(ask: Ask, echo: Callable[[str], Awaitable[Echo]]) -> None:
    """Raises EngineError where echoed text has other log-probabilities than the same text had when it was written."""
    gaps: list[float] = []
    for beginning in _BEGINNINGS:
        written = await ask.write(beginning)
        if isinstance(written, Failure):
            raise _Unfit(f"{written.reason}: its echo cannot be tested, and so it cannot score")
        back = await echo(beginning + "".join(written.tokens))
        place = next((i for i, (low, _) in enumerate(back.offsets) if low == len(beginning)), len(back.tokens))
        for token, value, again, echoed in zip(
            written.tokens, written.values, back.tokens[place:], back.values[place:], strict=False
        ):
            if token != again or value is None or echoed is None:
                break
            gaps.append(_gap(value, echoed))
    if not gaps:
        raise _Unfit(
            "what the endpoint writes comes back in other tokens, so its echo cannot be tested, and it cannot score"
        )
    if median(gaps) > _TOLERANCE:
        raise _Unfit(
            f"the endpoint echoes a text with other log-probabilities than it wrote it with (median difference "
            f"{median(gaps):.2g} nats; one known server gives those of a token given the token itself): it cannot score"
        )


def _hidden(one: Echo, other: Echo) -> bool:
    """Whether two different first tokens have log-probabilities of their own, so that something precedes them."""
    return one.tokens[0] != other.tokens[0] and _gap(one.values[0], other.values[0]) > _TOLERANCE


def _gap(one: float | None, other: float | None) -> float:
    return 0.0 if one is None or other is None else abs(one - other)
