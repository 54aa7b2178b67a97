"""What engines report while they work: the progress of the batch under way, and facts learned about the model.

A batch stays the unit of redo, and its plan stays a function of the request table alone: ticks are reported from inside a
batch and change nothing about it. Nothing is kept and nothing is computed where nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Listener = Callable[[int, float], None]
"""Called as (rows of the batch under way, share of its work that is done, from 0 to 1)."""

_listeners: list[Listener] = []
_rows: list[int] = []
_parts: list[tuple[float, float]] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener`` for every tick inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def batch(rows: int) -> Iterator[None]:
    """A batch of ``rows`` rows is computed inside the block. Inside another batch it is a part of that one."""
    _rows.append(rows)
    try:
        yield
    finally:
        _rows.pop()


@contextmanager
def part(low: float, high: float) -> Iterator[None]:
    """Ticks inside the block go from ``low`` to ``high`` (shares of the enclosing part, from 0 to 1)."""
    first, last = _parts[-1] if _parts else (0.0, 1.0)
    _parts.append((first + (last - first) * low, first + (last - first) * high))
    try:
        yield
    finally:
        _parts.pop()


def tick(share: float) -> None:
    """Report that ``share`` (0 to 1) of the part under way is done."""
    if not _listeners or not _rows:
        return
    low, high = _parts[-1] if _parts else (0.0, 1.0)
    done = low + (high - low) * min(1.0, max(0.0, share))
    for listener in tuple(_listeners):
        listener(_rows[0], done)


class NotedSet(set[str]):
    """A set that calls ``tell`` after each text that is added."""

    def __init__(self, tell: Callable[[], None]):
        super().__init__()
        self._tell = tell

    def add(self, text: str) -> None:
        """Add a text, and report it."""
        super().add(text)
        self._tell()


def on_new_facts(engine: Any, tell: Callable[[], None]) -> None:
    """Have ``tell`` called, perhaps in another thread, whenever the engine's ``observed()`` has something new.

    An engine says that it does so by an attribute ``on_observed``; the one behind a request cache is meant. Engines without
    the attribute are left alone.
    """
    inner = getattr(engine, "engine", engine)
    if hasattr(inner, "on_observed"):
        inner.on_observed = tell


def merged_facts(earlier: Any, now: Any) -> Any:
    """Facts of the same engine from two processes.

    Lists of texts are united, of counts the larger one stays, of anything else the earlier one. What is stated once, such
    as the noise of a self-test, so keeps the value of the process that first stated it.
    """
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        return {
            key: merged_facts(earlier[key], now[key]) if key in earlier and key in now else {**earlier, **now}[key]
            for key in [*earlier, *(key for key in now if key not in earlier)]
        }
    if isinstance(earlier, list) and isinstance(now, list):
        return sorted({*earlier, *now}) if all(isinstance(part, str) for part in (*earlier, *now)) else earlier
    if type(earlier) is int and type(now) is int:
        return max(earlier, now)
    return earlier
