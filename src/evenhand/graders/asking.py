"""Asking a judge: texts fenced as data, one request each, and a second one if the reply cannot be read.

Texts are cut, stripped of fence look-alikes, and set between fences. A fence carries a digest of everything it encloses, so
no text can contain its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from xxhash import xxh128_hexdigest

from evenhand.engines.base import Engine, Request, Sampling
from evenhand.records import Message, Response

_HEAD, _TAIL = 6000, 2000
_FENCE = re.compile(r"[<⟨«‹＜]{3}[^<>\n]{0,80}[>⟩»›＞]{3}|(?i:fence)[-_ ]?[0-9a-f]{8,}")
_CODE_BLOCK = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)


def fence_name(*parts: str) -> str:
    """``FENCE-`` and 16 hexadecimal digits over ``parts``, the texts that the fence is to enclose."""
    return "FENCE-" + xxh128_hexdigest("\0".join(parts).encode())[:16]


def defused(text: str) -> str:
    """``text`` without anything that looks like a fence."""
    return _FENCE.sub("(mark removed)", text)


def shortened(text: str) -> str:
    """The first 6,000 and the last 2,000 characters of a longer text, with a note of how many were left out."""
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]}\n(… {len(text) - _HEAD - _TAIL} characters left out …)\n{text[-_TAIL:]}"


def unfenced(reply: str) -> str:
    """The content of a reply that is one Markdown code block; any other reply as it is."""
    block = _CODE_BLOCK.fullmatch(reply.strip())
    return block[1] if block else reply


def json_of(reply: str) -> Any:
    """A judge's reply as JSON.

    Raises ValueError for anything else and for an object that gives a key twice, RecursionError for one nested too deeply.
    """
    return json.loads(reply, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


_Read = TypeVar("_Read")


def ask_twice(
    engine: Engine,
    sampling: Sampling,
    chats: Mapping[str, tuple[Message, ...]],
    read: Callable[[Response | None], tuple[_Read, bool]],
) -> dict[str, tuple[_Read, int]]:
    """What ``read`` made of each chat's reply, and how often it was asked for: twice where the first was not final."""
    out: dict[str, tuple[_Read, int]] = {}
    waiting = dict(chats)
    for repetition in (0, 1):
        if not waiting:
            break
        requests = [Request(key, repetition, chat) for key, chat in waiting.items()]
        got: dict[str, Response] = {}
        for _, responses in engine.generate(engine.plan(requests, sampling), sampling, config="judge"):
            got.update((response.item_id, response) for response in responses)
        again: dict[str, tuple[Message, ...]] = {}
        for key, chat in waiting.items():
            found, final = read(got.get(key))
            out[key] = (found, repetition + 1)
            if not final:
                again[key] = chat
        waiting = again
    return out


def no_reply(response: Response | None) -> str:
    """Why there is no reply to read: nothing came, the engine failed, or it declined; empty where there is one."""
    if response is None:
        return "the judge returned nothing"
    if response.finish_reason == "error":
        return f"the judge failed: {response.error}"
    if response.provider_refusal or response.finish_reason == "content_filter":
        return f"the judge refused: {response.provider_refusal or 'content filter'}"
    return ""
