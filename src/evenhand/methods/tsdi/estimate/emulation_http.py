"""Draws responses with the `emulation` of TSDI over an endpoint's raw completions.

An endpoint takes text and splits it into tokens again (spec 9.10). So a continuation may be read as other tokens than were drawn,
and the positions then differ from those that were corrected. A text that ends within a character fails with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from evenhand.engines.base import Request, Sampling
from evenhand.engines.sender import Job, Sender
from evenhand.engines.spec import EngineOptions, split_base_url
from evenhand.engines.token_bias import TokenBias
from evenhand.engines.wire import WireError, first_choice, read_reply
from evenhand.methods.tsdi.estimate.emulation import EmulationConfig, Step, plan_steps, step_body
from evenhand.records import FinishReason, Message
from evenhand.redact import hide

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HALF = "\ufffd"


@dataclass(frozen=True, slots=True)
class Emulated:
    """A response drawn by several requests; ``error`` says why there is none."""

    text: str
    finish: FinishReason
    requests: int
    error: str = ""


def emulate(
    prompts: Sequence[str], bias: TokenBias, config: EmulationConfig, sampling: Sampling, *,
    base_url: str, model: str, key: str = "", options: EngineOptions | None = None,
) -> list[Emulated]:  # fmt: skip
    """Draw one response to each prompt (its whole text, template included) over a ``/completions`` endpoint.

    The correction lives in the requests, so the endpoint must take ``logit_bias`` on raw completions and its token ids must
    be those of the artefact. Raises EngineError where nothing answers or the key, address or model is refused.
    """
    steps = plan_steps(bias, config, sampling.max_tokens)
    return asyncio.run(_emulate(prompts, steps, config, sampling, base_url, model, key, options or EngineOptions()))


async def _emulate(
    prompts: Sequence[str], steps: Sequence[Step], config: EmulationConfig, sampling: Sampling,
    base_url: str, model: str, key: str, options: EngineOptions,
) -> list[Emulated]:  # fmt: skip
    base, query = split_base_url(base_url)
    hide(key)
    gate = asyncio.Semaphore(options.concurrency)
    async with httpx.AsyncClient(
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
        params=httpx.QueryParams(query),
        timeout=httpx.Timeout(options.timeout, connect=min(10.0, options.timeout)),
        trust_env=(urlsplit(base).hostname or "") not in _LOCAL_HOSTS,
        follow_redirects=False,
    ) as client:
        sender = Sender(client, base, model, options, set())

        async def one(number: int, *, first: bool = False) -> Emulated:
            async with gate:
                return await _draw(sender, f"emulated/{number}", prompts[number], steps, config, sampling, first=first)

        if not prompts:
            return []
        begin = await one(0, first=True)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(1, len(prompts))]
    return [begin, *(task.result() for task in tasks)]


async def _draw(
    sender: Sender, name: str, prompt: str, steps: Sequence[Step], config: EmulationConfig, sampling: Sampling, *, first: bool
) -> Emulated:  # fmt: skip
    """One response, step after step; it ends with its end token, a stop string, a fault or its last step."""
    text, last = "", len(steps) - 1
    for at in range(len(steps)):
        job = _job(sender.model, name, prompt, text, steps, at, sampling, config)
        reply = await sender.send(job, first=first and at == 0)
        if reply.finish == "error":
            return Emulated("", "error", at + 1, f"step {at + 1}: {reply.error}")
        text += reply.text
        places = [place for stop in sampling.stop if (place := text.find(stop)) >= 0]
        if places:  # a stop string that spans two requests is seen by neither
            return Emulated(text[: min(places)], "stop", at + 1)
        if reply.finish != "length" or at == last:
            return Emulated(text, reply.finish, at + 1)
        if text.endswith(_HALF) or not reply.text:
            return Emulated(
                "", "error", at + 1, f"step {at + 1}: the text ends within a character; try form='averaged'"
            )
    raise AssertionError("a plan has at least one step")


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one request returned: its text to the byte (reasoning is not taken out), and why it ended."""

    text: str
    finish: FinishReason
    error: str = ""


def _job(
    model: str, name: str, prompt: str, text: str, steps: Sequence[Step], at: int, sampling: Sampling, config: EmulationConfig
) -> Job[_Piece]:  # fmt: skip
    request = Request(name, at, (Message(role="user", content=prompt + text),), plain=True)

    def read(payload: Any) -> _Piece:
        reply = read_reply(payload, request, config="emulated")
        drawn = first_choice(payload).get("text")
        if not isinstance(drawn, str):
            raise WireError("the reply's choice has no text")
        return _Piece(drawn, reply.finish_reason)

    return Job(
        "completions",
        f"{name}/{at}",
        lambda dialect: step_body(model, name, prompt, text, steps, at, sampling, dialect, integers=config.integers),
        read,
        lambda reason: _Piece("", "error", reason),
        lambda: _Piece("", "content_filter"),
    )
