"""The standard streams of a command, through which no secret passes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from evenhand.redact import redact

__all__ = ["redacted_streams"]


class _Redacting:
    """A text stream that replaces secrets in what is written; everything else is the stream's own.

    A secret that is split over two calls of ``write`` is not found: what lays text out (tables, folded lines) gets it
    through `terminal_safe`, which redacts as well.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text) if isinstance(text, str) else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redacted_streams() -> Iterator[None]:
    """Standard output and standard error without secrets, for as long as the context is open."""
    before = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = _Redacting(sys.stdout), _Redacting(sys.stderr)
        yield
    finally:
        sys.stdout, sys.stderr = before
