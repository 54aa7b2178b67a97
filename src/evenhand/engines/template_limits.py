"""Limits of a chat template that is rendered: steps, time, and the size of everything that it makes.

A chat template is a program from the hub. Each step is counted, and whatever could make a large value in one step is measured
before it is done, so that the limits hold on every thread and without a process for each chat.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.utils import Namespace

_STEPS, _STEPS_PER_CHARACTER = 100_000, 5
_CHARACTERS, _CHARACTERS_PER_CHARACTER = 1 << 25, 500
_SECONDS = 5.0
_LARGEST_VALUE = 1 << 23
_ENTRY = 32
"""What an entry of a list counts in addition to its characters: about the bytes that it takes."""

_INT_BITS = 4096
_PADS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_PERCENT = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\d+|\*)?(?:\.(\d+|\*))?")
_BRACES = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")


class TemplateTooLarge(Exception):
    """The template does more work, or makes more text, than a chat needs."""


class Meter:
    """What one rendering may still do; ``characters`` is the size of the chat.

    Raises TemplateTooLarge from ``step`` and ``take`` when steps, seconds or sizes run out.
    """

    def __init__(self, characters: int) -> None:
        self.steps = _STEPS + _STEPS_PER_CHARACTER * characters
        self.left = _CHARACTERS + _CHARACTERS_PER_CHARACTER * characters
        self.largest = _LARGEST_VALUE + 16 * characters
        self._end = time.monotonic() + _SECONDS

    def step(self) -> None:
        """Count a step of a loop, a call or a filter."""
        self.steps -= 1
        if self.steps < 0:
            raise TemplateTooLarge("it takes too many steps")
        if time.monotonic() > self._end:
            raise TemplateTooLarge(f"it runs longer than {_SECONDS:.0f} seconds")

    def fits(self, size: int) -> None:
        """Raise where a value of this size, in characters and entries, is too large to be made."""
        if size > self.largest or size > self.left:
            raise TemplateTooLarge("it makes too large a text or list")

    def take(self, value: Any) -> Any:
        """Count a value that was made, and return it."""
        size = size_of(value, self.largest)
        self.fits(size)
        self.left -= size
        return value


_METER: ContextVar[Meter | None] = ContextVar("evenhand_template_meter", default=None)


@contextmanager
def metered(meter: Meter) -> Iterator[Meter]:
    """Let templates that are compiled and rendered within the block count on this meter."""
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def current() -> Meter:
    """The meter of the rendering under way."""
    meter = _METER.get()
    if meter is None:
        raise TemplateTooLarge("it runs outside a rendering")
    return meter


def size_of(value: Any, most: int) -> int:
    """Characters of a value with everything in it, each as often as it occurs, and 32 an entry; stops above ``most``."""
    size = 0
    waiting = [value]
    while waiting:
        entry = waiting.pop()
        size += _ENTRY
        if isinstance(entry, (str, bytes)):
            size += len(entry)
        elif isinstance(entry, int):
            size += entry.bit_length() >> 5
            if entry.bit_length() > _INT_BITS:
                raise TemplateTooLarge("it makes too large a number")
        elif isinstance(entry, Mapping):
            waiting.extend(entry.keys())
            waiting.extend(entry.values())
        elif isinstance(entry, (list, tuple, set, frozenset)):
            waiting.extend(entry)
        elif isinstance(entry, Namespace):
            waiting.append(object.__getattribute__(entry, "_Namespace__attrs"))
        if size + _ENTRY * len(waiting) > most:
            return most + 1
    return size


def before_operator(operator: str, left: Any, right: Any) -> None:
    """Raise TemplateTooLarge where the result of ``left operator right`` would be too large."""
    meter = current()
    meter.step()
    if operator == "*":
        for text, count in ((left, right), (right, left)):
            if isinstance(text, (str, bytes, list, tuple)) and isinstance(count, int):
                meter.fits(size_of(text, meter.largest) * max(count, 0))
    elif operator == "%" and isinstance(left, (str, bytes)):
        meter.fits(_percent_size(left, right, meter))
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * abs(right) > _INT_BITS:
            raise TemplateTooLarge("it makes too large a number")
    elif operator == "+" and isinstance(left, (str, bytes, list, tuple)) and isinstance(right, type(left)):
        meter.fits(len(left) + len(right))


def before_call(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise TemplateTooLarge where a method of a text or number would make too large a value."""
    meter = current()
    meter.step()
    # The sandbox wraps ``str.format``: the method that it wraps has the text.
    function = getattr(function, "__wrapped__", function)
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    rest = [*args, *kwargs.values()]
    if isinstance(owner, int) and name == "to_bytes":
        meter.fits(_largest_int(rest))
    if not isinstance(owner, (str, bytes)):
        return
    if name in ("format", "format_map"):
        meter.fits(_braces_size(str(owner), rest, meter))
    elif name == "translate":
        table = rest[0] if rest and isinstance(rest[0], Mapping) else {}
        meter.fits(len(owner) * max((size_of(v, meter.largest) for v in table.values()), default=1))
    else:
        _before_method(name, owner, rest, meter)


