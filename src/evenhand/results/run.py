"""The object that `evenhand.audit` and `evenhand.load` return."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import polars as pl

from evenhand.errors import BadInput
from evenhand.frames import Library, checked_library, in_library
from evenhand.results.audit import AuditView, Figure
from evenhand.results.findings import findings_frame, summary_html, summary_table, summary_text
from evenhand.runs.check import readable
from evenhand.runs.load import load as load_audit
from evenhand.runs.run import Run, hold

_VERDICT = dict.fromkeys(("method", "config", "tone", "headline", "detail", "group"), pl.String)


class RunResult:
    """A run: its audits by name, one frame of findings over all of them, rows, figures and the page.

    Parameters
    ----------
    run : Run
        The run folder.
    frames : {"polars", "pandas", "pyarrow"}
        The library of every frame that is returned.

    Examples
    --------
    >>> import evenhand as eh, polars as pl
    >>> rows = [(g, f"{g}{n}", n % 3 < k) for g, k in (("a", 1), ("b", 2)) for n in range(9)]
    >>> labels = pl.DataFrame(rows, schema=["group", "name", "refused"], orient="row")
    >>> run = eh.audit(labels=labels, group="group", clusters=["name"], outcome="refused", reference_group="a", draws=200)
    >>> list(run), "reward" in run, len(run)
    (['service'], False, 1)
    >>> run.findings.columns[:5]
    ['method', 'estimand', 'outcome', 'config', 'group']
    >>> run.plot("service").save("service.svg").name
    'service.svg'
    >>> run.discard()
    """

    def __init__(self, run: Run, frames: Library = "polars") -> None:
        self._run = run
        self._library = frames

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self._run.folder

    @property
    def manifest(self) -> Mapping[str, Any]:
        """How the run was made: plan, versions, models, timings, and the audits that were left out and why."""
        return self._run.manifest

    @property
    def audits(self) -> tuple[str, ...]:
        """The names of the run's audits, in the order in which they ran."""
        return tuple(self._run.audits)

    def __iter__(self) -> Iterator[str]:
        return iter(self.audits)

    def __len__(self) -> int:
        return len(self.audits)

    def __contains__(self, audit: object) -> bool:
        return audit in self.audits

    def __getitem__(self, audit: str) -> AuditView:
        """One audit of the run. Raises BadInput, naming those that there are, if the run does not hold it."""
        if audit not in self._views:
            self._views[audit] = AuditView(load_audit(self.folder, audit), self._library)
        return self._views[audit]

    @cached_property
    def _views(self) -> dict[str, AuditView]:
        return {}

    @cached_property
    def _results(self) -> Mapping[str, Any]:
        held = self._run.read_findings()
        return {name: held[name] for name in (*self.audits, *held) if name in held}

    @cached_property
    def _findings(self) -> pl.DataFrame:
        with readable(self.folder, self.manifest):
            return findings_frame({name: result["findings"] for name, result in self._results.items()})

    @property
    def findings(self) -> Any:
        """Every finding of every audit.

        Returns
        -------
        DataFrame of shape (findings, 17)
            ``method`` (the audit), ``estimand``, ``outcome``, ``config`` (the model, and its prompt), ``group``, ``reference``,
            ``slice``; ``estimate`` with its ``unit``, the ends ``low`` and ``high`` of its 95% interval, ``p`` and
            ``p_adjusted`` (for the family of comparisons), ``n``; ``decision`` (null if nothing was decided), ``reason`` and
            ``id``.

        Raises
        ------
        BadInput
            The run is not finished, or is of a kind that has no findings.
        """
        return in_library(self._findings, self._library)

    @cached_property
    def verdicts(self) -> Any:
        """What each audit concluded: a frame of ``method``, ``config``, ``tone``, ``headline``, ``detail``, ``group``."""
        rows = [
            {name: audit if name == "method" else verdict.get(name) for name in _VERDICT}
            for audit, result in self._results.items()
            for verdict in result["verdicts"]
        ]
        return in_library(pl.DataFrame(rows, schema=_VERDICT), self._library)

    def rows(self, audit: str | None = None, estimand: str | None = None, **filters: Any) -> Any:
        """The rows of an audit, or those behind one of its numbers.

        Parameters
        ----------
        audit : str, optional
            The audit; needed if the run holds several.
        estimand : str, optional
            The number whose rows are wanted; all rows of the audit if left out.
        **filters
            ``id``, ``group``, ``reference``, ``config``, ``outcome`` and ``slice``, as in `AuditView.rows_behind`.

        Returns
        -------
        DataFrame of shape (rows, columns)

        Raises
        ------
        BadInput
            The run holds several audits and none is named, or no finding fits.
        """
        view = self[audit] if audit is not None else self._only()
        return view.rows if estimand is None and not filters else view.rows_behind(estimand, **filters)

    def _only(self) -> AuditView:
        if len(self) != 1:
            raise BadInput(f"The run holds {len(self)} audits.", file=self.folder, do=f"Name one: {', '.join(self)}.")
        return self[self.audits[0]]

    def plot(self, audit: str | None = None, figure: str | None = None) -> Figure:
        """A figure of an audit's section of the page, as SVG that needs no style sheet.

        Parameters
        ----------
        audit : str, optional
            The audit; needed if the run holds several.
        figure : str, optional
            The figure's id on the page; the first of the section if left out.

        Returns
        -------
        Figure
            Shown by a notebook as it is; ``save("figure.svg")`` writes it.

        Raises
        ------
        BadInput
            The section has no figure, or none of that id (the message names those that there are).
        """
        return (self[audit] if audit is not None else self._only()).plot(figure)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the page of the run as one self-contained HTML file.

        Parameters
        ----------
        path : path, optional
            The file to write; ``report.html`` in the run's folder if left out.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        BadInput
            The run is not finished or has no findings, or ``path`` is a folder.
        """
        from evenhand.report.build import compose
        from evenhand.report.page import write

        target = self.folder / "report.html" if path is None else Path(path)
        if target.is_dir():
            raise BadInput("This is a folder, not a file.", file=target, do=f"Write to {target / 'report.html'}.")
        return write(compose(self.folder), target)

    def discard(self) -> None:
        """Delete the run's folder with everything in it. Raises BadInput if another process is writing the run."""
        if not (self.folder / "manifest.json").is_file():
            raise BadInput("The folder holds no run.", file=self.folder)
        hold(self.folder).release()
        shutil.rmtree(self.folder)

    def _summary(self) -> tuple[str, list[tuple[str, ...]], list[str]]:
        if not (self.folder / "manifest.json").is_file():
            return f"Run {self.folder} (discarded)", [], []
        finished = self._run.findings_path.exists()
        held: Mapping[str, Any] = self._results if finished else {}
        notes = [f"left out: {name} ({why})" for name, why in self.manifest.get("left_out", {}).items()]
        page = self.folder / "report.html"
        notes.append(
            f"kept in {self.folder}" + (f"; page: {page}" if page.exists() else "") + "; delete with discard()"
        )
        title = f"Run {self.folder.name} of {self.manifest['created']}, {self.manifest['state']}"
        return title, summary_table({name: held.get(name) for name in dict.fromkeys((*self.audits, *held))}), notes

    def __repr__(self) -> str:
        return summary_text(*self._summary())

    def _repr_html_(self) -> str:
        return summary_html(*self._summary())


@overload
def load(run: str | Path, audit: None = None, *, frames: str = "polars") -> RunResult: ...
@overload
def load(run: str | Path, audit: str, *, frames: str = "polars") -> AuditView: ...
def load(run: str | Path, audit: str | None = None, *, frames: str = "polars") -> RunResult | AuditView:
    """Open a run folder.

    Parameters
    ----------
    run : path
        The folder.
    audit : str, optional
        Return this audit of the run alone, as ``load(run)[audit]``.
    frames : {"polars", "pandas", "pyarrow"}
        The library of every frame that is returned.

    Returns
    -------
    RunResult or AuditView
        The latter if ``audit`` is given.

    Raises
    ------
    BadInput
        The folder holds no run or no such audit, or files of it are missing or damaged.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.load("no-such-folder")
    Traceback (most recent call last):
    evenhand.errors.BadInput: no-such-folder: There is no such folder.
    """
    opened = Run.open(Path(run))
    opened.first_audit  # noqa: B018 - raises for a manifest without audits
    for name in opened.audits:
        opened.check_tables(name)
    result = RunResult(opened, checked_library(frames))
    return result if audit is None else result[audit]
