"""The OpenAI wire, chat completions and completions: what is sent, and what a reply means."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xxhash import xxh32_intdigest

from evenhand.engines.base import Choice, Question, Request, Sampling
from evenhand.engines.reply_text import split_reasoning
from evenhand.records import FinishReason, Response, token_count
from evenhand.redact import redact, redact_message

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_FILTER_CODES = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
_EXCERPT, _SEARCHED = 300, 10_000
_LEAST, _MOST = -1000.0, 1e-4
"""Nats that a log-probability can have: some servers write -9999 for minus infinity, some round 0 up a little."""
_TOP = 20
"""The most alternatives of a token that the OpenAI wire gives."""


class WireError(Exception):
    """A reply that cannot be read; the message says why."""


@dataclass(slots=True)
class Dialect:
    """What an endpoint has shown it does not take. It learns once and keeps it for all later requests."""

    completion_tokens: bool = False
    without: set[str] = field(default_factory=set)

    def learn(self, message: str) -> str:
        """Take a complaint about a parameter into account. Returns what changed, or nothing if it is no such thing."""
        if not self.completion_tokens and "max_completion_tokens" in message and "max_tokens" in message:
            self.completion_tokens = True
            return "it wants max_completion_tokens instead of max_tokens"
        if "seed" not in self.without and re.search(r"\bseed\b", message):
            self.without.add("seed")
            return "it takes no seed; answers cannot be repeated"
        return ""


def request_path(request: Request) -> str:
    """Where a request goes: a plain one is a text to be continued, any other a chat."""
    return "completions" if request.plain else "chat/completions"


def request_body(model: str, request: Request, sampling: Sampling, dialect: Dialect) -> bytes:
    """The JSON body of one request. Every (seed, item, repetition) has its own 31-bit ``seed``."""
    key = f"{sampling.seed}\x1f{request.item_id}\x1f{request.repetition}".encode("utf-8", "surrogatepass")
    body: dict[str, Any] = {
        "model": model,
        **({"prompt": request.chat[-1].content} if request.plain else {"messages": _messages(request)}),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_completion_tokens" if dialect.completion_tokens else "max_tokens": sampling.max_tokens,
        "seed": xxh32_intdigest(key) & 0x7FFFFFFF,
        "n": 1,
        "stream": False,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    for name in dialect.without:
        body.pop(name, None)
    return json.dumps(body, ensure_ascii=True).encode()


def _messages(asked: Request | Question) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in asked.chat]


def read_reply(payload: Any, request: Request, *, config: str) -> Response:
    """A chat-completions reply (for a plain request, a completions reply) as a Response.

    A ``refusal`` field and a content-filter stop become ``provider_refusal``; reasoning fields and blocks go to
    ``reasoning``. A budget spent on reasoning is ``length`` with empty text.

    Raises WireError where the reply has another form.
    """
    choice, wanted = first_choice(payload), "choices[0].text" if request.plain else "choices[0].message"
    message = {"content": choice["text"]} if request.plain and "text" in choice else choice.get("message")
    if not isinstance(message, dict):
        raise unread(payload, wanted)
    text = _text(message.get("content"))
    refusal, stated = message.get("refusal"), choice.get("finish_reason")
    fields = [message.get(name) for name in ("reasoning_content", "reasoning")]
    apart = next((value.strip() for value in fields if isinstance(value, str) and value.strip()), "")
    if "content" not in message and not (refusal or apart or stated == "content_filter"):
        raise WireError("the reply's message has no content")
    if stated is not None and not (isinstance(stated, str) and stated in _FINISH):
        raise WireError(f"the reply ended for an unknown reason {redact(str(stated))[:40]!r}")
    finish: FinishReason = "stop" if stated is None else _FINISH[stated]
    visible, block = split_reasoning(text or "")
    usage = payload.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    provider = str(refusal) if refusal else "content_filter" if finish == "content_filter" else ""
    return Response(
        config,
        request.item_id,
        request.repetition,
        visible,
        finish,
        reasoning="\n\n".join(part for part in (apart, block) if part),
        provider_refusal=provider,
        prompt_tokens=token_count(counts.get("prompt_tokens")),
        completion_tokens=token_count(counts.get("completion_tokens")),
    )


def first_choice(payload: Any) -> dict[str, Any]:
    """The first of a reply's choices, empty if there is none."""
    choices = payload.get("choices") if isinstance(payload, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def unread(payload: Any, wanted: str) -> WireError:
    """The error for a reply that lacks what is wanted; it says what the endpoint said."""
    message = error_text(payload, b"") if isinstance(payload, dict) and payload.get("error") else ""
    return WireError(f"the reply is an error: {message}" if message else f"the reply has no {wanted}")


def _text(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part["text"]) for part in content if isinstance(part.get("text"), str))
    raise WireError(f"the reply's content is a {type(content).__name__}, not text")


