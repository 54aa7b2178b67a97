"""Texts of models and users put to a judge as data: cut, stripped of fence look-alikes, and set between fences.

The fence carries a digest of everything it encloses, so no text can contain its own.
"""

from __future__ import annotations

import re

from xxhash import xxh128_hexdigest

_HEAD, _TAIL = 6000, 2000
_FENCE = re.compile(r"[<⟨«‹＜]{3}[^<>\n]{0,80}[>⟩»›＞]{3}|(?i:fence)[-_ ]?[0-9a-f]{8,}")


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
