"""Writing rows of a table as they were read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import IO, Any


class RowWriter:
    """Writes rows of a csv, tsv, jsonl, ndjson or parquet file; use as a context manager.

    ``header`` is the csv header or the Arrow schema of the input.
    """

    def __init__(self, kind: str, path: Path, header: Any) -> None:
        self.kind = kind
        self.file: IO[Any] | None = None
        self.waiting: tuple[Any, list[int]] = (None, [])
        if kind == ".parquet":
            import pyarrow.parquet as pq

            self.out: Any = pq.ParquetWriter(path, header, compression="zstd")
        elif kind in (".jsonl", ".ndjson"):
            self.file = self.out = path.open("wb")
        else:
            self.file = path.open("w", encoding="utf-8", newline="")
            delimiter = "\t" if kind == ".tsv" else ","
            self.out = csv.writer(self.file, delimiter=delimiter, lineterminator="\n")
            # the writer leaves a lone carriage return unquoted, and a reader would end the row there
            self.quoted = csv.writer(self.file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
            self.add(header)

    def add(self, raw: Any) -> None:
        """Write one row: cells, a line of bytes, or a batch of Arrow and a place in it."""
        if self.kind == ".parquet":
            batch, place = raw
            if batch is not self.waiting[0]:
                self._flush()
                self.waiting = (batch, [])
            self.waiting[1].append(place)
        elif self.kind in (".jsonl", ".ndjson"):
            self.out.write(raw if raw.endswith(b"\n") else raw + b"\n")
        else:
            (self.quoted if any("\r" in cell for cell in raw) else self.out).writerow(raw)

    def _flush(self) -> None:
        batch, places = self.waiting
        if places:
            self.out.write_batch(batch.take(places))

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
        else:
            self._flush()
            self.out.close()
