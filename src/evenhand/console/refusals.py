"""What a machine refuses a program, as one sentence: full disks, permissions, long names, memory."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path

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
