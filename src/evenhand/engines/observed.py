"""Facts that an engine learns while it works: who wants to know of them at once, so that a kill loses none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


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
