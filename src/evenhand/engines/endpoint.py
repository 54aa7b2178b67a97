"""What an endpoint tells of a served model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from evenhand.errors import EngineError

__all__ = ["model_entry"]

_TRIES = 3
_FRESH_SECONDS = 86_400
_PAUSE = 1.1
_KEPT = ("id", "created", "owned_by", "root")


def model_entry(client: httpx.Client, base_url: str, model: str, hide: Callable[[str], str]) -> dict[str, Any]:
    """The model's entry under ``/models``: id, created, owned_by and root, as far as told; empty if there is none.

    Some servers state the time of the request as ``created``. A time of the last day is therefore asked for twice and
    left out if it moved. Raises EngineError where the key is refused.
    """
    entry = _fetch(client, base_url, model, hide)
    created = entry.get("created")
    if isinstance(created, int | float) and abs(time.time() - created) < _FRESH_SECONDS:
        time.sleep(_PAUSE)
        if _fetch(client, base_url, model, hide).get("created") != created:
            del entry["created"]
    return entry


def _fetch(client: httpx.Client, base_url: str, model: str, hide: Callable[[str], str]) -> dict[str, Any]:
    for attempt in range(_TRIES):
        try:
            reply = client.get(f"{base_url}/models")
        except httpx.TransportError:
            reply = None
        if reply is not None and reply.status_code in (401, 403):
            raise EngineError(
                f"{base_url} refuses the key (HTTP {reply.status_code}). "
                "Set OPENAI_API_KEY for openai/MODEL, EVENHAND_API_KEY for other endpoints."
            )
        if reply is not None and reply.status_code < 500 and reply.status_code != 429:
            return _entry(reply, model)
        if attempt + 1 < _TRIES:
            time.sleep(0.05 * 4**attempt)
    return {}


def _entry(reply: httpx.Response, model: str) -> dict[str, Any]:
    try:
        listed = reply.json()["data"] if reply.status_code == 200 else []
        entry: dict[str, Any] = next((found for found in listed if found.get("id") == model), {})
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: entry[name] for name in _KEPT if isinstance(entry.get(name), str | int | float)}
