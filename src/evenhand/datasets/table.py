"""Local tables: csv, tsv, jsonl and parquet files, or polars, pandas and Arrow frames, as columns of strings.

Every cell is kept as text: an identifier such as ``007`` stays as it is, and the word ``None`` is a word. Only a null
of a typed source (JSON, Parquet, a frame) is missing. Row numbers in errors are data rows, counted from 1.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput
from evenhand.parquet_input import native_errors, read_parquet
from evenhand.safe_text import surrogate_free
from evenhand.text_input import decoded, parse_json

if TYPE_CHECKING:
    import polars as pl

LONGEST_CELL = 2**31 - 1  # responses of a megabyte are cells too; a C long on every system
NUL = "The row holds a NUL character: the file is not text, or not UTF-8."
SAVE_AS_TEXT = "Save it as UTF-8 text and try again."
_OTHERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def csv_header(row: Sequence[str], file: str | Path, delimiter: str) -> list[str]:
    """The column names of a header row, white space at their ends removed; a first name "" becomes ``index``.

    Raises BadInput for a header that is separated by another character, for an empty and for a repeated name.
    """
    if any("\0" in name for name in row):
        raise BadInput(NUL.replace("row", "header"), file=file, do=SAVE_AS_TEXT)
    for other, name in _OTHERS.items():
        if len(row) == 1 and other in row[0] and other != delimiter:
            wanted = "tabs" if delimiter == "\t" else "commas"
            raise BadInput(
                f"The columns of the header are separated by {name} ({other!r}), not by {wanted}.",
                file=file,
                do=f"Save the file with {wanted} between the columns"
                + (", or name it .tsv." if other == "\t" else "."),
            )
    names = [name.strip() for name in row]
    if names[:1] == [""]:  # the row numbers that a data frame was saved with
        names[0] = "index"
    _check_names(names, file)
    return names


def _check_names(names: Sequence[str], file: str | Path) -> None:
    if "" in names:
        raise BadInput(f"Column {list(names).index('') + 1} of the header has no name.", file=file)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise BadInput(f"The header names these columns more than once: {', '.join(twice)}.", file=file)


def rows_begun(text: str, delimiter: str) -> int:
    """Data rows that have begun at the end of ``text``, the beginning of a CSV file: 1 in the first, 0 in the header."""
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        rows = sum(1 for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row)
    except csv.Error:
        rows = text.count("\n") + 1
    finally:
        csv.field_size_limit(limit)
    return max(rows - 1 + text.endswith(("\n", "\r")), 0)


def text_columns(frame: pl.DataFrame, file: str | Path) -> pl.DataFrame:
    """The frame with every column as text, nulls kept; nested values become JSON, durations are written in ISO 8601.

    Raises BadInput for a frame without rows or columns, for columns without a name or with values that have no text form
    (binary data that is not UTF-8, Python objects).
    """
    import polars as pl

    if frame.width == 0 or frame.height == 0:
        raise BadInput("The table has no rows.", file=file)
    _check_names(frame.columns, file)
    if all(kind == pl.String for kind in frame.schema.values()):
        return frame
    with native_errors("A column cannot be read as text", file):
        return pl.DataFrame([_text_column(frame.get_column(name), file) for name in frame.columns])


def _text_column(column: pl.Series, file: str | Path) -> pl.Series:
    import polars as pl

    kind, name = column.dtype, column.name
    if kind == pl.String:
        return column
    if kind == pl.Duration:
        return column.dt.to_string("iso")
    if kind == pl.Binary:
        return pl.Series(name, [_bytes_text(v, name, file, at) for at, v in enumerate(column, 1)], dtype=pl.String)
    if kind == pl.Object:
        raise _no_text(name, "Python objects", file, 1)
    if kind.is_temporal():
        _check_years(column, file)
    try:
        if kind.is_numeric() or kind.is_temporal() or kind in (pl.Boolean, pl.Categorical, pl.Enum):
            return column.cast(pl.String)
        values = column.to_list()
    except (pl.exceptions.PolarsError, ValueError, OverflowError) as error:  # dates that Python cannot hold
        raise _no_text(name, f"values of the type {kind}", file, 1) from error
    cells = []
    for number, value in enumerate(values, start=1):
        try:
            cells.append(cell_text(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise _no_text(name, f"values of the type {kind}", file, number) from error
    return pl.Series(name, cells, dtype=pl.String)


def _check_years(column: pl.Series, file: str | Path) -> None:
    """Refuse dates outside the years 1 to 9999 and times outside a day, which have no text form."""
    import polars as pl

    kind = column.dtype
    if kind == pl.Date:
        low, high = -719_162, 2_932_896
    elif kind == pl.Time:
        low, high = 0, 86_400 * 10**9 - 1
    else:
        scale = {"ms": 10**3, "us": 10**6, "ns": 10**9}[getattr(kind, "time_unit", "us")]
        low, high = -62_135_596_800 * scale, 253_402_300_800 * scale - 1
    for row, value in enumerate(column.to_physical(), start=1):
        if value is not None and not low <= value <= high:
            raise _no_text(column.name, "a time outside the years 1 to 9999", file, row)


def _bytes_text(value: bytes | None, name: str, file: str | Path, row: int) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        raise _no_text(name, "binary data that is not UTF-8 text", file, row) from None


def _no_text(name: str, what: str, file: str | Path, row: int) -> BadInput:
    return BadInput(
        f"The column '{name}' holds {what}, which cannot be read as text.",
        file=file,
        row=row,
        do="Leave the column out, or write it as text.",
    )


def cell_text(value: Any) -> str | None:
    """A cell as text; a nested value as JSON. Raises TypeError where a nested value is binary."""
    if value is None:
        return None
    if isinstance(value, str):
        return surrogate_free(value)
    if isinstance(value, (bool, dict, list)):
        return surrogate_free(json.dumps(value, ensure_ascii=False, default=_plain))
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("binary data")
    return str(value)


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

    def error(self, message: str, row: int | None = None, *, do: str | None = None) -> BadInput:
        """The error for what is wrong with the table or, counted from 1, with one of its rows."""
        return BadInput(message, file=self.origin, row=row, do=do)

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
    return Table(text_columns(polars_frame, "the frame"), "the frame")


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
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise BadInput(f"The file cannot be read: {getattr(error, 'strerror', None) or error}.", file=path) from error
    if not data.strip():
        raise BadInput("The file is empty.", file=path)
    from xxhash import xxh3_128_hexdigest

    checksum = f"xxh128:{xxh3_128_hexdigest(data)}"
    if suffix == ".parquet":
        return Table(text_columns(read_parquet(data, path), path), str(path), checksum)
    if suffix in (".jsonl", ".ndjson"):
        text = decoded(data, path, lambda before: sum(1 for line in before.split("\n")[:-1] if line.strip()) + 1)
        return Table(_read_jsonl(text, path), str(path), checksum)
    delimiter = "\t" if suffix == ".tsv" else ","
    text = decoded(data, path, lambda before: rows_begun(before, delimiter))
    return Table(_read_csv(text, path, delimiter), str(path), checksum)


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
            raise table.error(f"There is no role '{role}' to map.", do=f"Known roles: {', '.join(roles)}.")
        if column not in columns:
            raise table.error(f"There is no column '{column}' for {role}.", do=f"Found: {', '.join(columns)}.")
    for role in roles:
        if role in mapping or (role in unused and role not in required):
            continue
        names = (role, *(aliases or {}).get(role, ()))
        found = next((column for column in names if column in columns), None)
        if found is not None:
            mapping[role] = found
        elif role in required:
            raise table.error(
                f"There is no column '{role}'.",
                do=f"Found: {', '.join(columns)}. Name the right one with --map {role}=COLUMN.",
            )
    return mapping


def holds_pairs(path: str | Path, mapping: Mapping[str, str]) -> bool:
    """Whether a file is a table of pairs (columns ``harmful`` and ``comparison``), not of prompts.

    ``mapping`` is role -> column as the user gave it. Raises BadInput for files that cannot be read (see ``read_table``).
    """
    return {"harmful", "comparison"} <= {*read_table(path).frame.columns, *mapping}


def attribute_name(column: str) -> str:
    """What a column that plays no role is called: one named like a randomised unit must not be taken for it."""
    return f"attribute.{column}" if column in ("name", "stem") else column


def _read_csv(text: str, path: Path, delimiter: str) -> pl.DataFrame:
    import polars as pl

    limit = csv.field_size_limit(LONGEST_CELL)
    rows: list[list[str]] = []
    header: list[str] | None = None
    nul = "\0" in text
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if header is None:
                if not row:
                    continue  # a blank line before the header
                header = csv_header(row, path, delimiter)
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
                if nul and any("\0" in cell for cell in row):
                    raise BadInput(NUL, file=path, row=len(rows) + 1, do=SAVE_AS_TEXT)
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


def _read_jsonl(text: str, path: Path) -> pl.DataFrame:
    import polars as pl

    rows: list[dict[str, Any]] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        number = len(rows) + 1
        row = parse_json(line, file=path, row=number, what="The line")
        if not isinstance(row, dict):
            raise BadInput("The line is not a JSON object.", file=path, row=number, do="Write one object per line.")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise BadInput("No line of the file names a column.", file=path, do="Write one object per line.")
    return pl.DataFrame(
        {name: [cell_text(row.get(name)) for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String)
    )


_MOST = 2**31 - 1  # what the tables of a run can hold


def whole_number(text: str, what: str, *, file: str | Path, row: int, column: str = "") -> int:
    """A cell as a whole number from 0 to 2,147,483,647. Raises BadInput with file and row for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (number.is_integer() and 0 <= number <= _MOST):
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        where = f" in column '{column}'" if column else ""
        raise BadInput(f"{what} '{shown}'{where} is not a whole number from 0 to {_MOST:,}.", file=file, row=row)
    return int(number)
