"""Text that is safe and honest to show: characters that a browser would act on or hide are made visible."""

from __future__ import annotations

from evenhand.safe_text import surrogate_free

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
