"""Text from a model or a user, made harmless for a spreadsheet, a terminal, a JSON file or a page.

A response is data written by someone else. It may hold spreadsheet formulas, terminal escape codes, bidirectional
overrides that show text in another order than it is stored, or lone surrogates that no encoder accepts.
"""

from __future__ import annotations

import re
from typing import Any

from evenhand.redact import redact

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Escape sequences: string commands with their terminator (OSC, DCS, SOS, PM, APC), then CSI, then two-character ones.
# No piece can match the character that opens a sequence, so the time is linear in the text.
_ESCAPE = re.compile(
    "(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\\\|\x9c)"
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|\x1b[ -/]*[0-~]"
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def surrogate_free(text: str) -> str:
    """Join surrogate pairs and replace every lone surrogate by U+FFFD, so that the text can be encoded as UTF-8."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def csv_safe(value: str) -> str:
    """Quote a cell that a spreadsheet would run as a formula by one apostrophe in front; ``csv_restore`` undoes it.

    A cell is quoted when, after any spaces and apostrophes, it starts with ``= + - @`` (also full-width), a tab or a
    line break. Lone surrogates become U+FFFD, NUL characters are dropped, and secrets are replaced. Numbers should be
    written as numbers, not through here.
    """
    value = redact(surrogate_free(value).replace("\0", ""))
    return "'" + value if value.lstrip(" '").startswith(_FORMULA) else value


def csv_restore(value: str) -> str:
    """Undo ``csv_safe`` on a cell that came back from a spreadsheet."""
    if value.startswith("'") and value.lstrip(" '").startswith(_FORMULA):
        return value[1:]
    return value


def terminal_safe(text: str) -> str:
    """Strip escape sequences, control characters and bidirectional overrides, and replace secrets; keep line breaks and tabs.

    Carriage returns and Unicode line separators become line breaks, so that text cannot be overwritten on screen.
    """
    text = surrogate_free(text).replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    return redact(_UNPRINTABLE.sub("", _ESCAPE.sub("", text)))


def json_safe(value: Any) -> Any:
    """Copy a JSON-like value with every string (keys too) free of lone surrogates."""
    if isinstance(value, str):
        return surrogate_free(value)
    if isinstance(value, dict):
        return {json_safe(key): json_safe(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(entry) for entry in value]
    return value


_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))


def _visible() -> dict[int, str]:
    table: dict[int, str] = {code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)}
    table[0x7F] = "\u2421"
    table |= {code: f"⟨U+{code:04X}⟩" for code in (*range(0x80, 0xA0), *_BIDI)}
    table |= dict.fromkeys((0xFFFE, 0xFFFF), "\ufffd")
    return table


_VISIBLE = _visible()


def clean(text: str) -> str:
    """The text with nothing in it that a browser would act on or hide.

    Line ends become line feeds; control characters (ANSI escapes, NUL) become their visible pictures; bidirectional
    overrides and isolates become ``⟨U+202E⟩`` and the like, so that they reorder nothing; lone surrogates, which UTF-8
    cannot hold, become the replacement character. Markup is left alone: escaping it is the template's work.
    """
    if text.isprintable():
        return text
    return surrogate_free(text).replace("\r\n", "\n").replace("\r", "\n").translate(_VISIBLE)


def cut(text: str, limit: int) -> tuple[str, int]:
    """The first ``limit`` characters of a text, cleaned, and the full length where it was cut (else 0)."""
    if len(text) <= limit:
        return clean(text), 0
    return clean(text[:limit]), len(text)
