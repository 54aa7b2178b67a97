"""Reasoning blocks: taken out of the visible text and kept."""

from __future__ import annotations

import re

_TAGS = ("think", "thinking", "reasoning")
_OPEN = re.compile(r"<(" + "|".join(_TAGS) + r")>", re.IGNORECASE)
_BLOCK = re.compile(r"<(?P<tag>" + "|".join(_TAGS) + r")>(?P<inside>.*?)</(?P=tag)>\s*", re.IGNORECASE | re.DOTALL)
_CLOSE = re.compile(r"</(?:" + "|".join(_TAGS) + r")>\s*", re.IGNORECASE)


def ends_inside_reasoning(prompt: str) -> bool:
    """Whether a rendered prompt has already opened a reasoning block, as the templates of some models do."""
    opened = list(_OPEN.finditer(prompt))
    return bool(opened) and not prompt[opened[-1].end() :].strip()


def split_reasoning(text: str, *, opened: bool = False) -> tuple[str, str]:
    """Split a response into what is visible and the reasoning before or within it.

    Handles closed blocks, a block that the prompt opened (``opened``), a close tag without its open tag, and a block
    that the token budget cut off. Text without any block is returned as it is, to the byte.

    Returns (visible text, reasoning); several blocks are joined by a blank line.
    """
    if opened and not _CLOSE.search(text):
        return "", text.strip()
    kept: list[str] = []
    first_close, first_open = _CLOSE.search(text), _OPEN.search(text)
    if first_close and (opened or first_open is None or first_close.start() < first_open.start()):
        kept.append(text[: first_close.start()].strip())
        text = text[first_close.end() :]
    if _OPEN.search(text):
        kept.extend(match["inside"].strip() for match in _BLOCK.finditer(text))
        text = _BLOCK.sub("", text)
        unclosed = _OPEN.search(text)
        if unclosed and not text[: unclosed.start()].strip():
            kept.append(text[unclosed.end() :].strip())
            text = ""
    return text, "\n\n".join(part for part in kept if part)
