"""Standard output and standard error of a command.

No secret passes through them, and they cannot end a finished run: any encoding, a closed pipe and a full disk are handled. The
libraries' own warnings and log records stay off them while a command runs; in Python, ``import evenhand`` and
``evenhand.audit`` leave warning filters, loggers and the environment alone.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import select
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from evenhand.redact import redact
from evenhand.safe_text import terminal_safe

_CLOSED = {errno.EPIPE} | ({errno.EINVAL} if os.name == "nt" else set())


class _Output(io.FileIO):
    """A file descriptor whose reader may leave: from then on, what is written to it is dropped.

    Any other error (such as a full disk) is raised once, and later writes are dropped, so that the interpreter does not fail
    again when it flushes at its end.
    """

    _gone = False

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = left.nbytes
        while left.nbytes and not self._gone:
            try:
                written = super().write(left)
            except OSError as error:
                self._gone = True
                if error.errno not in _CLOSED:
                    error.filename = "standard output" if self.fileno() == 1 else "standard error"
                    raise
            else:
                if written is None:  # a pipe that does not block is full
                    select.select([], [self], [])
                left = left[written or 0 :]
        return size


def _prepared(stream: Any) -> Any:
    if stream is None:  # the descriptor was closed by whoever started this process
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):  # a stream of a test or of another program
        return stream
    if number not in (1, 2) or not isinstance(stream, io.TextIOWrapper):
        return stream
    if (
        type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO
    ):  # the console of Windows takes Unicode itself
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    output = _Output(number, "wb", closefd=False)
    return io.TextIOWrapper(
        # PYTHONUNBUFFERED takes the buffer away.
        cast(BinaryIO, output) if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def prepare_streams() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` safe to write to.

    A character that the encoding lacks is written as an escape (``\\u25cf``). A closed pipe is not an error: the rest of the output
    is dropped and the work goes on to its end.
    """
    sys.stdout = _prepared(sys.stdout)
    sys.stderr = _prepared(sys.stderr)


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


_OURS = ("evenhand", "uvicorn")
"""Packages whose records are shown; those of uvicorn report the socket of `evenhand serve`."""

_ENVIRONMENT = {
    "DATASETS_VERBOSITY": "critical",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "critical",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "critical",
}
"""For what libraries write without a warning or a record, and for the processes that they start. What is set already stays."""


class Sentences(logging.Handler):
    """Evenhand's own warnings, each as one line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; a stream that is closed ends nothing."""
        try:
            sys.stderr.write(f"evenhand: {' '.join(terminal_safe(record.getMessage()).split())}\n")
        except (OSError, ValueError):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Write nothing: there is no stream to write to."""


def _is_ours(name: str) -> bool:
    return name.split(".", 1)[0] in _OURS


@contextmanager
def own_lines_only() -> Iterator[None]:
    """Show only the warnings and log records of Evenhand inside the block.

    The warning filters stay in force: a warning that they turn into an error stays an error. Records of other
    libraries reach no handler, their own handlers included. Everything is restored at the end.
    """
    shown, handed_on, before = warnings.showwarning, logging.Logger.callHandlers, dict(os.environ)
    logger_of_ours, handler = logging.getLogger("evenhand"), Sentences(logging.WARNING)

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if _is_ours(category.__module__):
            sys.stderr.write(f"evenhand: {' '.join(terminal_safe(str(message)).split())}\n")

    def hand_on(logger: logging.Logger, record: logging.LogRecord) -> None:
        if _is_ours(record.name):
            handed_on(logger, record)

    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.showwarning = show
    logging.Logger.callHandlers = hand_on  # type: ignore[method-assign, assignment]
    logger_of_ours.addHandler(handler)
    try:
        yield
    finally:
        logger_of_ours.removeHandler(handler)
        logging.Logger.callHandlers = handed_on  # type: ignore[method-assign]
        warnings.showwarning = shown
        for name in _ENVIRONMENT:
            if name not in before:
                os.environ.pop(name, None)