def log_probability(value: Any) -> float | None:
    """A log-probability in nats, at most 0; None for anything that cannot be one (NaN, positive, below -1000)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _LEAST <= value <= _MOST:
        return None
    return min(float(value), 0.0)


def question_body(model: str, question: Question, dialect: Dialect) -> bytes:
    """The JSON body of a question: one token, and the 20 likeliest in its place.

    The temperature is 1: some servers give log-probabilities after it was applied.
    """
    limit = "max_completion_tokens" if dialect.completion_tokens else "max_tokens"
    body = {
        "model": model, "messages": _messages(question), limit: 1, "temperature": 1.0, "top_p": 1.0, "n": 1,
        "stream": False, "logprobs": True, "top_logprobs": _TOP,
    }  # fmt: skip
    return json.dumps(body, ensure_ascii=True).encode()


def top_tokens(payload: Any) -> dict[str, float]:
    """The likeliest first tokens of a chat reply, with their log-probabilities in nats; empty if the reply lists none.

    Raises WireError where the reply has another form, ValueError for a number that is no log-probability.
    """
    choice = first_choice(payload)
    if not isinstance(choice.get("message"), dict):
        raise unread(payload, "choices[0].message")
    scores = choice.get("logprobs")
    places = scores.get("content") if isinstance(scores, dict) else None
    place = places[0] if isinstance(places, list) and places else None
    listed = place.get("top_logprobs") if isinstance(place, dict) else None
    found: dict[str, float] = {}
    for entry in listed if isinstance(listed, list) else []:
        token = entry.get("token") if isinstance(entry, dict) else None
        value = log_probability(entry.get("logprob")) if isinstance(entry, dict) else None
        if not isinstance(token, str):
            raise ValueError("the endpoint lists a token that is no text")
        if value is not None:
            found[token] = max(value, found.get(token, value))
        elif not _impossible(entry.get("logprob")):
            raise ValueError("the endpoint gives a number that is no log-probability")
    if sum(map(math.exp, found.values())) > 1 + 1e-2:
        raise ValueError("the probabilities of the listed tokens add up to more than 1")
    return found


def _impossible(value: Any) -> bool:
    """Whether a number stands for minus infinity: such a token is not listed at all."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value < _LEAST


def read_choice(payload: Any, question: Question) -> Choice:
    """A chat reply to `question_body` as the probabilities of the question's options, by the first token.

    Published practice differs; chosen default: an option's token is the longest listed one that the option begins with,
    case sensitive, and the same token after one space counts as well (" Yes" with "Yes"). An option of several tokens so
    has the probability of its first. A row fails, with its reason, where an option is not listed, or two have one token.
    Raises WireError where the reply has another form.
    """
    try:
        listed = top_tokens(payload)
    except ValueError as error:
        return failed_choice(question, str(error))
    if not listed:
        return failed_choice(question, "the reply lists no alternatives (`top_logprobs`)")
    first: dict[str, str] = {}
    for option in question.options:
        fitting = [token.removeprefix(" ") for token in listed]
        token = max((token for token in fitting if token and option.startswith(token)), key=len, default="")
        if not token:
            return failed_choice(question, f"the option {option!r} is not among the {len(listed)} likeliest tokens")
        if token in first:
            return failed_choice(
                question, f"the options {first[token]!r} and {option!r} begin with one token {token!r}"
            )
        first[token] = option
    return choice_of(question, [_log_sum([listed[t] for t in (token, " " + token) if t in listed]) for token in first])


def _log_sum(values: list[float]) -> float:
    top = max(values)
    return min(top + math.log(math.fsum(math.exp(value - top) for value in values)), 0.0)


def choice_of(question: Question, log_probs: list[float]) -> Choice:
    """A Choice from the log-probabilities (nats) of its options; a failed row if there are none."""
    if not log_probs:
        return failed_choice(question, "the question has no options")
    top = max(log_probs)
    parts = [math.exp(value - top) for value in log_probs]
    mass = min(math.fsum(map(math.exp, log_probs)), 1.0)
    return Choice(question.key, tuple(log_probs), tuple(part / math.fsum(parts) for part in parts), mass)


def failed_choice(question: Question, reason: str) -> Choice:
    """A failed row."""
    return Choice(question.key, (), (), None, error=reason)


def filtered(payload: Any) -> bool:
    """Whether an error reply says that a content filter stopped the prompt."""
    error = payload.get("error") if isinstance(payload, dict) else None
    return isinstance(error, dict) and any(code in json.dumps(error) for code in _FILTER_CODES)


def error_text(payload: Any, raw: bytes) -> str:
    """The message of an error reply, at most 300 characters, without secrets."""
    error = payload.get("error", payload.get("message")) if isinstance(payload, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    text = str(error) if error else raw.decode("utf-8", "replace")
    return redact_message(" ".join(text.split())[:_SEARCHED])[:_EXCERPT]  # a key that is cut in two is not found
