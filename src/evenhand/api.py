"""Evenhand from Python: `audit` models, responses or labels."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput

if TYPE_CHECKING:
    from evenhand.results import RunResult

_CLUSTERS = ("name", "stem")
_RUNS = Path("runs")
_INPUTS = "inputs"
"""Folder of a run that holds the frames it was made from."""
_RENAMED = {"only": "methods", "reference": "reference_group"}


def audit(
    *models: str,
    methods: Sequence[str] = (),
    labels: Any = None,
    responses: Any = None,
    data: Any = None,
    group: str | None = None,
    clusters: Sequence[str] | Mapping[str, str] = (),
    outcome: str | None = None,
    reference_model: str | None = None,
    reference_group: str | None = None,
    judge: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    report: bool = True,
    frames: str | None = None,
    **settings: Any,
) -> RunResult:
    """Run the audits that fit, and return the run.

    The function may be called where an event loop is running, as in a notebook; it returns when the run is done.

    Parameters
    ----------
    *models : str
        Engine specs, as on the command line: ``"hf/ORG/MODEL"``, ``"openai/MODEL"``, ``"http://HOST/v1#MODEL"``,
        ``"organism/NAME"``. The shipped organism if neither models, labels nor responses are given.
    methods : sequence of str, optional
        Audits to run (``"service"``, ``"reward"``, ...; see ``evenhand list audits``). By default every audit that the models
        or the rows support.
    labels, responses, data : path or DataFrame, optional
        Rows that exist: one row a label, a response or a prompt. A path (csv, jsonl, parquet) or a polars, pandas or Arrow
        frame of shape (rows, columns). A frame is written to ``inputs/`` in the run's folder. Give one of the three.
    group : str, optional
        The column of the group.
    clusters : sequence or mapping of str, optional
        The columns of the randomised units: ``{"name": COLUMN, "stem": COLUMN}`` or one of them, or both columns in this
        order. A unit that is left out is not looked for among the other columns.
    outcome : str, optional
        The column of the label (one of the six words), or of a yes/no outcome (True or 1: declined).
    reference_model : str, optional
        Engine spec of the model that each policy was tuned from (reward and safety audits).
    reference_group : str, optional
        The group that the others are compared with.
    judge : str, optional
        Engine spec of the model that applies the rubric.
    out : path, optional
        The run's folder. By default ``runs/TIME-NAME`` below the current directory, as on the command line. Runs are kept
        until `RunResult.discard` or you delete them.
    resume : bool, default False
        Continue the run in ``out`` that was started with the same settings.
    report : bool, default True
        Write ``report.html`` into the run's folder.
    frames : {"polars", "pandas", "pyarrow"}, optional
        The library of the frames that the run returns. By default that of the frame passed in, or polars.
    **settings
        Any other field of `evenhand.config.AuditConfig`.

    Returns
    -------
    RunResult

    Raises
    ------
    BadInput
        Settings, files or frames cannot be used; the message says which and what to do.
    EngineError
        A model cannot be loaded or does not answer.

    Examples
    --------
    >>> import evenhand as eh, polars as pl
    >>> rows = [
    ...     {"group": g, "name": f"{g}{n}", "task": t, "refused": (n + t) % 4 < k}
    ...     for g, k in (("a", 1), ("b", 3))
    ...     for n in range(6)
    ...     for t in range(6)
    ... ]
    >>> run = eh.audit(
    ...     labels=pl.DataFrame(rows),
    ...     group="group",
    ...     clusters=["name", "task"],
    ...     outcome="refused",
    ...     reference_group="a",
    ...     draws=200,
    ... )
    >>> "service" in run
    True
    >>> run["service"].rows_behind("risk_difference", group="b").height
    72
    >>> run.discard()
    """
    from evenhand.config import make_config
    from evenhand.frames import checked_library, library_of
    from evenhand.results import load
    from evenhand.runs.runner import default_folder, run_audits

    given = {"labels": labels, "responses": responses, "data": data}
    methods, reference_group = _current_names(settings, methods, reference_group)
    if isinstance(methods, str):
        raise BadInput(f"methods takes a list, not '{methods}'.", do=f"Write methods=['{methods}'].")
    units = _units(clusters)
    library = library_of(*given.values()) if frames is None else checked_library(frames)
    roles = {"group": group}
    roles["prompt" if data is not None else "response" if responses is not None else "label"] = outcome
    columns = {role: column for role, column in roles.items() if column} | units
    settings["columns"] = {**settings.get("columns", {}), **columns}
    for kind, source in given.items():
        if source is not None:
            settings[kind] = Path(source) if isinstance(source, str | Path) else Path(f"{kind}.parquet")
    named = {"reference": reference_model, "reference_group": reference_group, "judge": judge}
    settings |= {name: value for name, value in named.items() if value is not None}
    if models:
        settings["models"] = models
    if methods:
        settings["only"] = tuple(methods)
    config = make_config(**settings)
    folder = Path(out) if out is not None else _new_folder(default_folder(config, _RUNS))
    is_new = not folder.exists()
    if (folder / "manifest.json").exists() and not resume:
        raise BadInput(
            "The folder already holds a run.", file=folder, do="Continue it with resume=True, or choose another out=."
        )
    try:
        written = {
            kind: _input_file(source, folder, kind, outcome)
            for kind, source in given.items()
            if source is not None and not isinstance(source, str | Path)
        }
        run_audits(make_config(**{**settings, **written}) if written else config, folder, resume=resume)
    except BaseException as error:
        _clear(folder, is_new)
        if isinstance(error, BadInput):
            raise _about_frame(error, folder) from None
        raise
    if report:
        from evenhand.report.build import build_report

        build_report(folder)
    return load(folder.absolute(), frames=library)


def _current_names(
    settings: dict[str, Any], methods: Sequence[str], reference_group: str | None
) -> tuple[Sequence[str], str | None]:
    """The methods and the reference group, taken from their former names (with a warning) if they are not given."""
    given: dict[str, Any] = {"methods": methods or None, "reference_group": reference_group}
    for old, new in _RENAMED.items():
        if old not in settings:
            continue
        value = settings.pop(old)
        if given[new] is not None:
            raise BadInput(f"{old}= is the former name of {new}=, which is also given.", do=f"Leave {old}= out.")
        warnings.warn(f"{old}= is now {new}= (a model is given as reference_model=)" if old == "reference" else
                      f"{old}= is now {new}=", DeprecationWarning, stacklevel=3)  # fmt: skip
        given[new] = value
    return given["methods"] or (), given["reference_group"]


def _units(clusters: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The column of each randomised unit; an empty text for one that was left out while another was named."""
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


