"""Read the rows of a file one at a time, and write some of them back unchanged.

The files and rules are those of ``datasets.table``, which holds a whole table in memory: every cell is text, the word ``None`` is a
word, and row numbers are data rows counted from 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest, xxh3_128

from evenhand.datasets.table import LONGEST_CELL, NUL, SAVE_AS_TEXT, SUFFIXES, Table, cell_text, csv_header, resolve
from evenhand.errors import BadInput
from evenhand.text_input import parse_json

_TEXT_NAMES = ("prompt", "query", "question", "instruction", "context")
_BATCH = 8192


class Row(NamedTuple):
    """One data row: its number from 1, its id (the number where no column is the id), its text, a hash of the rest."""

    number: int
    id: str
    text: str
    rest: int


class RowFile:
    """A csv, tsv, jsonl, ndjson or parquet file that is read row by row, as often as needed.

    ``columns`` maps ``text`` and ``id`` to columns; without it they are found by name. Raises BadInput for an unknown
    suffix, a file that cannot be read or is empty, and a column that is not there.
    """

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.kind = path.suffix.lower()
        if self.kind not in SUFFIXES:
            raise BadInput(f"Unsupported file type '{self.kind}'.", file=path, do=f"Known: {', '.join(SUFFIXES)}.")
        try:
            stat = path.stat()
        except OSError as error:
            raise BadInput(f"The file cannot be read: {error.strerror}.", file=path) from error
        self.bytes, self._changed = stat.st_size, stat.st_mtime_ns
        self._header: Any = None
        names = self._names()
        import polars as pl

        table = Table(pl.DataFrame(schema=dict.fromkeys(names, pl.String)), str(path))
        roles = resolve(
            table, columns, required=("text",), optional=("id",), aliases={"text": _TEXT_NAMES, "id": ("item_id",)}
        )
        self.text_column, self.id_column = roles["text"], roles.get("id")

    def checksum(self) -> str:
        """``xxh128:...`` of the file."""
        digest = xxh3_128()
        with self.path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        return f"xxh128:{digest.hexdigest()}"

    def rows(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Row]:
        """All rows in file order; ``progress(done, all)``, in bytes or in rows of parquet, is called now and then.

        Raises BadInput, with the row, for broken rows, for text that is not UTF-8, and where the text is missing.
        """
        number = 0
        text_column, id_column = self.text_column, self.id_column
        roles = 1 if id_column is None else 2
        for number, cells, _ in self._records(progress):
            text = cells.get(text_column)
            if text is None:
                raise BadInput(
                    f"The column '{text_column}' is missing in this row.",
                    file=self.path,
                    row=number,
                    do="Write an empty text if there is none.",
                )
            name = cells.get(id_column) if id_column else None
            rest = 0
            if len(cells) > roles:
                others = [cell or "" for column, cell in cells.items() if column not in (text_column, id_column)]
                rest = xxh3_64_intdigest("\x1f".join(others).encode())
            yield Row(number, str(number) if name is None else name, text, rest)
        if number == 0:
            raise BadInput("The file has no rows.", file=self.path)

    def write_rows(self, wanted: NDArray[Any], target: Path, seen: Callable[[int, str], None]) -> None:
        """Copy the rows whose entry of ``wanted`` (n,) is true, as they are; ``seen(number, id)`` is called for every row.

        Raises BadInput if the file has changed since it was opened.
        """
        stat = self.path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (self.bytes, self._changed):
            raise BadInput("The file changed while it was read.", file=self.path, do="Run the command again.")
        unfinished = target.with_name(f".{target.name}.tmp")
        try:
            with RowWriter(self.kind, unfinished, self._header) as writer:
                for number, cells, raw in self._records(None):
                    name = cells.get(self.id_column) if self.id_column else None
                    seen(number, str(number) if name is None else name)
                    if wanted[number - 1]:
                        writer.add(raw)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        if self.kind == ".parquet":
            with _parquet(self.path) as file:
                self._header = file.schema_arrow
                return list(self._header.names)
        if self.kind in (".jsonl", ".ndjson"):
            first = next(self._records(None), None)
            if first is None:
                raise BadInput("The file is empty.", file=self.path)
            return list(first[1])
        with self._csv(None) as (reader, _):
            self._header = next(filter(None, reader), None)
        if self._header is None:
            raise BadInput("The file is empty.", file=self.path)
        return self._csv_names()

    def _csv_names(self) -> list[str]:
        return csv_header(self._header, self.path, self._delimiter)

    @property
    def _delimiter(self) -> str:
        return "\t" if self.kind == ".tsv" else ","

    def _records(self, progress: Callable[[int, int], None] | None) -> Iterator[tuple[int, dict[str, str | None], Any]]:
        """Number, cells, and the row exactly as it is in the file."""
        if self.kind == ".parquet":
            return self._parquet_records(progress)
        if self.kind in (".jsonl", ".ndjson"):
            return self._json_records(progress)
        return self._csv_records(progress)

    @contextmanager
    def _csv(self, progress: Callable[[int, int], None] | None) -> Iterator[tuple[Any, list[int]]]:
        """A reader of rows, and a place where its user counts them; errors of the file become BadInput."""
        limit = csv.field_size_limit(LONGEST_CELL)
        count = [0]
        try:
            with self.path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
                lines = _reporting(file, lambda: progress(raw.tell(), self.bytes) if progress else None)
                yield csv.reader(lines, delimiter=self._delimiter, strict=True), count
        except csv.Error as error:
            raise BadInput(f"The quoting of this row is broken: {error}.", file=self.path, row=count[0] + 1) from error
        except UnicodeDecodeError as error:
            raise self._not_utf8(error, count[0]) from error
        except OSError as error:
            raise BadInput(f"The file cannot be read: {error.strerror}.", file=self.path) from error
        finally:
            csv.field_size_limit(limit)

    def _csv_records(
        self, progress: Callable[[int, int], None] | None
    ) -> Iterator[tuple[int, dict[str, str | None], Any]]:
        names = self._csv_names()
        with self._csv(progress) as (reader, count):
            next(filter(None, reader))
            for row in reader:
                if not row:
                    continue  # a blank line
                count[0] += 1
                if len(row) != len(names):
                    raise BadInput(
                        f"The row has {len(row)} cells, the header {len(names)}.",
                        file=self.path,
                        row=count[0],
                        do="Quote cells that hold commas or line breaks.",
                    )
                if any("\0" in cell for cell in row):
                    raise BadInput(NUL, file=self.path, row=count[0], do=SAVE_AS_TEXT)
                yield count[0], dict(zip(names, row, strict=True)), row

    def _json_records(
        self, progress: Callable[[int, int], None] | None
    ) -> Iterator[tuple[int, dict[str, str | None], Any]]:
        number = 0
        with self.path.open("rb") as file:
            for line in _reporting(file, lambda: progress(file.tell(), self.bytes) if progress else None):
                if not line.strip():
                    continue
                number += 1
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise self._not_utf8(error, number - 1) from error
                row = parse_json(text, file=self.path, row=number, what="The line")
                if not isinstance(row, dict):
                    raise BadInput(
                        "The line is not a JSON object.", file=self.path, row=number, do="Write one object per line."
                    )
                yield number, {name: cell_text(value) for name, value in row.items()}, line

    def _parquet_records(
        self, progress: Callable[[int, int], None] | None
    ) -> Iterator[tuple[int, dict[str, str | None], Any]]:
        number = 0
        with _parquet(self.path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for place, row in enumerate(batch.to_pylist()):
                    number += 1
                    yield number, self._cells(row, number), (batch, place)
                if progress:
                    progress(number, file.metadata.num_rows)

    def _cells(self, row: Mapping[str, Any], number: int) -> dict[str, str | None]:
        try:
            return {
                name: value.decode("utf-8") if isinstance(value, bytes) else cell_text(value)
                for name, value in row.items()
            }
        except (TypeError, UnicodeDecodeError) as error:
            raise BadInput(
                "A column holds binary data, which cannot be read as text.",
                file=self.path,
                row=number,
                do="Leave the column out, or write it as text.",
            ) from error

    def _not_utf8(self, error: UnicodeDecodeError, rows: int) -> BadInput:
        return BadInput(
            f"The file is not UTF-8: byte {error.object[error.start]:#04x} shortly after row {rows}.",
            file=self.path,
            do="Save it as UTF-8 and try again.",
        )


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise BadInput(f"The file is not readable Parquet: {why}.", file=path) from error


def _reporting(lines: Iterable[Any], report: Callable[[], None]) -> Iterator[Any]:
    for number, line in enumerate(lines):
        if number % 20_000 == 0:
            report()
        yield line


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
