"""What an endpoint tells of a served model, and the requests that it is sent."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from evenhand.engines.base import Choice, Question, Request, Sampling
from evenhand.engines.http_scoring import Echo, Failure, echo_body, read_echo
from evenhand.engines.network_errors import NETWORK_ERRORS
from evenhand.engines.reply_body import ACCEPTED, BodyError, read_body
from evenhand.engines.sender import Job
from evenhand.engines.wire import (
    failed_choice,
    question_body,
    read_choice,
    read_reply,
    request_body,
    request_path,
)
from evenhand.errors import EngineError
from evenhand.records import Response
from evenhand.redact import redact_field, redact_message

_TRIES = 3
_FRESH_SECONDS = 86_400
_PAUSE = 1.1
_KEPT = ("id", "created", "owned_by", "root")


def model_entry(client: httpx.Client, base_url: str, model: str) -> dict[str, Any]:
    """The model's entry under ``/models``: id, created, owned_by and root, as far as told; empty if there is none.

    Some servers state the time of the request as ``created``. A time of the last day is therefore asked for twice and
    left out if it moved. Raises EngineError where the key is refused.
    """
    entry = _fetch(client, base_url, model)
    created = entry.get("created")
    if isinstance(created, int | float) and abs(time.time() - created) < _FRESH_SECONDS:
        time.sleep(_PAUSE)
        if _fetch(client, base_url, model).get("created") != created:
            del entry["created"]
    return entry


def _fetch(client: httpx.Client, base_url: str, model: str) -> dict[str, Any]:
    for attempt in range(_TRIES):
        try:
            with client.stream("GET", f"{base_url}/models", headers={"Accept-Encoding": ACCEPTED}) as reply:
                status, raw = reply.status_code, _body_of(reply)
        except httpx.InvalidURL as error:
            raise EngineError(f"{base_url} is not a usable address ({redact_message(str(error))}).") from None
        except NETWORK_ERRORS:
            status, raw = 0, b""
        if status in (401, 403):
            raise EngineError(
                f"{base_url} refuses the key (HTTP {status}). "
                "Set OPENAI_API_KEY for openai/MODEL, EVENHAND_API_KEY for other endpoints."
            )
        if status and status < 500 and status != 429:
            return _entry(raw, model) if status == 200 else {}
        if attempt + 1 < _TRIES:
            time.sleep(0.05 * 4**attempt)
    return {}


def _body_of(reply: httpx.Response) -> bytes:
    """The body of a reply; empty where it cannot be read, so that it lists no model."""
    try:
        return read_body(reply.iter_raw(), reply.headers.get("content-encoding", ""))
    except BodyError:
        return b""


def _entry(raw: bytes, model: str) -> dict[str, Any]:
    try:
        listed = json.loads(raw)["data"]
        entry: dict[str, Any] = next((found for found in listed if found.get("id") == model), {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    kept = {name: entry[name] for name in _KEPT if _is_plain(entry.get(name))}
    return {name: redact_field(value) if isinstance(value, str) else value for name, value in kept.items()}


def _is_plain(value: Any) -> bool:
    """Whether a value of an entry can be written down: a text, or a number below 2^53 (neither infinite nor NaN)."""
    if isinstance(value, str):
        return True
    return isinstance(value, int | float) and abs(value) < 2**53


_BLOCKED = "a content filter stopped the prompt"


def generate_job(model: str, request: Request, sampling: Sampling, config: str) -> Job[Response]:
    """A response to be drawn."""
    name, repetition = request.item_id, request.repetition
    return Job(
        request_path(request),
        f"{sampling.seed}/{name!r}/{repetition}",
        lambda dialect: request_body(model, request, sampling, dialect),
        lambda payload: read_reply(payload, request, config=config),
        lambda reason: Response(config, name, repetition, "", "error", error=reason),
        lambda: Response(config, name, repetition, "", "content_filter", provider_refusal="content_filter"),
    )


def echo_job(model: str, text: str, max_tokens: int) -> Job[Echo | Failure]:
    """A text to be echoed with its log-probabilities."""
    return Job(
        "completions",
        f"echo/{text!r}",
        lambda _: echo_body(model, text, max_tokens),
        lambda payload: read_echo(payload, text, max_tokens),
        Failure,
        lambda: Failure(_BLOCKED),
    )


def choice_job(model: str, question: Question) -> Job[Choice]:
    """A question of which the likeliest first tokens are wanted."""
    return Job(
        "chat/completions",
        f"choose/{question.key!r}",
        lambda dialect: question_body(model, question, dialect),
        lambda payload: read_choice(payload, question),
        lambda reason: failed_choice(question, reason),
        lambda: failed_choice(question, _BLOCKED),
    )
