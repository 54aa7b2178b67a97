"""A request as the fault server sees it."""

from __future__ import annotations

from dataclasses import dataclass

from xxhash import xxh64_hexdigest


def tag_of(prompt: str) -> str:
    """A word that belongs to one prompt, so that an answer in another one's row is noticed."""
    return "tag" + xxh64_hexdigest(prompt.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Asked:
    """One request: its path with the query, the key that it carries, its prompt, and its proper answer."""

    path: str
    key: str
    prompt: str
    text: str
    turn: int = 0
