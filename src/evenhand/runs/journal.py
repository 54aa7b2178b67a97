"""An append-only journal of finished batches: what makes a killed run continue where it stopped."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from xxhash import xxh64_hexdigest

from evenhand.records import LogProb, Response, mended_counts
from evenhand.redact import redact, redact_row

_LOG = logging.getLogger(__name__)
_SYNC_SECONDS = 1.0
_FIELDS = tuple(field.name for field in fields(Response))
_Row = TypeVar("_Row")
_reported: dict[Path, int] = {}
"""Damaged lines reported so far, by file: several journals of one process may read the same file."""


class RowJournal(Generic[_Row]):
    """One JSON line for each finished batch: its key, its rows, and a checksum of both.

    A truncated last line is what a kill leaves: it is cut off and its batch is done again. A damaged line anywhere else
    (a full disk, a bad sector) is left in the file, counted in ``damaged``, reported once, and its batch is done again too.
    Where two lines hold the same batch, the later one wins.
    """

    def __init__(self, path: Path):
        self.path = path
        self.damaged = 0
        self._file: IO[bytes] | None = None
        self._end = 0
        self._synced = 0.0

    def _packed(self, row: _Row) -> Any:
        """A row as JSON holds it."""
        raise NotImplementedError

    def _unpacked(self, stored: Any) -> _Row:
        """A row as it was."""
        raise NotImplementedError

    def read(self) -> dict[str, list[_Row]]:
        """Finished batches by key. Cuts a truncated last line off the file, and skips damaged lines."""
        self.damaged = 0
        if not self.path.exists():
            return {}
        done: dict[str, list[_Row]] = {}
        keep = lines = 0
        first = ""
        with self.path.open("rb") as file:
            for lines, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                keep += len(line)
                try:
                    key, rows = self._entry(line)
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                    self.damaged += 1
                    first = first or f"line {lines}: {error}"
                else:
                    done[key] = rows
        if keep < self.path.stat().st_size:
            with self.path.open("r+b") as tail:
                tail.truncate(keep)
        if self.damaged > _reported.get(self.path, 0):
            _reported[self.path] = self.damaged
            _LOG.warning(
                "%s: %d of %d lines are damaged (first: %s). Their batches are done again.",
                self.path, self.damaged, lines, first,
            )  # fmt: skip
        return done

    def _entry(self, line: bytes) -> tuple[str, list[_Row]]:
        """A line's key and rows. Raises ValueError, LookupError or TypeError where it is not as it was written."""
        entry = json.loads(line)
        body = json.dumps(entry["rows"], ensure_ascii=True, separators=(",", ":"))
        if _checksum(entry["key"], body) != entry["sum"]:
            raise ValueError("its checksum does not match")
        return entry["key"], [self._unpacked(row) for row in entry["rows"]]

    def append(self, key: str, batch: Sequence[_Row]) -> None:
        """Write one batch as one line; it reaches the disk at most a second later, or at close.

        Raises OSError, with the journal's name, where the line cannot be written whole. The journal is first cut back to
        its last complete line, so that a later append or ``--resume`` goes on from there.
        """
        if self._file is None:
            self._open()
        assert self._file is not None, "it has just been opened"
        body = json.dumps([self._packed(row) for row in batch], ensure_ascii=True, separators=(",", ":"))
        head = json.dumps({"key": key, "sum": _checksum(key, body)})[:-1]
        line = f'{head}, "rows": {body}}}\n'.encode("ascii")
        try:
            _write_all(self._file.fileno(), line)
        except BaseException as error:
            self._cut_back()
            if isinstance(error, OSError):
                raise self._unwritten(error) from error
            raise
        self._end += len(line)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()

    def _open(self) -> None:
        """Open the file for appending. A partial last line is ended, so that it cannot spoil the next one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        self._end = self._file.seek(0, os.SEEK_END)
        if self._end:
            self._file.seek(self._end - 1)
            if self._file.read(1) != b"\n":
                _write_all(self._file.fileno(), b"\n")
                self._end += 1

    def _cut_back(self) -> None:
        """Cut a partial line off. Where even that fails, the next append opens the file anew and ends the line."""
        assert self._file is not None, "only an open file is cut back"
        try:
            self._file.truncate(self._end)
        except OSError:
            self._file.close()
            self._file = None

    def _sync(self) -> None:
        assert self._file is not None, "only an open file is synchronised"
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritten(error) from error
        self._synced = time.monotonic()

    def _unwritten(self, error: OSError) -> OSError:
        return OSError(
            error.errno,
            f"{error.strerror}: the journal could not be written. Its complete lines are kept; mend the cause, then "
            "continue with --resume",
            str(self.path),
        )

    def close(self) -> None:
        """Bring everything to the disk."""
        if self._file is not None:
            try:
                self._sync()
            finally:
                self._file.close()
                self._file = None


def _checksum(key: str, body: str) -> str:
    return xxh64_hexdigest((key + body).encode("utf-8", "surrogatepass"))


def _write_all(handle: int, data: bytes) -> None:
    """Write every byte. Raises OSError where the system takes only a part (a full disk, a size limit)."""
    rest = memoryview(data)
    while rest:
        try:
            written = os.write(handle, rest)
        except InterruptedError:
            continue
        if written <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


class Journal(RowJournal[Response]):
    """The journal of responses."""

    def _packed(self, row: Response) -> Any:
        row = redact_row(row)
        return {name: getattr(row, name) for name in _FIELDS}

    def _unpacked(self, stored: Any) -> Response:
        return Response(**mended_counts(stored))


class ScoreJournal(RowJournal[LogProb]):
    """The journal of scores: each row as a list, in the order of the record's fields."""

    def _packed(self, row: LogProb) -> Any:
        return [row.span, row.total, row.tokens, row.values, row.offsets, row.context_tokens, redact(row.error)]

    def _unpacked(self, stored: Any) -> LogProb:
        span, total, tokens, values, offsets, context_tokens, error = stored
        return LogProb(span, total, tuple(tokens), tuple(values), tuple(map(tuple, offsets)), context_tokens, error)
