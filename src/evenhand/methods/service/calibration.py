"""The sample of a run that people label, so that the grader's error becomes known."""

from __future__ import annotations

from pathlib import Path

from evenhand.errors import BadInput
from evenhand.methods.service.entry import UNSAFE
from evenhand.records import Grade
from evenhand.runs.load import load
from evenhand.runs.tables import items_from, responses_from


def write_sample(run: Path, audit: str, out: Path, size: int, seed: int) -> int:
    """Write up to ``size`` responses of a run as CSV with an empty label column, balanced over group and predicted class.

    Returns the number of rows. Raises BadInput where the run has no responses to label.
    """
    import polars as pl

    from evenhand.graders.calibration import calibration_sample, write_calibration_csv

    loaded = load(run, audit)
    if not out.parent.is_dir():
        raise BadInput("The folder of the file to write is not there.", file=out)
    if loaded.manifest["state"] != "done":
        raise BadInput("The run is not finished.", file=run, do="Finish it with --resume.")
    if loaded.responses is None:
        raise BadInput("The run began at labels: it holds no responses to label.", file=run)
    first = loaded.grades.filter(pl.col("grader") == loaded.result["facts"]["grader"])
    items = {item.id: item for item in items_from(loaded.items)}
    # Labels of the unsafe set say nothing about the rates of the harmless prompts, which they are to correct.
    grades = [
        grade
        for grade in (Grade(**row) for row in first.iter_rows(named=True))
        if items[grade.item_id].stratum != UNSAFE
    ]
    sample = calibration_sample(grades, items, size, seed)
    return write_calibration_csv(out, sample, items, responses_from(loaded.responses))
