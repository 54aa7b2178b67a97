"""The edge of the command line: every way in which a command can end becomes an exit code and one line, never a traceback."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

from evenhand.console.refusals import refusal
from evenhand.console.streams import prepare_streams, redacted_streams
from evenhand.errors import EvenhandError
from evenhand.redact import hide_environment, hide_urls, redact_message

DONE = 0
FAILED_GATE = 1
BAD_INPUT = 2
TOO_MANY_ROWS = 3
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130

EXIT_CODES = {
    DONE: "done",
    FAILED_GATE: "failed gate",
    BAD_INPUT: "bad input, or refused by the machine",
    TOO_MANY_ROWS: "done but too many rows failed or missing",
    UNEXPECTED: "unexpected error (a bug)",
    INTERRUPTED: "interrupted (Ctrl-C or SIGTERM)",
}
"""What each code means, in the words of `evenhand --help`, README and docs/exit_codes.md."""


def epilog() -> str:
    """The exit codes as the last line of the help text."""
    return "Exit codes: " + ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."


_URL_USER = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_URL_QUERY = re.compile(r"(://[^\s?#'\"]*\?)[^\s#'\"]+")


@dataclass(slots=True)
class _Noted:
    """Which run the command is writing, and whether its findings are written."""

    folder: Path | None = None
    finished: bool = False
    report: bool = True

    @property
    def kept(self) -> Path | None:
        """The folder, where it holds a run."""
        there = self.folder is not None and os.path.isfile(self.folder / "manifest.json")  # noqa: PTH113 - a name too long is False
        return self.folder if there else None


_noted = _Noted()


def note_run(folder: Path | None, *, finished: bool = False, report: bool = True) -> None:
    """Remember which run is being written, so that an error can name it; ``report``: the run is one that has a report."""
    _noted.folder, _noted.finished, _noted.report = folder, finished, report


def redacted(text: str) -> str:
    """Text without the secrets in force, and without users and queries of addresses."""
    return _URL_QUERY.sub(r"\1[hidden]", _URL_USER.sub("[hidden]", redact_message(text)))


def say(text: str) -> None:
    """One message on standard error; a stream that cannot be written to is no further error."""
    from evenhand.safe_text import terminal_safe

    with suppress(OSError, ValueError):
        sys.stderr.write(f"evenhand: {terminal_safe(redacted(text))}\n")
        sys.stderr.flush()


def _finished_run(folder: Path) -> str:
    if not _noted.report:
        return f"The run in {folder} is finished and its files are written."
    return f"The run is finished and its findings are written; `evenhand report {shlex.quote(str(folder))}` writes its report."


def _what_is_kept() -> str:
    """What an error left of the run, as a sentence with a space before it; empty where there is no run."""
    if _noted.kept is None:
        return ""
    if _noted.finished:
        return f" {_finished_run(_noted.kept)}"
    return f" What was finished is kept: repeat the command with --out {shlex.quote(str(_noted.kept))} --resume."


@contextmanager
def after_run(folder: Path, *, wanted: bool = False, report: bool = True) -> Iterator[None]:
    """What follows a finished run, such as its report or closing screen.

    What the machine refuses here is reported in one line and goes no further: the run is finished. With ``wanted`` the output
    is what the command was called for (``--json``), and the error ends the command.
    """
    note_run(folder, finished=True, report=report)
    try:
        yield
        sys.stdout.flush()
    except Exception as error:
        why = refusal(error, folder)
        if why is None or wanted:
            raise
        say(f"{why} {_finished_run(folder)}")


def _traceback_of(error: BaseException) -> str:
    return redacted("".join(traceback.format_exception(error)))


def _debugging() -> bool:
    return os.environ.get("EVENHAND_DEBUG", "") not in ("", "0")


def _kept(text: str) -> Path | None:
    """Write a traceback into the run folder, or else the folder for temporary files."""
    name = f"evenhand-traceback-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for folder in filter(None, (_noted.kept, Path(tempfile.gettempdir()))):
        with suppress(OSError):
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
            return folder / name
    return None


def _unexpected(error: BaseException) -> int:
    text = _traceback_of(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if _debugging():
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        where = "The traceback is printed above."
    elif path := _kept(text):
        where = f"The traceback is in {path} (EVENHAND_DEBUG=1 prints it)."
    else:
        where = "EVENHAND_DEBUG=1 prints the traceback."
    say(f"unexpected error: {what}. This is a bug in Evenhand; please report it. {where}{_what_is_kept()}")
    return UNEXPECTED


def _ended_by(error: BaseException) -> int:
    show = getattr(error, "show", None)
    if callable(show) and hasattr(error, "exit_code"):  # a usage error, whichever copy of click raised it
        show()
        return BAD_INPUT
    line = str(error) if isinstance(error, EvenhandError) else None
    if isinstance(error, ImportError):
        from evenhand.extras import missing_library

        line = str(missing) if (missing := missing_library(error)) else None
    elif line is None:
        line = refusal(error, _noted.folder)
        if line is not None:
            line += _what_is_kept()
    if line is None:
        return _unexpected(error)
    if _debugging():
        with suppress(OSError, ValueError):
            sys.stderr.write(_traceback_of(error))
    say(line)
    return BAD_INPUT


def guarded(work: Callable[[], object]) -> int:
    """Run a command and return the exit code: its own where it returns one, else what its error means.

    An error that Evenhand raises on purpose, and what the machine refuses, become one line on standard error; anything else is
    a bug, whose traceback is written to a file.
    """
    note_run(None)
    prepare_streams()
    hide_environment()
    hide_urls(sys.argv[1:])
    with redacted_streams():
        return _code_of(work)


def _code_of(work: Callable[[], object]) -> int:
    try:
        code = work()
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        say(f"interrupted.{_what_is_kept()}" if _noted.finished else "interrupted")
        return INTERRUPTED
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a Rust extension is no Exception
        return _ended_by(error)
    return code if isinstance(code, int) else DONE
