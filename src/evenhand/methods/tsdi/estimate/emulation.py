"""TSDI over ``logit_bias``, for endpoints that cannot run our code: approximate, with its divergence from the real correction.

An endpoint takes text and splits it into tokens again. A continuation may therefore be read as other tokens than were drawn, and
positions then differ from those that were corrected. A response that ends within a character fails with its reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evenhand.engines.base import Request, Sampling
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.sender import Job, Sender
from evenhand.engines.spec import EngineOptions, split_base_url
from evenhand.engines.token_bias import TokenBias
from evenhand.engines.wire import Dialect, WireError, first_choice, read_reply, request_body
from evenhand.errors import BadInput
from evenhand.records import FinishReason, Message
from evenhand.redact import hide
from evenhand.settings import Settings

_LIMIT = 100.0


class EmulationConfig(Settings):
    """How a bias is turned into ``logit_bias``. All values are chosen defaults: no published recipe was found."""

    form: Literal["stepwise", "averaged"] = Field(
        "stepwise",
        description="Requests: stepwise (one per token, each with its own bias, then the rest: L + 1 requests) or averaged "
        "(the first L tokens in one request with the mean bias, then the rest: 2 requests).",
    )
    top: int = Field(
        300, ge=0, description="K, the maximum number of tokens in one logit_bias; vendors cap it (300 is unverified)."
    )
    alpha: float = Field(1.0, allow_inf_nan=False, description="Strength of the correction.")
    length: int | None = Field(
        None, ge=1, description="Number of leading positions to correct (default: all of the bias)."
    )
    integers: bool = Field(False, description="Round to integers, for endpoints that accept only those.")


@dataclass(frozen=True, slots=True)
class SparseBias:
    """The part of a bias that one request carries.

    ``entries`` maps a token id to what is *added* to its logit (nats, within [-100, 100]). ``clipped`` of them met that limit;
    ``rounded_away`` counts chosen tokens whose value was rounded to zero.
    """

    entries: dict[int, float]
    clipped: int = 0
    rounded_away: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One request: at most ``max_tokens`` tokens, all with the same bias; ``bias`` is None in the uncorrected rest."""

    max_tokens: int
    bias: SparseBias | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(dense correction || sparse correction) of the next token in nats, over validation contexts.

    ``top`` is K; 0 means no correction. ``largest`` is the maximum, ``entries`` the mean count of
    tokens that a request carries.
    """

    form: str
    top: int
    mean: float
    largest: float
    contexts: int
    entries: float


def _checked_length(bias: TokenBias, config: EmulationConfig) -> int:
    """L as the kernel would take it, without making its table."""
    return BiasKernel(np.zeros((bias.header.length, 1)), alpha=config.alpha, length=config.length).length


def sparse_bias(bias: TokenBias, config: EmulationConfig, position: int) -> SparseBias:
    """The ``logit_bias`` of one 1-based position, or of all together in the averaged form.

    The K tokens with the largest ``|b_i(v)| * max(mean p_aligned, mean p_reference)`` are kept, ties by id; in the
    averaged form both factors are means over the positions. Raises BadInput for a position outside the corrected ones.
    """
    length = _checked_length(bias, config)
    if not 1 <= position <= length:
        raise BadInput(f"There is no correction at position {position}.", do=f"Positions are 1 to {length}.")
    rows = slice(position - 1, position) if config.form == "stepwise" else slice(0, length)
    mean = bias.bias[rows].mean(axis=0, dtype=np.float64)
    likely = np.maximum(bias.p_aligned[rows], bias.p_reference[rows]).mean(axis=0, dtype=np.float64)
    weight = np.abs(mean) * likely
    order = np.argsort(-weight, kind="stable")[: config.top]
    chosen = np.sort(order[weight[order] > 0])
    values = np.clip(-config.alpha * mean[chosen], -_LIMIT, _LIMIT)
    clipped = int((np.abs(config.alpha * mean[chosen]) > _LIMIT).sum())
    if config.integers:
        values = np.rint(values)
    kept = values != 0
    entries = {int(token): float(value) for token, value in zip(chosen[kept], values[kept], strict=True)}
    return SparseBias(entries, clipped, int((~kept).sum()) if config.alpha else 0)


def plan_steps(bias: TokenBias, config: EmulationConfig, max_tokens: int) -> tuple[Step, ...]:
    """The requests that draw a response of at most ``max_tokens`` tokens, in their order."""
    length = min(_checked_length(bias, config), max_tokens)
    if config.form == "averaged":
        steps = [Step(length, sparse_bias(bias, config, 1))]
    else:
        steps = [Step(1, sparse_bias(bias, config, position)) for position in range(1, length + 1)]
    return (*steps, Step(max_tokens - length, None)) if max_tokens > length else tuple(steps)


def step_body(
    model: str, name: str, prompt: str, so_far: str, steps: Sequence[Step], at: int, sampling: Sampling,
    dialect: Dialect | None = None, *, integers: bool = False,
) -> bytes:  # fmt: skip
    """The JSON body of request ``at`` (0-based): a raw completion of the prompt and what was drawn so far.

    ``prompt`` is the whole text with its chat template. Each step has a seed of its own, or equal draws would repeat.
    """
    step = steps[at]
    request = Request(f"{name}\x1f{at}", 0, (Message(role="user", content=prompt + so_far),), plain=True)
    limited = sampling.model_copy(update={"max_tokens": step.max_tokens})
    body: dict[str, Any] = json.loads(request_body(model, request, limited, dialect or Dialect()))
    if step.bias is not None and step.bias.entries:
        body["logit_bias"] = {str(t): int(v) if integers else v for t, v in step.bias.entries.items()}
    return json.dumps(body, ensure_ascii=True).encode()


def divergence(
    logits: NDArray[Any], positions: NDArray[Any], bias: TokenBias, config: EmulationConfig, tops: Sequence[int]
) -> tuple[Divergence, ...]:
    """Divergence of the sparse correction from the dense one, for no correction at all and for each K in ``tops``.

    Parameters
    ----------
    logits : [contexts, width], the aligned model's uncorrected logits on validation contexts.
    positions : [contexts], the 1-based output position that each predicts; those past the corrected ones are left out.

    Raises BadInput if no context is at a corrected position, a K is negative, or a logit is NaN.
    """
    kernel = BiasKernel(bias, alpha=config.alpha, length=config.length)
    where = np.asarray(positions)
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or where.shape != values.shape[:1] or np.isnan(values).any():
        raise BadInput(
            f"Validation logits are numbers [contexts, width], one position each; got {values.shape} and {where.shape}."
        )
    inside = (where >= 1) & (where <= kernel.length)
    if not inside.any():
        raise BadInput(f"No validation context is at one of the positions 1 to {kernel.length}.")
    values, where = values[inside], where[inside]
    dense = _log_softmax(np.asarray(kernel.apply(values, where)))
    divergences = []
    for top in dict.fromkeys((0, *tops)):
        if top < 0:
            raise BadInput(f"K = {top} is negative.")
        kind = config.model_copy(update={"top": top})
        entries = {int(p): sparse_bias(bias, kind, int(p)).entries for p in np.unique(where)}
        sparse = values.copy()
        for row, position in enumerate(where.tolist()):
            for token, value in entries[position].items():
                if token < sparse.shape[1]:
                    sparse[row, token] += value
        distance = _kl(dense, _log_softmax(sparse))
        held = float(np.mean([len(entries[int(p)]) for p in where]))
        divergences.append(
            Divergence(config.form, top, float(distance.mean()), float(distance.max()), len(where), held)
        )
    return tuple(divergences)


def _log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    top = values.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():
        raise BadInput("A validation context has no finite largest logit.")
    shifted = values - top
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _kl(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL divergence row by row, nats; a token that both rule out adds nothing."""
    alive = np.isfinite(one)
    gap = np.subtract(one, other, out=np.zeros_like(one), where=alive)
    return np.asarray(np.maximum((np.exp(one) * gap).sum(axis=1), 0.0))


_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HALF = "\ufffd"


@dataclass(frozen=True, slots=True)
class Emulated:
    """A response drawn by several requests; ``error`` gives the reason if there is none."""

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
    be those of the artefact. Raises EngineError if nothing answers, or the key, address or model is refused.
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
    """What one request returned: its text to the byte (reasoning is kept), and why it ended."""

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
