"""Errors that say what happened, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class EvenhandError(Exception):
    """Base of every error that Evenhand raises on purpose."""


class BadInput(EvenhandError):
    """Input that cannot be used as it is (exit code 2).

    Parameters
    ----------
    what : what is wrong, in one sentence.
    file : the file it stands in, if any.
    row : 1-based data row (the header is not counted), if any.
    do : what the user can do about it.
    """

    def __init__(self, what: str, *, file: str | Path | None = None, row: int | None = None, do: str | None = None):
        self.what, self.file, self.row, self.do = what, file, row, do
        where = f"{file}, row {row}: " if file and row is not None else f"{file}: " if file else ""
        super().__init__(where + what + (f" {do}" if do else ""))


class EngineError(EvenhandError):
    """An engine cannot do what is asked of it, said before any work is done."""
