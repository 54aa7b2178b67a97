"""Token counts as others state them: a number that fits the tables, or unknown."""

from __future__ import annotations

from typing import Any

MOST_TOKENS = 2**31 - 1
"""The largest count that a table holds (a 32-bit integer); no real text comes near it."""

_COUNTS = ("prompt_tokens", "completion_tokens")


def token_count(value: Any) -> int | None:
    """``value`` if it is a whole number from 0 to `MOST_TOKENS`; None for anything else (text, fraction, NaN, list)."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None


def implausible_count(counts: Any) -> str:
    """The first implausible token count of a mapping, as ``name (kind or magnitude)``; empty if every one is plausible."""
    if not isinstance(counts, dict):
        return ""
    for name in _COUNTS:
        value = counts.get(name)
        if value is not None and token_count(value) is None:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return (
                f"{name} = {value:.6g}" if number and abs(value) < 1e300 else f"{name} of type {type(value).__name__}"
            )
    return ""


def mended_counts(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored response with each implausible token count replaced by None; the same object if there is none."""
    wrong = [name for name in _COUNTS if name in stored and stored[name] != token_count(stored[name])]
    return {**stored, **dict.fromkeys(wrong)} if wrong else stored
