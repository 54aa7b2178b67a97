"""Cells and headers of tables: what every reader of rows makes text of, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput
from evenhand.parquet_input import native_errors
from evenhand.safe_text import surrogate_free

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