def _input_file(frame: Any, folder: Path, kind: str, outcome: str | None) -> Path:
    """Write a frame into the run folder as its input and return the path; an equal file is left as it is.

    A yes/no outcome of labels (True or 1: declined) becomes the words ``refusal`` and ``answer``. Raises BadInput if ``frame``
    is not a frame, and if the folder holds an input that differs.
    """
    import polars as pl

    from evenhand.frames import polars_frame
    from evenhand.runs.tables import read_table, write_table

    rows = polars_frame(frame, f"the frame '{kind}'")
    if kind == "labels" and outcome is not None and outcome in rows.columns:
        # Missing values of every kind (None, NaN, NA) are None here, or a NaN, which differs from itself.
        values = [None if value is None or value != value else value for value in rows[outcome].to_list()]
        if {value for value in values if value is not None} <= {0, 1}:
            words = [None if value is None else "refusal" if value else "answer" for value in values]
            rows = rows.with_columns(pl.Series(outcome, words, dtype=pl.String))
    path = folder / _INPUTS / f"{kind}.parquet"
    if not path.exists():
        write_table(path, rows)
    elif not read_table(path).equals(rows):
        raise BadInput(
            f"The frame '{kind}' differs from the one that this run was started with.",
            file=path,
            do="Pass the same frame, or choose another out=.",
        )
    return path


def _new_folder(wanted: Path) -> Path:
    """The folder, or with a number behind its name if another run was started there in the same second."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def _clear(folder: Path, is_new: bool) -> None:
    """Remove the inputs of a run that never started, and its folder if it was made for them."""
    if (folder / "manifest.json").exists():
        return
    shutil.rmtree(folder / _INPUTS, ignore_errors=True)
    if is_new:
        with suppress(OSError):  # it holds more than the run put there
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()


def _about_frame(error: BadInput, folder: Path) -> BadInput:
    """The error with the frame named in place of the file that was written from it."""
    if error.file is None or Path(error.file).parent != folder / _INPUTS or error.row is None:
        return error
    return BadInput(error.what, file=f"the frame '{Path(error.file).stem}'", row=error.row, do=error.do)
