"""Bytes of a file as text, and JSON as values: one reader with limits for every file that comes in.

JSON is read within the limits that every consumer can take: ``DEEPEST`` levels, finite numbers of at most 308 digits, each name
of an object once. Lone surrogates become U+FFFD, since no encoder accepts them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evenhand.errors import BadInput
from evenhand.safe_text import json_safe, surrogate_free

DEEPEST = 100
"""Deepest nesting of lists and objects that is read."""

_DIGITS = 308
_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SAVE = "Save it as UTF-8 and try again."


def decoded(data: bytes, file: str | Path, row_of: Callable[[str], int] | None = None) -> str:
    """UTF-8 text without its byte order mark.

    ``row_of`` counts the data rows of the text before the first wrong byte; without it the error names the line. Raises
    BadInput for UTF-16 and UTF-32 and for bytes that are not UTF-8.
    """
    for mark, name in _BOMS.items():
        if data.startswith(mark):
            raise BadInput(f"The file is {name}, not UTF-8.", file=file, do=_SAVE)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "ignore")
        place = "" if row_of else f", line {before.count(chr(10)) + 1}"
        raise BadInput(
            f"The file is not UTF-8: byte {data[error.start]:#04x} at position {error.start}{place}.",
            file=file,
            row=row_of(before) if row_of else None,
            do=_SAVE,
        ) from None


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises BadInput where it cannot be read or is not UTF-8."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput("The file is not there.", file=path) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise BadInput(f"The file cannot be read: {getattr(error, 'strerror', None) or error}.", file=path) from None
    return decoded(data, path)


def parse_json(
    text: str,
    *,
    file: str | Path | None = None,
    row: int | None = None,
    what: str = "The text",
    finite: bool = True,
    once: bool = True,
) -> Any:
    """The value of a JSON text.

    ``what`` begins the sentence of an error ("The line", "The file"). Raises BadInput, with file and row, for text that is
    not JSON, nesting beyond ``DEEPEST`` levels, numbers beyond the range of a 64-bit float, NaN and infinity, and a name that an
    object gives twice. With ``finite=False`` NaN and infinity are read; with ``once=False`` the last of equal names counts.
    """
    text = surrogate_free(text)
    try:
        if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
            raise ValueError(f"{what} is nested more than {DEEPEST} levels deep.")
        value = json.loads(
            text,
            object_pairs_hook=(lambda pairs: _once(pairs, what)) if once else None,
            parse_int=lambda digits: _whole(digits, what),
            parse_float=(lambda digits: _finite(digits, what)) if finite else None,
            parse_constant=(lambda name: _finite(name, what)) if finite else None,
        )
    except json.JSONDecodeError as error:
        where = f" at character {error.pos}" if error.lineno == 1 else f" at line {error.lineno}, column {error.colno}"
        raise BadInput(f"{what} is not JSON: {error.msg}{where}.", file=file, row=row) from None
    except RecursionError:
        raise BadInput(f"{what} is nested too deep.", file=file, row=row) from None
    except ValueError as error:
        raise BadInput(str(error), file=file, row=row) from None
    return json_safe(value) if "\\u" in text else value


def read_json_file(path: Path, *, finite: bool = True, once: bool = True) -> Any:
    """The value of a JSON file. Raises BadInput as ``read_text`` and ``parse_json`` do."""
    return parse_json(read_text(path), file=path, what="The file", finite=finite, once=once)


def json_or(text: str, default: Any) -> Any:
    """The value of a cell that may hold JSON, else ``default``."""
    try:
        return parse_json(text)
    except BadInput:
        return default


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in _STRUCTURE.finditer(text):
        mark = text[found.start()]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _once(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    found = {surrogate_free(key): value for key, value in pairs}
    if len(found) < len(pairs):
        keys = [surrogate_free(key) for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{what} gives '{twice[:60]}' more than once.")
    return found


def _whole(digits: str, what: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"{what} holds a number of {len(digits)} digits; at most {_DIGITS} are read.")
    return int(digits)


def _finite(digits: str, what: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{what} holds the number {digits[:40]}, which is not finite; write null for a missing value.")
    return value
