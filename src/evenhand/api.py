"""Evenhand from Python: `audit` on models, responses or labels, and `load` for a run that exists."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

from evenhand.errors import BadInput
from evenhand.runs.load import LoadedRun, load

_CLUSTERS = ("name", "stem")


def audit(
    *models: str,
    labels: Any = None,
    responses: Any = None,
    data: Any = None,
    group: str | None = None,
    clusters: Sequence[str] | Mapping[str, str] = (),
    outcome: str | None = None,
    reference: str | None = None,
    out: str | Path | None = None,
    report: bool = True,
    **settings: Any,
) -> LoadedRun:
    """Run the audits that fit, and return the run as tidy frames.

    Parameters
    ----------
    models : engine specs, as on the command line; the organism where nothing is given.
    labels, responses, data : a path, or a polars, pandas or Arrow frame, with one row a label, response or prompt.
    group : the column of the group.
    clusters : the columns of the randomised units: ``{"name": COLUMN, "stem": COLUMN}`` or one of them, or both columns
        in this order. A unit that is left out is not looked for among the other columns.
    outcome : the column of the label (one of the six words), or of a yes/no outcome (True or 1: declined).
    reference : the group that the others are compared with.
    out : run folder; a temporary one, removed with the returned object, where it is not given.
    report : whether to write ``report.html``.
    settings : any field of `evenhand.config.AuditConfig`.

    Raises BadInput for settings, files or frames that cannot be used.
    """
    from evenhand.config import make_config
    from evenhand.runs.runner import run_audits

    units = _units(clusters)
    scratch = Path(tempfile.mkdtemp(prefix="evenhand-"))
    folder = Path(out) if out is not None else scratch / "run"
    roles = {"group": group}
    roles["prompt" if data is not None else "response" if responses is not None else "label"] = outcome
    try:
        for kind, source in {"labels": labels, "responses": responses, "data": data}.items():
            if isinstance(source, str | Path):
                settings[kind] = Path(source)
            elif source is not None:
                settings[kind] = _as_file(source, scratch / f"{kind}.parquet", kind, outcome)
        if models:
            settings["models"] = models
        if reference is not None:
            settings["reference_group"] = reference
        columns = {role: column for role, column in roles.items() if column} | units
        run_audits(make_config(**{**settings, "columns": {**settings.get("columns", {}), **columns}}), folder)
        if report:
            from evenhand.report.build import build_report

            build_report(folder)
        loaded = load(folder)
    except BadInput as error:
        rmtree(scratch, ignore_errors=True)
        if error.file is None or not Path(error.file).is_relative_to(scratch) or Path(error.file).suffix != ".parquet":
            raise
        raise BadInput(error.what, file=f"the frame '{Path(error.file).stem}'", row=error.row, do=error.do) from None
    except BaseException:
        rmtree(scratch, ignore_errors=True)
        raise
    if out is None:
        weakref.finalize(loaded, rmtree, scratch, ignore_errors=True)
    else:
        rmtree(scratch, ignore_errors=True)
    return loaded


def _units(clusters: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The column of each randomised unit; an empty text for one that was left out beside a named one."""
    if isinstance(clusters, str):
        raise BadInput(f"'{clusters}' does not say which unit it is.", do=f'Write clusters={{"name": "{clusters}"}}.')
    if isinstance(clusters, Mapping):
        unknown = sorted(set(clusters) - set(_CLUSTERS))
        if unknown:
            raise BadInput(f"There is no unit '{unknown[0]}'.", do=f"The units are: {', '.join(_CLUSTERS)}.")
        named = dict(clusters)
    elif len(clusters) > len(_CLUSTERS):
        raise BadInput(f"There are {len(clusters)} cluster columns; at most two are used: names, then stems.")
    else:
        named = dict(zip(_CLUSTERS, clusters, strict=False))
    return {unit: named.get(unit, "") for unit in _CLUSTERS} if named else {}


def _as_file(frame: Any, path: Path, kind: str, outcome: str | None) -> Path:
    """Write a frame of any library as Parquet; a yes/no outcome becomes ``refusal`` and ``answer``."""
    import narwhals as nw
    import polars as pl

    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        raise BadInput(
            f"'{kind}' is a {type(frame).__name__}.", do="Give a path, or a polars, pandas or Arrow frame."
        ) from None
    try:
        rows = table.to_polars()
    except Exception as error:  # whatever the frame library raises on mixed or duplicate columns
        raise BadInput(f"It cannot be read as a table: {error}", file=f"the frame '{kind}'") from error
    if kind == "labels" and outcome is not None and outcome in rows.columns:
        # Missing values of every kind (None, NaN, NA) are None here, or a NaN, which differs from itself.
        values = [None if value is None or value != value else value for value in rows[outcome].to_list()]
        if {value for value in values if value is not None} <= {0, 1}:
            words = [None if value is None else "refusal" if value else "answer" for value in values]
            rows = rows.with_columns(pl.Series(outcome, words, dtype=pl.String))
    rows.write_parquet(path)
    return path
