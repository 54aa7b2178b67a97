"""Batch plans: pure functions of the whole request table, so that a resumed run finds its finished batches."""

from __future__ import annotations

import json
from collections.abc import Sequence

from xxhash import xxh128

from evenhand.engines.base import Batch, Request, Span
from evenhand.errors import BadInput


def batch_key(requests: Sequence[Request]) -> str:
    """32 hexadecimal digits over item ids, repetitions and chats, in order."""
    digest = xxh128()
    for request in requests:
        chat = [[message.role, message.content] for message in request.chat]
        plain = [True] if request.plain else []  # keys of chats are as they were before there was plain text
        digest.update(json.dumps([request.item_id, request.repetition, chat, *plain]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def score_key(spans: Sequence[Span]) -> str:
    """32 hexadecimal digits over the keys, contexts, chats and texts of spans, in order."""
    digest = xxh128()
    for span in spans:
        chat = [[message.role, message.content] for message in span.chat]
        digest.update(json.dumps([span.key, span.context, chat, span.text, span.end]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _checked(requests: Sequence[Request]) -> None:
    seen: set[tuple[str, int]] = set()
    for row, request in enumerate(requests, start=1):
        if (request.item_id, request.repetition) in seen:
            raise BadInput(
                f"Item '{request.item_id}', repetition {request.repetition} is asked for twice (request {row}).",
                do="Give every item its own id.",
            )
        if not request.chat:
            raise BadInput(f"Item '{request.item_id}' has no message (request {row}).")
        seen.add((request.item_id, request.repetition))


def length_sorted(requests: Sequence[Request], lengths: Sequence[int], new_tokens: int, budget: int) -> list[Batch]:
    """Batches of prompts of like length, longest first, within a token budget.

    All requests of an item go into one batch, so that its repetitions share their computation. A batch holds items
    while (rows) x (longest prompt + ``new_tokens``) stays within ``budget`` tokens; an item that exceeds it alone is a
    batch of its own. The order of the requests does not matter.

    Parameters
    ----------
    lengths : prompt length of each request, in tokens.
    new_tokens : the most tokens a response can have.
    """
    _checked(requests)
    items: dict[str, list[tuple[int, Request]]] = {}
    for request, length in zip(requests, lengths, strict=True):
        items.setdefault(request.item_id, []).append((length, request))
    groups = [
        (max(length for length, _ in rows), item, sorted((request for _, request in rows), key=lambda r: r.repetition))
        for item, rows in items.items()
    ]
    groups.sort(key=lambda group: (-group[0], group[1]))
    batches: list[Batch] = []
    held: list[Request] = []
    longest = 0
    for length, _, rows in groups:
        if held and (len(held) + len(rows)) * (max(longest, length) + new_tokens) > budget:
            batches.append(Batch(batch_key(held), tuple(held)))
            held, longest = [], 0
        held.extend(rows)
        longest = max(longest, length)
    if held:
        batches.append(Batch(batch_key(held), tuple(held)))
    return batches


def blocks(requests: Sequence[Request], size: int) -> list[Batch]:
    """Batches of ``size`` requests in the order of (item id, repetition), for engines that send each request apart."""
    _checked(requests)
    ordered = sorted(requests, key=lambda request: (request.item_id, request.repetition))
    parts = [tuple(ordered[low : low + size]) for low in range(0, len(ordered), size)]
    return [Batch(batch_key(part), part) for part in parts]
