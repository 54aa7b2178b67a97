"""Local tables: csv, tsv, jsonl and parquet files, or polars, pandas and Arrow frames, as columns of strings.

Every cell is kept as text: an identifier such as ``007`` stays as it is, and the word ``None`` is a word. Only a null
of a typed source (JSON, Parquet, a frame) is missing. Row numbers in errors are data rows, counted from 1.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput
from evenhand.safe_text import surrogate_free

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SUFFIXES", "Table", "as_table", "attribute_name", "read_table", "resolve"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of strings (nulls where a typed source had none) and where they come from.

    ``origin`` is the file, or "the frame", as errors name it; ``checksum`` is ``xxh128:...`` of a file, else
    empty.
    """

    frame: pl.DataFrame
    origin: str
    checksum: str = ""

    def rows(self) -> list[dict[str, str | None]]:
        """The rows in file order; row k of an error message is entry k - 1."""
        return self.frame.to_dicts()


def as_table(source: Any) -> Table:
    """A ``Table`` of a path, a polars, pandas or Arrow frame, or a ``Table`` itself.

    Raises BadInput for files that cannot be read (see ``read_table``) and for frames that no column of text can be
    made of.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, Path)):
        return read_table(source)
    import narwhals as nw

    try:
        frame = nw.from_native(source)
        eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        polars_frame = eager.to_polars()
    except TypeError as error:
        raise BadInput(
            f"A table of type {type(source).__name__} is not known.",
            do="Give a path or a polars, pandas or Arrow frame.",
        ) from error
    except Exception as error:  # whatever the frame library raises on mixed or duplicate columns
        raise BadInput(f"It cannot be read as a table: {error}", file="the frame") from error
    return Table(_as_text(polars_frame, "the frame"), "the frame")


def read_table(path: str | Path) -> Table:
    """Read a csv, tsv, jsonl, ndjson or parquet file.

    Raises BadInput for an unknown suffix, a missing or empty file, text that is not UTF-8 (with the byte), duplicate
    or empty headers, rows with too many or too few cells, broken quotes, lines that are no JSON object, and broken
    Parquet.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput(f"Files of type '{suffix}' are not read.", file=path, do=f"Known: {', '.join(SUFFIXES)}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"The file cannot be read: {error.strerror}.", file=path) from error
    if not data.strip():
        raise BadInput("The file is empty.", file=path)
    from xxhash import xxh3_128_hexdigest

    checksum = f"xxh128:{xxh3_128_hexdigest(data)}"
    if suffix == ".parquet":
        return Table(_read_parquet(data, path), str(path), checksum)
    text = _decode(data, path)
    if suffix in (".jsonl", ".ndjson"):
        return Table(_read_jsonl(text, path), str(path), checksum)
    return Table(_read_csv(text, path, "\t" if suffix == ".tsv" else ","), str(path), checksum)


def resolve(
    table: Table,
    mapping: Mapping[str, str] | None,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Which column plays which role.

    ``mapping`` is role -> column as the user gave it; without it a role takes the column of its own name, or the
    first of its ``aliases`` that is there. Optional roles without a column are left out, and so are roles mapped to an
    empty text, whatever columns there are.
    Raises BadInput for an unknown role, a mapped column that is absent, and a required role without a column.
    """
    columns = table.frame.columns
    given = dict(mapping or {})
    unused = {role for role, column in given.items() if not column}
    mapping = {role: column for role, column in given.items() if column}
    roles = (*required, *optional)
    for role, column in mapping.items():
        if role not in roles:
            raise BadInput(
                f"There is no role '{role}' to map.", file=table.origin, do=f"Known roles: {', '.join(roles)}."
            )
        if column not in columns:
            raise BadInput(
                f"There is no column '{column}' for {role}.", file=table.origin, do=f"Found: {', '.join(columns)}."
            )
    for role in roles:
        if role in mapping or (role in unused and role not in required):
            continue
        known = (role, *(aliases or {}).get(role, ()))
        found = next((column for column in known if column in columns), None)
        if found is not None:
            mapping[role] = found
        elif role in required:
            raise BadInput(
                f"There is no column '{role}'.",
                file=table.origin,
                do=f"Found: {', '.join(columns)}. Name the right one with --map {role}=COLUMN.",
            )
    return mapping


def attribute_name(column: str) -> str:
    """What a column that plays no role is called: one named like a randomised unit must not be taken for it."""
    return f"attribute.{column}" if column in ("name", "stem") else column


def _decode(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"The file is not UTF-8: byte {data[error.start]:#04x} at position {error.start}.",
            file=path,
            do="Save it as UTF-8 and try again.",
        ) from error


def _read_csv(text: str, path: Path, delimiter: str) -> pl.DataFrame:
    import polars as pl

    limit = csv.field_size_limit(sys.maxsize)  # responses of a megabyte are cells too
    rows: list[list[str]] = []
    header: list[str] | None = None
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if header is None:
                header = [name.strip() for name in row]
                if header[:1] == [""]:  # the row numbers that a data frame was saved with
                    header[0] = "index"
                _check_header(header, path)
            elif not row:
                continue  # a blank line
            elif len(row) != len(header):
                raise BadInput(
                    f"The row has {len(row)} cells, the header {len(header)}.",
                    file=path,
                    row=len(rows) + 1,
                    do="Quote cells that hold commas or line breaks.",
                )
            else:
                rows.append(row)
    except csv.Error as error:
        raise BadInput(
            f"The quotes of this row are broken: {error}.", file=path, row=len(rows) + (header is not None)
        ) from error
    finally:
        csv.field_size_limit(limit)
    if header is None:
        raise BadInput("The file is empty.", file=path)
    if not rows:
        raise BadInput("The file has a header and no rows.", file=path)
    columns = zip(*rows, strict=True)
    return pl.DataFrame(
        {n: list(c) for n, c in zip(header, columns, strict=True)}, schema=dict.fromkeys(header, pl.String)
    )


def _check_header(header: Sequence[str], path: Path) -> None:
    if any(not name for name in header):
        raise BadInput(f"Column {list(header).index('') + 1} of the header has no name.", file=path)
    twice = sorted({name for name in header if list(header).count(name) > 1})
    if twice:
        raise BadInput(f"The header names these columns more than once: {', '.join(twice)}.", file=path)


def _read_jsonl(text: str, path: Path) -> pl.DataFrame:
    import polars as pl

    rows: list[dict[str, Any]] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        number = len(rows) + 1
        try:
            row = json.loads(line, object_pairs_hook=_no_duplicates)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"The line is not JSON: {error.msg} at character {error.pos}.", file=path, row=number
            ) from error
        except ValueError as error:
            raise BadInput(str(error), file=path, row=number) from error
        if not isinstance(row, dict):
            raise BadInput("The line is not a JSON object.", file=path, row=number, do="Write one object per line.")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(
        {surrogate_free(name): [_text(row.get(name)) for row in rows] for name in names},
        schema={surrogate_free(name): pl.String for name in names},
    )


def _no_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"The line gives '{next(k for k in keys if keys.count(k) > 1)}' more than once.")
    return dict(pairs)


def _read_parquet(data: bytes, path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"The file is not readable Parquet: {error}", file=path) from error
    return _as_text(frame, path)


def _as_text(frame: pl.DataFrame, origin: str | Path) -> pl.DataFrame:
    import polars as pl

    if frame.width == 0 or frame.height == 0:
        raise BadInput("The table has no rows.", file=origin)
    return frame.select(
        pl.col(name)
        if kind == pl.String
        else pl.col(name).cast(pl.String)
        if kind.is_numeric() or kind.is_temporal() or kind in (pl.Boolean, pl.Categorical, pl.Enum)
        else pl.Series(name, [_text(value) for value in frame[name].to_list()], dtype=pl.String)
        for name, kind in frame.schema.items()
    )


def _text(value: Any) -> str | None:
    """A cell as text; a nested value as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return surrogate_free(value)
    if isinstance(value, (bool, dict, list)):
        return surrogate_free(json.dumps(value, ensure_ascii=False, default=str))
    return str(value)
