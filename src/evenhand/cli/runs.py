"""`evenhand report`, `show` and `sample`: reading a run that exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evenhand.console import screens
from evenhand.errors import BadInput

if TYPE_CHECKING:
    from evenhand.runs.load import LoadedRun
    from evenhand.runs.run import Run


RunFolder = Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]


def report(run: RunFolder) -> None:
    """Write the HTML report of a run again, from its tables."""
    from evenhand.report.build import build_report
    from evenhand.runs.run import Run

    _note_unchecked(Run.open(run))
    typer.echo(str(build_report(run)))


def _note_unchecked(run: Run) -> None:
    """State on standard error that a run of an older version has no checksums."""
    if not run.has_checksums:
        typer.echo("Note: this run was made before runs had checksums; its files are read unchecked.", err=True)


def show(
    run: RunFolder,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    label: Annotated[str | None, typer.Option(help="Only this label ('missing' for rows without one).")] = None,
    name: Annotated[str | None, typer.Option(help="Only this name.")] = None,
    stem: Annotated[str | None, typer.Option(help="Only this stem.")] = None,
    model: Annotated[
        str | None, typer.Option("--config", help="Only this configuration (the model, and its prompt).")
    ] = None,
    grader: Annotated[str | None, typer.Option(help="Labels of this grader (default: the run's first).")] = None,
    audit: Annotated[str | None, typer.Option(help="Audit whose rows are shown (default: the run's first).")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of rows (default: 20; all with --csv).")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV (safe for spreadsheets) instead.")] = False,
) -> None:
    """Show the responses behind a number, by group, label, name or stem."""
    from evenhand.runs.check import readable
    from evenhand.runs.load import first_audit, load

    loaded = load(run, audit or first_audit(run))
    _note_unchecked(loaded.run)
    with readable(loaded.run.folder, loaded.manifest):
        facts = loaded.result["facts"]  # raises for a run that is unfinished, or has no findings
        wanted = {"group": group, "name": name, "stem": stem, "config": model}
        if loaded.method.rows:
            _show_ungraded(loaded, wanted | {"label": label, "grader": grader}, limit, as_csv)
        else:
            _show_graded(loaded, wanted, label, grader, facts.get("grader"), limit, as_csv)


def _show_graded(
    loaded: LoadedRun,
    wanted: dict[str, str | None],
    label: str | None,
    grader: str | None,
    first: str | None,
    limit: int | None,
    as_csv: bool,
) -> None:
    """Responses with their labels, by default those of the grader ``first``."""
    import polars as pl

    run = loaded.run.folder
    rows = loaded.rows
    known_graders = sorted(map(str, rows["grader"].unique()))
    chosen = grader or first or next(iter(known_graders), "")
    if grader is not None and grader not in known_graders:
        raise BadInput(f"No row has grader '{grader}'.", file=run, do=f"There are: {', '.join(known_graders)}.")
    rows = rows.filter(pl.col("grader") == chosen)
    for option, value in wanted.items():
        if value is None:
            continue
        column = loaded.method.filters.get(option, option)
        if column not in rows.columns or value not in rows[column].unique():
            choices = ", ".join(sorted(map(str, rows[column].unique()))[:20]) if column in rows.columns else "none"
            raise BadInput(f"No row has {option} '{value}'.", file=run, do=f"There are: {choices}.")
        rows = rows.filter(pl.col(column) == value)
    if label is not None:
        label = " ".join(label.lower().split())
        fixed = loaded.method.labels
        held = [one for one in map(str, rows["label"].drop_nulls().unique().sort()) if one not in fixed]
        words = (*fixed, *held, "missing")
        if label not in words:
            raise BadInput(f"There is no label '{label}'.", do=f"Labels: {', '.join(words)}.")
        rows = rows.filter(pl.col("label").is_null() if label == "missing" else pl.col("label") == label)
    if as_csv:
        screens.print_csv(rows if limit is None else rows.head(limit))
        return
    limit = limit or 20
    for row in rows.head(limit).iter_rows(named=True):
        screens.print_response(row)
    typer.echo(f"{min(limit, rows.height):,} of {rows.height:,} rows", err=True)


def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="CSV file to write; fill in its last column.")],
    size: Annotated[int, typer.Option("-n", "--size", min=1, help="Responses to label.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    audit: Annotated[
        str | None, typer.Option(help="Audit to sample from (default: service, or the run's first).")
    ] = None,
) -> None:
    """Draw responses for human labels, balanced over group and label; use them with `audit --calibration`."""
    from evenhand.registry import METHODS, load_target
    from evenhand.runs.check import readable
    from evenhand.runs.load import load

    loaded = load(run, audit)
    _note_unchecked(loaded.run)
    with readable(loaded.run.folder, loaded.manifest):
        if "grader" not in loaded.result["facts"]:
            raise BadInput(
                f"The {loaded.audit} audit has no grader to calibrate.",
                file=run,
                do="Sample from another audit with --audit.",
            )
        if not loaded.method.sample:
            able = " or ".join(method.name for method in METHODS if method.sample)
            raise BadInput(
                f"Human labels calibrate the {able} audit, and these rows are of the {loaded.audit} audit.", file=run,
                do=f"Sample from a run of the {able} audit.",
            )  # fmt: skip
        if out.exists():
            raise BadInput("The file exists, and may hold labels.", file=out, do="Choose another --out.")
        count = load_target(loaded.method.sample)(run, loaded.audit, out, size, seed)
    typer.echo(f"{count} responses to label: {out}")


def _show_ungraded(loaded: LoadedRun, wanted: dict[str, str | None], limit: int | None, as_csv: bool) -> None:
    """Rows that the method declares, by the columns that its declaration maps the options to."""
    import polars as pl

    rows, method = loaded.rows, loaded.method
    axes = dict.fromkeys(finding.slice.get("axis") for finding in loaded.findings)  # such as the fields of a rater
    fields = [axis for axis in axes if axis in rows.columns]
    plain = {name for name, kind in rows.schema.items() if not kind.is_nested()}
    for option, value in wanted.items():
        if value is None:
            continue
        column = method.filters.get(option, option)
        columns = [column] if column in plain else fields if option == "group" else []
        if not columns:
            raise BadInput(
                f"Rows of the {loaded.audit} audit have no {option}.",
                file=loaded.run.folder,
                do=f"Leave --{option} out.",
            )
        there = {str(one) for column in columns for one in rows[column].unique() if one not in (None, "")}
        if value not in there:
            choices = ", ".join(sorted(there)[:20]) or "none"
            raise BadInput(f"No row has {option} '{value}'.", file=loaded.run.folder, do=f"There are: {choices}.")
        rows = rows.filter(pl.any_horizontal(pl.col(column).cast(pl.String) == value for column in columns))
    if as_csv:
        screens.print_csv(rows if limit is None else rows.head(limit))
        return
    names = [name for name in method.shown if name in rows.columns] or rows.columns[:8]
    shown = rows.head(limit or 20).select(names)
    cells = [
        [f"{x:+.2f}" if isinstance(x, float) else "" if x is None else str(x) for x in row] for row in shown.iter_rows()
    ]
    screens.print_table(list(shown.columns), cells)
    typer.echo(f"{shown.height:,} of {rows.height:,} rows", err=True)
