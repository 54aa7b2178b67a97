"""Reading Parquet that may be damaged: one sentence, without the native reader's own messages on the screen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput

if TYPE_CHECKING:
    import polars as pl


_MAGIC = b"PAR1"
_FETCH = "Fetch or write it again."


def read_parquet(data: bytes, file: str | Path) -> pl.DataFrame:
    """The table of a Parquet file's bytes.

    Raises BadInput where the bytes are not Parquet, are cut short or damaged, or hold no column.
    """
    if not data.startswith(_MAGIC) or not data.endswith(_MAGIC) or len(data) < 12:
        cut = data.startswith(_MAGIC)
        raise BadInput(
            "The file is not readable Parquet: it is cut short."
            if cut
            else "The file is not readable Parquet: it does not begin with PAR1.",
            file=file,
            do=_FETCH,
        )
    with native_errors("The file is not readable Parquet", file):
        return _frame(data)


@contextmanager
def native_errors(what: str, file: str | Path) -> Iterator[None]:
    """Whatever native code raises within the block, panics too, as a BadInput that begins with ``what``."""
    import polars as pl

    with _native_messages() as forget:
        try:
            yield
        except BadInput:
            raise
        except Exception as error:  # polars, pyarrow and the codecs raise many kinds for damaged bytes
            forget()
            raise BadInput(f"{what}: {_first_line(error)}.", file=file, do=_FETCH) from None
        except BaseException as error:
            if not isinstance(error, pl.exceptions.PanicException):
                raise
            forget()
            raise BadInput(f"{what}: {_first_line(error)}.", file=file, do=_FETCH) from None


def _frame(data: bytes) -> pl.DataFrame:
    """The table, read by pyarrow: the reader of polars ends the process where a damaged page asks for too much memory."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as opened:
        _check_metadata(opened.metadata, len(data))
        table = opened.read(use_threads=False)
    table.validate(full=True)
    if not table.column_names:
        raise ValueError("it has no columns")
    if len(set(table.column_names)) < len(table.column_names):
        twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        raise ValueError(f"it names these columns more than once: {', '.join(twice)}")
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found


def _check_metadata(found: Any, size: int) -> None:
    """ValueError where the footer promises more than the file can hold (a reader would take the memory first).

    The footer's entries for columns are not touched: pyarrow ends the process where one of them is damaged, while reading the
    table raises.
    """
    groups = [found.row_group(at) for at in range(found.num_row_groups)]
    if sum(group.num_rows for group in groups) != found.num_rows or any(group.num_rows < 0 for group in groups):
        raise ValueError("its row counts disagree")
    if not all(0 <= group.total_byte_size <= max(1 << 20, 2000 * size) * max(1, group.num_columns) for group in groups):
        raise ValueError("its size is not plausible")


def _first_line(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text[:200].rstrip(".")


@contextmanager
def _native_messages() -> Iterator[Callable[[], None]]:
    """Hold back what native code writes to standard error; it appears at the end unless the yielded call forgets it.

    A panic in Rust prints a backtrace before Python sees an exception.
    """
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
        kept = os.dup(2)
    except OSError:  # no room for a file, or no standard error
        yield lambda: None
        return
    read_whole = True

    def forget() -> None:
        nonlocal read_whole
        read_whole = False

    try:
        os.dup2(held.fileno(), 2)
        try:
            yield forget
        finally:
            os.dup2(kept, 2)
            if read_whole:
                held.seek(0)
                if text := held.read():
                    os.write(2, text)
    finally:
        os.close(kept)
        held.close()
