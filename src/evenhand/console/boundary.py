"""The edge of the command line: every way in which a command can end becomes an exit code and one line, never a traceback.

What a machine refuses a program (full disks, permissions, long names, memory) is one sentence as well.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

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
    """One message on standard error; a stream that cannot be written to is not a further error."""
    from evenhand.safe_text import terminal_safe

    with suppress(OSError, ValueError):
        sys.stderr.write(f"evenhand: {terminal_safe(redacted(text))}\n")
        sys.stderr.flush()


def _finished_run(folder: Path) -> str:
    if not _noted.report:
        return f"The run in {folder} is finished and its files are written."
    return f"The run is finished and its findings are written; `evenhand report {shlex.quote(str(folder))}` writes its report."


def _what_is_kept() -> str:
    """What an error left of the run, as a sentence with a space before it; empty if there is no run."""
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
        from evenhand.errors import missing_library

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


_SPACE = "Free some space, or choose a place on another disk."
_PLACE = "Check its permissions, or choose another place: --out for results, EVENHAND_CACHE for the request cache."
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: "Free some of your disk quota, or choose a place on another disk.",
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f), or choose a place on another file system.",
    errno.EROFS: "Choose another place: --out for results, EVENHAND_CACHE for the request cache.",
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.ENAMETOOLONG: "Choose a shorter name or path.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), or lower --concurrency.",
    errno.ENFILE: "The machine has too many open files: end other programs.",
    errno.ENOMEM: "Close other programs, or give the command less to do at a time (--batch-tokens, --concurrency).",
    errno.EIO: "Check the disk: it reports an error.",
}
_NUMBER = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
_ALLOCATION = re.compile(
    r"can't allocate memory|out of memory|std::bad_alloc|failed to allocate|unable to allocate", re.I
)
# torch writes checkpoints by a C++ stream, which knows no reason for a write that failed.
_UNWRITTEN = re.compile(r"inline_container\.cc|iostream error|PytorchStreamWriter")
_FOREIGN = ("polars", "pyarrow", "safetensors", "safetensors_rust", "torch", "numpy", "tokenizers", "ray")
_SHOWN = 300


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "..."


def _where(name: object) -> str:
    if name is None or isinstance(name, int):
        return ""
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return text if len(text) <= _SHOWN else f"{text[:100]}... ({len(text):,} characters)"


def _sentence(number: int, where: str, why: str) -> str:
    sentence = f"{where}: {why}." if where else f"{why}."
    return f"{sentence} {_ADVICE[number]}" if number in _ADVICE else sentence


def _of_the_system(error: OSError, folder: Path | None) -> str | None:
    if error.errno is None:
        return None
    why = error.strerror or os.strerror(error.errno)
    where = _where(error.filename)
    if not where and error.errno == errno.ENOENT:
        try:
            Path.cwd()
        except OSError:
            return "The working directory no longer exists. Change to a folder that does."
    return _sentence(error.errno, where or (str(folder) if folder is not None else ""), why)


def refusal(error: BaseException, folder: Path | None = None) -> str | None:
    """One line that names what was refused and what to do, or None where the error is not the machine's.

    Errors of the operating system count wherever they are raised: in Python, in SQLite, or inside polars, pyarrow, safetensors
    and torch, which report them in their own classes. ``folder`` is named where the error does not know its file.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        detail = _one_line(error)
        return f"Out of memory{f' ({detail})' if detail else ''}. {_ADVICE[errno.ENOMEM]}"
    if isinstance(error, OSError):
        return _of_the_system(error, folder)
    if isinstance(error, sqlite3.OperationalError):
        full = _SPACE if "full" in str(error) else _PLACE
        return f"The database of the request cache cannot be used ({_one_line(error)}). {full}"
    module = type(error).__module__.partition(".")[0]
    text = str(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return (
            "No thread can be started. Raise the limit on processes (ulimit -u), or lower --concurrency or --threads."
        )
    if module in _FOREIGN or isinstance(error, RuntimeError):
        if _ALLOCATION.search(text):
            return f"Out of memory ({_one_line(text)}). {_ADVICE[errno.ENOMEM]}"
        if _UNWRITTEN.search(text):
            return _sentence(
                errno.ENOSPC, str(folder) if folder is not None else "", "A checkpoint could not be written"
            )
        match = _NUMBER.search(text)
        if match:
            number = int(match[1] or match[2])
            return _sentence(number, str(folder) if folder is not None else "", _one_line(text).rstrip("."))
    return None
