"""An append-only journal of finished batches: what makes a killed run continue where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from xxhash import xxh64_hexdigest

from evenhand.errors import BadInput
from evenhand.records import LogProb, Response
from evenhand.redact import redact, redact_row

__all__ = ["Journal", "RowJournal", "ScoreJournal"]

_SYNC_SECONDS = 1.0
_FIELDS = tuple(field.name for field in fields(Response))
_Row = TypeVar("_Row")


class RowJournal(Generic[_Row]):
    """One JSON line a finished batch: its key, its rows, and a checksum of both.

    A truncated last line is what a kill leaves: it is cut off and its batch is done again. A damaged line anywhere
    else means that the file was changed by something else, and is an error. Where a batch stands twice, the later line wins.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file: IO[bytes] | None = None
        self._synced = 0.0

    def _packed(self, row: _Row) -> Any:
        """A row as JSON holds it."""
        raise NotImplementedError

    def _unpacked(self, stored: Any) -> _Row:
        """A row as it was."""
        raise NotImplementedError

    def read(self) -> dict[str, list[_Row]]:
        """Finished batches by key. Cuts a truncated last line off the file."""
        if not self.path.exists():
            return {}
        done: dict[str, list[_Row]] = {}
        keep = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    body = json.dumps(entry["rows"], ensure_ascii=True, separators=(",", ":"))
                    if xxh64_hexdigest((entry["key"] + body).encode()) != entry["sum"]:
                        raise ValueError("its checksum does not match")
                    done[entry["key"]] = [self._unpacked(row) for row in entry["rows"]]
                except (ValueError, KeyError, TypeError) as error:
                    raise BadInput(
                        f"The journal line is damaged ({error}).",
                        file=self.path,
                        row=number,
                        do="Restore the file, or start a new run in another folder.",
                    ) from error
                keep += len(line)
        if keep < self.path.stat().st_size:
            with self.path.open("r+b") as tail:
                tail.truncate(keep)
        return done

    def append(self, key: str, batch: Sequence[_Row]) -> None:
        """Write one batch as one line; it reaches the disk at the latest a second later, or at close."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        body = json.dumps([self._packed(row) for row in batch], ensure_ascii=True, separators=(",", ":"))
        head = json.dumps({"key": key, "sum": xxh64_hexdigest((key + body).encode())})[:-1]
        self._file.write(f'{head}, "rows": {body}}}\n'.encode("ascii"))
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        """Bring everything to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


class Journal(RowJournal[Response]):
    """The journal of responses."""

    def _packed(self, row: Response) -> Any:
        row = redact_row(row)
        return {name: getattr(row, name) for name in _FIELDS}

    def _unpacked(self, stored: Any) -> Response:
        return Response(**stored)


class ScoreJournal(RowJournal[LogProb]):
    """The journal of scores: each row as a list, in the order of the record's fields."""

    def _packed(self, row: LogProb) -> Any:
        return [row.span, row.total, row.tokens, row.values, row.offsets, row.context_tokens, redact(row.error)]

    def _unpacked(self, stored: Any) -> LogProb:
        span, total, tokens, values, offsets, context_tokens, error = stored
        return LogProb(span, total, tuple(tokens), tuple(values), tuple(map(tuple, offsets)), context_tokens, error)
