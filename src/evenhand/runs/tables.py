"""Records to Parquet tables and back. Rows are sorted by id before they are written, so equal rows give equal bytes."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import polars as pl

from evenhand.errors import BadInput
from evenhand.files import read_json, write_atomically
from evenhand.records import Grade, Item, Message, Response
from evenhand.redact import in_force, redact_values, sought
from evenhand.runs.check import CHECKSUMS
from evenhand.safe_text import json_safe
from evenhand.seal import altered, check_table, sealed_table

_JOINED = frozenset({"config", "id", "key", "keeper", "group"})
_RESPONSE_KEY = ["config", "item_id", "repetition"]
_RESPONSE_SCHEMA: dict[str, Any] = {
    "config": pl.String,
    "item_id": pl.String,
    "repetition": pl.Int32,
    "text": pl.String,
    "finish_reason": pl.String,
    "reasoning": pl.String,
    "provider_refusal": pl.String,
    "prompt_tokens": pl.Int32,
    "completion_tokens": pl.Int32,
    "error": pl.String,
}
GRADE_SCHEMA: dict[str, Any] = {
    "config": pl.String,
    "item_id": pl.String,
    "repetition": pl.Int32,
    "grader": pl.String,
    "label": pl.String,
    "evidence": pl.String,
    "source": pl.String,
    "missing": pl.String,
    "hedged": pl.Boolean,
    "truncated": pl.Boolean,
    "echo_stripped": pl.Boolean,
}


def _safe(values: Iterable[Any]) -> list[Any]:
    """Values that Arrow can hold: a lone surrogate becomes U+FFFD."""
    return [json_safe(value) if isinstance(value, str) and not value.isascii() else value for value in values]


def _frame(rows: Sequence[Any], schema: dict[str, Any]) -> pl.DataFrame:
    """A frame of records, column by column."""
    read = {column: attrgetter(column) for column in schema}
    return pl.DataFrame({column: _safe(map(read[column], rows)) for column in schema}, schema=schema)


def items_frame(items: Iterable[Item]) -> pl.DataFrame:
    """One row an item, sorted by id; clusters and attributes become columns, the chat a JSON text."""
    item_list = sorted(items, key=lambda item: item.id)
    clusters = sorted({key for item in item_list for key in item.clusters})
    attributes = sorted({key for item in item_list for key in item.attributes} - set(clusters))
    columns: dict[str, list[Any]] = {
        "item_id": [item.id for item in item_list],
        "audit": [item.audit for item in item_list],
        "group": [item.group for item in item_list],
        "stratum": [item.stratum for item in item_list],
        "chat": [json.dumps([[m.role, m.content] for m in item.chat], ensure_ascii=False) for item in item_list],
        **{f"cluster.{key}": [item.clusters.get(key) for item in item_list] for key in clusters},
        **{f"attribute.{key}": [item.attributes.get(key) for item in item_list] for key in attributes},
    }
    return pl.DataFrame(
        {name: _safe(values) for name, values in columns.items()}, schema=dict.fromkeys(columns, pl.String)
    )


def items_from(frame: pl.DataFrame) -> list[Item]:
    """The inverse of ``items_frame``."""

    def part(row: dict[str, Any], prefix: str) -> dict[str, str]:
        return {key.removeprefix(prefix): row[key] for key in row if key.startswith(prefix) and row[key] is not None}

    return [
        Item(
            id=row["item_id"],
            audit=row["audit"],
            chat=tuple(Message(role, content) for role, content in json.loads(row["chat"])),
            group=row["group"],
            stratum=row["stratum"],
            clusters=part(row, "cluster."),
            attributes=part(row, "attribute."),
        )
        for row in frame.iter_rows(named=True)
    ]


def responses_frame(responses: Sequence[Response]) -> pl.DataFrame:
    """One row a response, sorted by config, item and repetition."""
    return _frame(responses, _RESPONSE_SCHEMA).sort(_RESPONSE_KEY)


def responses_from(frame: pl.DataFrame) -> list[Response]:
    """The inverse of ``responses_frame``."""
    return [Response(**row) for row in frame.select(list(_RESPONSE_SCHEMA)).iter_rows(named=True)]


def grades_frame(grades: Sequence[Grade]) -> pl.DataFrame:
    """One row a grade, sorted by grader, config, item and repetition."""
    return _frame(grades, GRADE_SCHEMA).sort(["grader", *_RESPONSE_KEY])


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write Parquet atomically, without secrets, with its checksum; equal frames and library versions give equal bytes."""
    buffer = io.BytesIO()
    _redacted(frame).write_parquet(buffer, compression="zstd", statistics=True)
    write_atomically(path, sealed_table(buffer.getvalue(), path))


def _redacted(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without secrets in its texts; columns that rows are joined by are left as they are."""
    if not in_force():
        return frame
    for name, kind in frame.schema.items():
        if name in _JOINED or name.endswith("_id"):
            continue
        column = frame[name]
        if column.str.contains_any(sought()).any() if kind == pl.String else "String" in str(kind):
            frame = frame.with_columns(pl.Series(name, redact_values(column.to_list()), dtype=kind))
    return frame


def read_table(path: Path) -> pl.DataFrame:
    """Read a table that `write_table` wrote.

    Raises BadInput, naming the file, where it is missing or unreadable, where its checksum does not match, and where it has none
    although its run writes them. A table of an older run has none, and is read unchecked.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput("The table is not there.", file=path, do="Finish the run with --resume.") from None
    except OSError as error:
        raise BadInput(f"The table cannot be read ({error.strerror}).", file=path) from None
    if check_table(data, path):
        return pl.read_parquet(io.BytesIO(data))
    if _run_has_checksums(path):
        raise altered(path)
    return _unchecked(data, path)


def _run_has_checksums(path: Path) -> bool:
    """Whether the run folder around a table says that its tables carry checksums."""
    for folder in list(path.parents)[:4]:
        manifest = folder / "manifest.json"
        if manifest.exists():
            content = read_json(manifest)
            return isinstance(content, dict) and CHECKSUMS in content
    return False


def _unchecked(data: bytes, path: Path) -> pl.DataFrame:
    """Parse Parquet that may be damaged: the parser then raises or panics, and writes to standard error as it does."""
    try:
        with _silent_stderr():
            return pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, OverflowError) as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BadInput(f"The table cannot be read ({why}).", file=path, do="Restore it from a copy.") from None


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send what native code writes to standard error nowhere."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
