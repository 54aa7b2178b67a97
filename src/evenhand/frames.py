"""Frames of the caller's own library (polars, pandas or pyarrow): which one it is, and tables handed back in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import narwhals as nw
import polars as pl

from evenhand.errors import BadInput, installed

Library = Literal["polars", "pandas", "pyarrow"]


def library_of(*sources: Any) -> Library:
    """The library of the first frame among ``sources``; polars if there is none (paths and None are no frames)."""
    for source in sources:
        if source is None or isinstance(source, str | Path):
            continue
        implementation = _eager(source, "the frame").implementation
        if implementation.is_pandas_like():
            return "pandas"
        return "pyarrow" if implementation.is_pyarrow() else "polars"
    return "polars"


def checked_library(name: str) -> Library:
    """``name``, if frames can be returned in that library.

    Raises BadInput for an unknown library, and for one that is not installed.
    """
    if name not in get_args(Library):
        raise BadInput(f"Frames cannot be returned as '{name}'.", do=f"Choose one of {', '.join(get_args(Library))}.")
    if not installed(name):
        raise BadInput(f"Frames as {name} need {name}, which is not installed.", do=f"Run: pip install {name}")
    return name  # type: ignore[return-value]  # one of get_args(Library)


def in_library(frame: pl.DataFrame, library: Library) -> Any:
    """The frame as a polars DataFrame, pandas DataFrame or pyarrow Table."""
    if library == "polars":
        return frame
    checked_library(library)
    return frame.to_pandas() if library == "pandas" else frame.to_arrow()


def polars_frame(frame: Any, what: str) -> pl.DataFrame:
    """Any eager frame as a polars DataFrame. Raises BadInput, naming ``what``, for anything else."""
    try:
        return _eager(frame, what).to_polars()
    except BadInput:
        raise
    except Exception as error:  # whatever the frame library raises on mixed or duplicate columns
        raise BadInput(f"It cannot be read as a table: {error}", file=what) from error


def _eager(frame: Any, what: str) -> nw.DataFrame[Any]:
    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError:
        named = what.removeprefix("the frame ")
        raise BadInput(
            f"{named} is a {type(frame).__name__}.", do="Give a path, or a polars, pandas or Arrow frame."
        ) from None
