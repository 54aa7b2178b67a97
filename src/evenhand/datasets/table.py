"""Local tables: csv, tsv, jsonl and parquet files, or polars, pandas and Arrow frames, as columns of strings.

Every cell is kept as text: an identifier such as ``007`` stays as it is, and the word ``None`` is a word. Only a null
of a typed source (JSON, Parquet, a frame) is missing. Row numbers in errors are data rows, counted from 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.datasets.cells import LONGEST_CELL, NUL, SAVE_AS_TEXT, cell_text, csv_header, rows_begun, text_columns
from evenhand.errors import BadInput
from evenhand.parquet_input import read_parquet
from evenhand.text_input import decoded, parse_json

if TYPE_CHECKING:
    import polars as pl


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
