"""Asking a judge: once, and once more where its reply could not be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from evenhand.engines.base import Engine, Request, Sampling
from evenhand.records import Message, Response

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
