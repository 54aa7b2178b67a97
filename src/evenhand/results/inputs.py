"""Frames that a run is made from, written into its folder so that it can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from evenhand.errors import BadInput
from evenhand.frames import polars_frame
from evenhand.runs.tables import read_table, write_table

INPUTS = "inputs"
"""Folder of a run that holds the frames it was made from."""


def input_file(frame: Any, folder: Path, kind: str, outcome: str | None) -> Path:
    """Write a frame into the run folder as its input and return the path; an equal file is left as it is.

    A yes/no outcome of labels (True or 1: declined) becomes the words ``refusal`` and ``answer``. Raises BadInput if ``frame``
    is not a frame, and if the folder holds an input that differs.
    """
    rows = polars_frame(frame, f"the frame '{kind}'")
    if kind == "labels" and outcome is not None and outcome in rows.columns:
        # Missing values of every kind (None, NaN, NA) are None here, or a NaN, which differs from itself.
        values = [None if value is None or value != value else value for value in rows[outcome].to_list()]
        if {value for value in values if value is not None} <= {0, 1}:
            words = [None if value is None else "refusal" if value else "answer" for value in values]
            rows = rows.with_columns(pl.Series(outcome, words, dtype=pl.String))
    path = folder / INPUTS / f"{kind}.parquet"
    if not path.exists():
        write_table(path, rows)
    elif not read_table(path).equals(rows):
        raise BadInput(
            f"The frame '{kind}' differs from the one that this run was started with.",
            file=path,
            do="Pass the same frame, or choose another out=.",
        )
    return path
