"""Read a finished run as tidy frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from evenhand.errors import BadInput
from evenhand.records import Finding
from evenhand.registry import METHODS, Method, load_target
from evenhand.runs.check import finding_from, readable
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table

_KEY = ["config", "item_id", "repetition"]
_FRAME: dict[str, Any] = {
    **dict.fromkeys(("id", "estimand", "outcome", "config", "group", "reference", "slice"), pl.String),
    "estimate": pl.Float64,
    "unit": pl.String,
    **dict.fromkeys(("low", "high"), pl.Float64),
    "interval_method": pl.String,
    **dict.fromkeys(("standard_error", "p", "p_holm", "q_bh", "smallest_p"), pl.Float64),
    "family_size": pl.Int64,
    "minimum_detectable": pl.Float64,
    "n": pl.Int64,
    **dict.fromkeys(("grader", "reason", "decision", "decision_reason"), pl.String),
}
_T = TypeVar("_T")


def _readable(method: Callable[[LoadedRun], _T]) -> Callable[[LoadedRun], _T]:
    """A reader of a run's contents, with the errors of a run without checksums turned into BadInput."""

    @wraps(method)
    def reading(self: LoadedRun) -> _T:
        with readable(self.run.folder, self.run.manifest):
            return method(self)

    return reading


def joined_rows(items: pl.DataFrame, grades: pl.DataFrame, responses: pl.DataFrame | None) -> pl.DataFrame:
    """One row a grade, with its item (columns ``name``, ``stem`` and the attributes without prefix) and its response.

    Sorted as the grades are. Without responses (entry at labels) ``text`` and its companions are null.
    """
    taken = {*items.columns, *grades.columns, *(responses.columns if responses is not None else ("text", "error"))}
    names = {
        column: column.partition(".")[2] for column in items.columns if column.startswith(("cluster.", "attribute."))
    }
    # A column of the user's that bears the name of one of ours keeps its prefix.
    plain = items.rename({column: name for column, name in names.items() if name not in taken})
    rows = grades.join(plain, on="item_id", how="left", maintain_order="left", validate="m:1")
    if responses is None:
        return rows.with_columns(
            text=pl.lit(None, pl.String), finish_reason=pl.lit(None, pl.String), error=pl.lit(None, pl.String)
        )
    return rows.join(responses, on=_KEY, how="left", maintain_order="left", validate="m:1")


@dataclass(frozen=True)
class LoadedRun:
    """A run folder as frames. ``rows`` is the joined table behind every finding of the audit."""

    run: Run
    audit: str

    @property
    def method(self) -> Method:
        """The declaration of the audit; a bare one where the plug-in that made the run is not installed."""
        return METHODS.of_run(self.audit)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The run's manifest."""
        return self.run.manifest

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row an item."""
        return read_table(self.run.table(self.audit, "items"))

    @cached_property
    def responses(self) -> pl.DataFrame | None:
        """One row a response; None where the run began at labels."""
        path = self.run.table(self.audit, "responses")
        return read_table(path) if path.exists() else None

    @cached_property
    def grades(self) -> pl.DataFrame:
        """One row a grade of any grader."""
        return read_table(self.run.table(self.audit, "grades"))

    def table(self, name: str) -> pl.DataFrame:
        """A table of the audit by name, for example ``pairs`` or ``summary`` of the reward audit."""
        return read_table(self.run.table(self.audit, name))

    def with_texts(self, name: str) -> pl.DataFrame:
        """A table of the audit with one row a response, joined with the text of each response."""
        texts = self.table("responses").select(*_KEY, "text")
        return self.table(name).join(texts, on=_KEY, how="left", maintain_order="left")

    @property
    def has_rows(self) -> bool:
        """Whether the audit wrote the table that ``rows`` is read from (a declared function decides for itself)."""
        table = self.method.rows or "grades"
        return ":" in table or self.run.table(self.audit, table).exists()

    @cached_property
    @_readable
    def rows(self) -> pl.DataFrame:
        """The rows behind the findings, as the method declares them (`evenhand.registry.Method.rows`): a table of the method, what
        a function of the method makes of its tables, or grades with their items and responses.
        Raises BadInput where the audit wrote no such table.
        """
        source = self.method.rows
        if ":" in source:
            made: pl.DataFrame = load_target(source)(self)
            return made
        if not self.has_rows:
            raise self.lacks(source or "grades")
        return self.table(source) if source else joined_rows(self.items, self.grades, self.responses)

    def lacks(self, what: str) -> BadInput:
        """The error for an audit that wrote no table called ``what``; it names the tables that there are."""
        folder = self.run.folder / self.audit
        held = ", ".join(sorted(path.stem for path in folder.glob("*.parquet")))
        do = f"Read one of its tables with load(RUN, {self.audit!r}).table(NAME): {held}." if held else None
        return BadInput(f"The {self.audit} audit has no table of {what}.", file=folder, do=do)

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """Verdicts, headlines, methods and findings as plain values."""
        audits = self.run.read_findings()
        if self.audit not in audits:
            raise BadInput(
                f"The run holds no audit '{self.audit}'.", file=self.run.folder, do=f"It holds: {', '.join(audits)}."
            )
        result: Mapping[str, Any] = audits[self.audit]
        return result

    @cached_property
    @_readable
    def findings(self) -> list[Finding]:
        """The findings as records."""
        return [finding_from(row) for row in self.result["findings"]]

    def findings_frame(self) -> pl.DataFrame:
        """The findings as a flat frame: one row a finding, interval and test spread into columns."""
        rows = []
        for finding in self.findings:
            interval, test = finding.interval, finding.test
            rows.append(
                {
                    "id": finding.id,
                    "estimand": finding.estimand,
                    "outcome": finding.outcome,
                    "config": finding.config,
                    "group": finding.group,
                    "reference": finding.reference,
                    "slice": ", ".join(f"{key}={value}" for key, value in finding.slice.items()),
                    "estimate": finding.estimate,
                    "unit": finding.unit,
                    "low": interval.low if interval else None,
                    "high": interval.high if interval else None,
                    "interval_method": interval.method if interval else None,
                    "standard_error": finding.standard_error,
                    "p": test.p if test else None,
                    "p_holm": test.p_holm if test else None,
                    "q_bh": test.q_bh if test else None,
                    "smallest_p": test.smallest_p if test else None,
                    "family_size": test.family_size if test else None,
                    "minimum_detectable": finding.minimum_detectable,
                    "n": finding.n,
                    "grader": finding.grader,
                    "reason": finding.reason,
                    "decision": finding.decision,
                    "decision_reason": finding.decision_reason,
                }
            )
        return pl.DataFrame(rows, schema=_FRAME)


def first_audit(run: str | Path) -> str:
    """The audit that a run is about: the first one of its plan."""
    return Run.open(Path(run)).first_audit


def load(run: str | Path, audit: str | None = None) -> LoadedRun:
    """Open a run folder: its audit of that name, by default ``service`` where its plan has it, else the first of the plan.

    Raises BadInput where the folder holds no run, where the run has no such audit, and where files are missing or damaged.
    """
    opened = Run.open(Path(run))
    held = opened.audits
    planned = opened.manifest["plan"].get("audits", ())
    name = audit if audit is not None else "service" if "service" in planned else opened.first_audit
    if held and name not in held:
        raise BadInput(f"The run holds no audit '{name}'.", file=opened.folder, do=f"It holds: {', '.join(held)}.")
    opened.check_tables(name)
    return LoadedRun(opened, name)
