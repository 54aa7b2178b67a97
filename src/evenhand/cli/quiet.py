"""The one place that keeps the libraries' own lines off a user's screen, for the time of a command.

In Python, ``import evenhand`` and ``evenhand.audit`` leave warning filters, loggers and the environment alone.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evenhand.safe_text import terminal_safe

_OURS = ("evenhand", "uvicorn")
"""Whose records are shown; uvicorn's are what `evenhand serve` says of its socket."""

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
        """Say nothing: there is no stream to say it on."""


def _is_ours(name: str) -> bool:
    return name.split(".", 1)[0] in _OURS


@contextmanager
def own_lines_only() -> Iterator[None]:
    """Show warnings and log records of Evenhand alone inside the block.

    Warnings are still filtered as the interpreter was told: one that is to be an error stays an error. Records of other
    libraries reach no handler, their own handlers included. Everything is put back at the end.
    """
    shown, handed_on, before = warnings.showwarning, logging.Logger.callHandlers, dict(os.environ)
    own, handler = logging.getLogger("evenhand"), Sentences(logging.WARNING)

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
    own.addHandler(handler)
    try:
        yield
    finally:
        own.removeHandler(handler)
        logging.Logger.callHandlers = handed_on  # type: ignore[method-assign]
        warnings.showwarning = shown
        for name in _ENVIRONMENT:
            if name not in before:
                os.environ.pop(name, None)
