"""One audit of a run: its findings, its rows, and the figures of its section of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from evenhand.errors import BadInput
from evenhand.files import write_atomically
from evenhand.frames import Library, in_library
from evenhand.redact import redact
from evenhand.report.build import part_of
from evenhand.report.page import all_blocks
from evenhand.report.svg import FigureBlock, drawable, figure_svg
from evenhand.results.findings import (
    ANY,
    Unset,
    findings_frame,
    rows_of,
    select_findings,
    summary_html,
    summary_table,
    summary_text,
)
from evenhand.runs.check import readable
from evenhand.runs.load import LoadedRun

if TYPE_CHECKING:
    from evenhand.records import Finding


@dataclass(frozen=True, slots=True, repr=False)
class Figure:
    """A figure as SVG that holds its own colours and fonts.

    Parameters
    ----------
    id, title, caption : str
        As on the page.
    svg : str
        The image, a whole SVG document.
    """

    id: str
    title: str
    caption: str
    svg: str

    def __repr__(self) -> str:
        return f"Figure({self.id!r}, {self.title!r}); save it with save('figure.svg')"

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<figure style="margin:0">{self.svg}<figcaption>{escape(self.caption)}</figcaption></figure>'

    def save(self, path: str | Path) -> Path:
        """Write the figure as an SVG file and return its path. Raises BadInput for a name that does not end in .svg."""
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise BadInput("Figures are written as SVG.", file=target, do=f"Write to {target.with_suffix('.svg')}.")
        write_atomically(target, self.svg.encode("utf-8"))
        return target


def figure_blocks(loaded: LoadedRun) -> dict[str, FigureBlock]:
    """The figures of an audit's section of the page by their ids, in the order of the page."""
    loaded.result  # noqa: B018 - raises for a run without findings
    with readable(loaded.run.folder, loaded.manifest):
        blocks = part_of(loaded).section.blocks
    return {block.id: block for block in map(drawable, all_blocks(blocks)) if block is not None}


def figure_of(loaded: LoadedRun, wanted: str | None = None) -> Figure:
    """A figure of an audit by its id on the page, by default the first. Raises BadInput, naming what there is."""
    figures = figure_blocks(loaded)
    if not figures:
        raise BadInput(f"The section of the {loaded.audit} audit has no figure.", do="Read its findings or its rows.")
    block = next(iter(figures.values())) if wanted is None else figures.get(wanted)
    if block is None:
        raise BadInput(f"The {loaded.audit} audit has no figure '{wanted}'.", do=f"There are: {', '.join(figures)}.")
    return Figure(block.id, redact(block.title), redact(block.caption), redact(figure_svg(block)))


class AuditView:
    """One audit of a run, as ``run["service"]`` returns it.

    Parameters
    ----------
    loaded : LoadedRun
        The audit's tables and findings.
    frames : {"polars", "pandas", "pyarrow"}
        The library of every frame that is returned.

    Attributes
    ----------
    loaded : LoadedRun
        The same audit with every table as a polars frame.
    """

    def __init__(self, loaded: LoadedRun, frames: Library = "polars") -> None:
        self.loaded = loaded
        self._library = frames

    def __repr__(self) -> str:
        return summary_text(self._title, summary_table({self.audit: self._result_or_none}))

    def _repr_html_(self) -> str:
        return summary_html(self._title, summary_table({self.audit: self._result_or_none}))

    @property
    def _title(self) -> str:
        return f"{self.audit} audit of {self.loaded.run.folder}"

    @property
    def _result_or_none(self) -> Mapping[str, Any] | None:
        return self.result if self.loaded.run.findings_path.exists() else None

    @property
    def audit(self) -> str:
        """The audit's name, for example ``"service"``."""
        return self.loaded.audit

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest of the run: plan, versions, models, timings."""
        return self.loaded.manifest

    @property
    def result(self) -> Mapping[str, Any]:
        """Verdicts, headlines, methods and findings as plain values, as in ``findings.json``."""
        return self.loaded.result

    @property
    def records(self) -> Sequence[Finding]:
        """The findings as `evenhand.records.Finding`, with everything that the frame leaves out."""
        return self.loaded.findings

    @cached_property
    def findings(self) -> Any:
        """The findings of this audit, in the columns of `RunResult.findings`."""
        return in_library(findings_frame({self.audit: self.result["findings"]}), self._library)

    def findings_frame(self) -> pl.DataFrame:
        """The findings with every field of intervals and tests as a column, as a polars frame."""
        return self.loaded.findings_frame()

    @cached_property
    def rows(self) -> Any:
        """The rows behind the findings: graded responses with their items, pairs with their texts, ratings, and so on."""
        return in_library(self.loaded.rows, self._library)

    def table(self, name: str) -> Any:
        """A table of the audit by name, for example ``"pairs"`` of the reward audit. Raises BadInput if there is none."""
        return in_library(self.loaded.table(name), self._library)

    def rows_behind(
        self,
        estimand: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the field's own name
        group: str | Unset | None = ANY,
        reference: str | Unset | None = ANY,
        config: str | Unset = ANY,
        outcome: str | Unset = ANY,
        slice: Mapping[str, Any] | Unset | None = ANY,  # noqa: A002
    ) -> Any:
        """Exactly the rows behind a number.

        Parameters
        ----------
        estimand : str, optional
            The number, as in the column ``estimand`` of the findings.
        id : str, optional
            The finding's id, in place of all other arguments.
        group, reference, config, outcome : str, optional
            Values of these columns of the findings; None for a finding without one. Any value if left out.
        slice : mapping, optional
            Values of the slice, for example ``{"gender": "woman"}``; None for the finding over everything. If left out,
            the finding over everything, or any slice if there is no such finding.

        Returns
        -------
        DataFrame of shape (rows, columns)
            The rows in the order of their table, with their texts if the audit has any.

        Raises
        ------
        BadInput
            No finding fits (the message names what exists), several fit that rest on different rows, or the number was
            measured on the model and rests on no rows.

        Examples
        --------
        >>> import evenhand as eh, polars as pl
        >>> rows = [(g, f"{g}{n}", n % 3 < k) for g, k in (("a", 1), ("b", 2)) for n in range(9)]
        >>> labels = pl.DataFrame(rows, schema=["group", "name", "refused"], orient="row")
        >>> run = eh.audit(labels=labels, group="group", outcome="refused", reference_group="a", draws=200, report=False)
        >>> run["service"].rows_behind("rate", group="b", outcome="declined").height
        9
        >>> run.discard()
        """
        filters = {"group": group, "reference": reference, "config": config, "outcome": outcome, "slice": slice}
        fitting = select_findings(self.loaded.findings, self.audit, estimand, id, filters)
        return in_library(rows_of(self.loaded, fitting), self._library)

    def plot(self, figure: str | None = None) -> Figure:
        """A figure of the audit's section of the page; see `RunResult.plot`."""
        return figure_of(self.loaded, figure)
