"""The OpenAI chat-completions wire: what is sent, and what a reply means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xxhash import xxh32_intdigest

from evenhand.engines.base import Request, Sampling
from evenhand.engines.reasoning import split_reasoning
from evenhand.records import FinishReason, Response

__all__ = ["Dialect", "WireError", "error_text", "filtered", "read_reply", "redact", "request_body"]

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
_SECRET = re.compile(r"\b(sk|key|Bearer)([-_ ])[A-Za-z0-9*._~+/=-]{8,}", re.IGNORECASE)
_EXCERPT = 300


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


def request_body(model: str, request: Request, sampling: Sampling, dialect: Dialect) -> bytes:
    """The JSON body of one request. Every (seed, item, repetition) has its own 31-bit ``seed``."""
    key = f"{sampling.seed}\x1f{request.item_id}\x1f{request.repetition}".encode("utf-8", "surrogatepass")
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.chat],
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


def read_reply(payload: Any, request: Request, *, config: str) -> Response:
    """A chat-completions reply as a Response.

    A ``refusal`` field and a content-filter stop become ``provider_refusal``; reasoning fields and blocks go to
    ``reasoning``. A budget spent on reasoning is ``length`` with empty text.

    Raises WireError where the reply has another form.
    """
    choices = payload.get("choices") if isinstance(payload, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        said = error_text(payload, b"") if isinstance(payload, dict) and payload.get("error") else ""
        raise WireError(f"the reply is an error: {said}" if said else "the reply has no choices[0].message")
    text = _text(message.get("content"))
    refusal, stated = message.get("refusal"), choice.get("finish_reason")
    fields = [message.get(name) for name in ("reasoning_content", "reasoning")]
    apart = next((value.strip() for value in fields if isinstance(value, str) and value.strip()), "")
    if "content" not in message and not (refusal or apart or stated == "content_filter"):
        raise WireError("the reply's message has no content")
    if stated is not None and not (isinstance(stated, str) and stated in _FINISH):
        raise WireError(f"the reply ended for an unknown reason {str(stated)[:40]!r}")
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
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def _text(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part["text"]) for part in content if isinstance(part.get("text"), str))
    raise WireError(f"the reply's content is a {type(content).__name__}, not text")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def filtered(payload: Any) -> bool:
    """Whether an error reply says that a content filter stopped the prompt."""
    error = payload.get("error") if isinstance(payload, dict) else None
    return isinstance(error, dict) and any(code in json.dumps(error) for code in _FILTER_CODES)


def error_text(payload: Any, raw: bytes) -> str:
    """The message of an error reply, at most 300 characters."""
    error = payload.get("error", payload.get("message")) if isinstance(payload, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    text = str(error) if error else raw.decode("utf-8", "replace")
    return " ".join(text.split())[:_EXCERPT]


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without any of the secrets, nor anything that looks like a key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[hidden]")
    return _SECRET.sub(r"\1\2[hidden]", text)