def before_filter(name: str, value: Any, rest: list[Any]) -> None:
    """Raise TemplateTooLarge where a filter would make too large a value of ``value`` and its other arguments."""
    meter = current()
    meter.step()
    if name in ("batch", "slice", "round", "truncate"):
        if _largest_int(rest) > 100_000 or (name == "round" and _largest_int(rest) > 300):
            raise TemplateTooLarge(f"it calls the filter {name} with too large a number")
    elif name == "sum":
        if any(isinstance(entry, (list, tuple)) for entry in rest):
            raise TemplateTooLarge("it sums texts or lists")
    elif name == "format":
        arguments = rest[-1] if rest and isinstance(rest[-1], Mapping) and len(rest) == 1 else tuple(rest)
        meter.fits(_percent_size(str(value), arguments, meter))
    elif name in ("indent", "tojson"):
        width = max(_largest_int(rest), max((len(e) for e in rest if isinstance(e, str)), default=0), 8)
        if name == "tojson":
            width += sum(size_of(entry, meter.largest) for entry in rest)
            meter.fits(size_of(value, meter.largest) * width)
        else:
            meter.fits(len(str(value)) + (str(value).count("\n") + 1) * width)
    else:
        _before_method(name, value, rest, meter)


def _before_method(name: str, owner: Any, rest: list[Any], meter: Meter) -> None:
    if name in _PADS:
        tabs = owner.count("\t" if isinstance(owner, str) else b"\t") + 1 if name == "expandtabs" else 1
        meter.fits(size_of(owner, meter.largest) + tabs * _largest_int(rest))
    elif name == "replace" and len(rest) > 1:
        old, new = (str(entry) if not isinstance(entry, bytes) else entry for entry in rest[:2])
        text = owner if isinstance(owner, (str, bytes)) else str(owner)
        if isinstance(old, type(text)):
            meter.fits(len(text) + (text.count(old) if old else len(text) + 1) * len(new))  # type: ignore[arg-type]
    elif name == "join" and rest:
        glue, parts = (rest[0], owner) if not isinstance(owner, (str, bytes)) else (owner, rest[0])
        count = len(parts) if hasattr(parts, "__len__") else 100_000
        meter.fits(size_of(parts, meter.largest) + count * size_of(glue, meter.largest))


def _largest_int(values: list[Any]) -> int:
    return max((abs(value) for value in values if isinstance(value, int)), default=0)


def _everything(values: list[Any]) -> list[Any]:
    """The values and, below lists and mappings, all that they hold; what is walked was measured before."""
    found: list[Any] = []
    waiting = list(values)
    while waiting:
        entry = waiting.pop()
        found.append(entry)
        if isinstance(entry, Mapping):
            waiting.extend(entry.values())
        elif isinstance(entry, (list, tuple)):
            waiting.extend(entry)
        elif isinstance(entry, Namespace):
            waiting.append(object.__getattribute__(entry, "_Namespace__attrs"))
    return found


def _percent_size(text: str | bytes, arguments: Any, meter: Meter) -> int:
    shown = text if isinstance(text, str) else text.decode("latin-1")
    given = arguments if isinstance(arguments, tuple) else (arguments,)
    return _fields(shown, [match.groups() for match in _PERCENT.finditer(shown)], list(given), "*", meter)


def _braces_size(text: str, arguments: list[Any], meter: Meter) -> int:
    found: list[tuple[str | None, ...]] = []
    for match in _BRACES.finditer(text):
        spec = match[0][1:-1].partition(":")[2]
        found.append(tuple(re.findall(r"\d+", spec)) + (("*",) if "{" in spec else ()))
    return _fields(text, found, arguments, "*", meter)


def _fields(text: str, widths: list[tuple[str | None, ...]], given: list[Any], star: str, meter: Meter) -> int:
    """Characters that a formatted text may have: the widths of its fields, and the largest argument in each."""
    largest = max((size_of(entry, meter.largest) for entry in given), default=0)
    meter.fits(largest)
    size = len(text) + len(widths) * (largest + 330)  # a float has up to 309 digits
    for parts in widths:
        for part in parts:
            if part == star:
                size += _largest_int(_everything(given))
            elif part:
                size += int(part[:12])
    return size
