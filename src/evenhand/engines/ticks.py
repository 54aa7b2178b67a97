"""How far the batch under way is: engines report it, and whoever shows progress listens.

A batch stays the unit of redo, and its plan stays a function of the request table alone: ticks are reported from inside a
batch and change nothing about it. Nothing is kept and nothing is computed where nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
