"""Reading Parquet that may be damaged: one sentence, without the native reader's own messages on the screen."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evenhand.errors import BadInput

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_parquet"]

_MAGIC = b"PAR1"
_FETCH = "Fetch or write it again."


def read_parquet(data: bytes, file: str | Path) -> pl.DataFrame:
    """The table of a Parquet file's bytes.

    Raises BadInput where the bytes are not Parquet, are cut short or damaged, or hold no column.
    """
    if not data.startswith(_MAGIC) or not data.endswith(_MAGIC) or len(data) < 12:
        cut = data.startswith(_MAGIC)
        raise BadInput(
            "The Parquet file is cut short: its end is missing."
            if cut
            else "The file is not Parquet: it does not begin with PAR1.",
            file=file,
            do=_FETCH,
        )
    import polars as pl

    why = ""
    with _native_messages() as forget:
        try:
            _check_metadata(data)
            frame = pl.read_parquet(io.BytesIO(data))
        except Exception as error:  # polars, pyarrow and the codecs raise many kinds for damaged bytes
            forget()
            why = _first_line(error)
        except BaseException as error:
            if not isinstance(error, pl.exceptions.PanicException):
                raise
            forget()
            why = _first_line(error)
    if why:
        raise BadInput(f"The file is not readable Parquet: {why}.", file=file, do=_FETCH)
    if frame.width == 0:
        raise BadInput("The table has no columns.", file=file)
    return frame


def _check_metadata(data: bytes) -> None:
    """ValueError where the footer promises more than the file can hold (a reader would take the memory first)."""
    import pyarrow.parquet as pq

    found = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [found.row_group(at) for at in range(found.num_row_groups)]
    if sum(group.num_rows for group in groups) != found.num_rows or any(group.num_rows < 0 for group in groups):
        raise ValueError("its row counts disagree")
    for group in groups:
        for at in range(group.num_columns):
            column = group.column(at)
            if not 0 <= column.total_compressed_size <= len(data):
                raise ValueError("a column is longer than the file")
            if column.num_values < 0 or not 0 <= column.total_uncompressed_size <= max(1 << 20, 2000 * len(data)):
                raise ValueError("the size of a column is not plausible")


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
    told = True

    def forget() -> None:
        nonlocal told
        told = False

    try:
        os.dup2(held.fileno(), 2)
        try:
            yield forget
        finally:
            os.dup2(kept, 2)
            if told:
                held.seek(0)
                if text := held.read():
                    os.write(2, text)
    finally:
        os.close(kept)
        held.close()
