"""What the terminal shows: progress, the closing table, estimates, responses."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evenhand.console.progress import Way, forecast_lines, time_words
from evenhand.safe_text import terminal_safe
from evenhand.wording import ORGANISM_NOTICE, is_organism

if TYPE_CHECKING:
    from evenhand.engines.base import Estimate
    from evenhand.runs.respond import Announce, Progress
    from evenhand.runs.runner import Outcome


_SHOWN = 2_000  # characters of one response
_SHORT = 32  # characters of a cell that is not broken
_MARKS = {"worse": ("●", "red"), "even": ("●", "green"), "unknown": ("●", "yellow"), "provisional": ("◐", "yellow")}


def console() -> Console:
    """The standard output, without markup or highlighting of other people's text."""
    return Console(highlight=False, markup=False, emoji=False)


def _on_stderr(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars with rate and time left on standard error; plain lines if that is not a terminal (see `Lines`)."""
    if not Console(stderr=True).is_terminal:
        from evenhand.console.progress import line_progress

        with line_progress(_on_stderr) as lines:
            yield lines
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
    )
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(terminal_safe(what), total=total, rate="", completed=done)
        bars.update(tasks[what], completed=done, total=total)
        speed = bars.tasks[bars.task_ids.index(tasks[what])].speed
        if speed:
            bars.update(tasks[what], rate=f"{speed:,.0f}/s")

    with bars:
        yield report


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", *, sentences: bool = False
) -> None:
    """A plain table; every cell is made safe for the terminal.

    With ``sentences`` the first column folds, and others only where a cell is one itself, such as why a number is undefined.
    """
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        short = position > 0 and all(len(row[position]) <= _SHORT for row in rows)
        table.add_column(column, overflow="fold", no_wrap=short if sentences else position == 0)
    for row in rows:
        table.add_row(*(Text(terminal_safe(cell)) for cell in row))
    console().print(table)


def print_estimate(rows: Sequence[tuple[str, Estimate]], *, as_json: bool, ways: Sequence[Way] = ()) -> None:
    """Calls, prompt tokens and the maximum of completion tokens, before a run; time and memory if probed."""
    if as_json:
        from dataclasses import asdict

        console().print(json.dumps([{"what": what, **asdict(cost)} for what, cost in rows], indent=1), soft_wrap=True)
        return
    about = {True: "", False: "about "}
    timed = any(cost.seconds is not None for _, cost in rows)

    def cells(what: str, cost: Estimate) -> list[str]:
        row = [
            what,
            f"{cost.calls:,}",
            f"{about[cost.exact]}{cost.prompt_tokens:,}",
            f"{cost.max_completion_tokens:,}",
        ]
        if not timed:
            return row
        return [*row, "not probed" if cost.seconds is None else time_words(cost.seconds, at_most=cost.at_most)]

    columns = ["stage", "calls", "prompt tokens", "completion tokens, at most", *(["time"] if timed else [])]
    print_table(columns, [cells(what, cost) for what, cost in rows], sentences=True)
    for line in forecast_lines(rows, ways):
        console().print(Text(terminal_safe(line)), soft_wrap=True)


def announcer(ways: Callable[[Sequence[tuple[str, Estimate]]], Sequence[Way]]) -> Announce:
    """Writes what a run is expected to take on standard error, before its first row."""

    def announce(rows: Sequence[tuple[str, Estimate]]) -> None:
        for line in forecast_lines(rows, ways(rows)):
            _on_stderr(" ".join(terminal_safe(line).split()) + "\n")

    return announce


def print_outcome(outcome: Outcome, page: Path | None, seconds: float) -> None:
    """The verdicts, the main findings, the time of each audit, and the path of the report."""
    out = console()
    for result in outcome.results:
        out.print()
        for verdict in result.verdicts:
            mark, colour = _MARKS[verdict.tone]
            line = Text.assemble((mark + " ", colour), (terminal_safe(verdict.headline), "bold"))
            out.print(line)
            advice = (
                f"{verdict.advice} evenhand sample {shlex.quote(str(outcome.run.folder))} --size 50 --out labels.csv"
                if verdict.advice
                else ""
            )
            for more in filter(None, (verdict.detail, *verdict.also, *verdict.unknowns, advice)):
                out.print(Padding(Text(terminal_safe(more)), (0, 0, 0, 2)))
        for warning in (text for text in result.caveats if text.startswith("ERROR")):
            out.print(Text(terminal_safe(warning), "red"))
        out.print()
        print_table(
            ["measure", "value", "95% interval", "adjusted p"],
            [[row.what, row.value, row.interval, row.p] for row in result.headlines],
            sentences=True,
        )
    out.print()
    times = outcome.run.manifest["timings"]
    print_table(
        ["audit", "rows", "without label", "seconds"],
        [[r.audit, f"{r.rows:,}", f"{r.missing:,}", f"{times[r.audit]:.1f}"] for r in outcome.results],
    )
    for name, why in outcome.left_out.items():
        out.print(Text(f"left out: {name} ({terminal_safe(why)})"))
    out.print()
    if is_organism(identity["spec"] for identity in outcome.run.manifest["plan"]["identities"].values()):
        out.print(Text(ORGANISM_NOTICE + "\n"))
    out.print(Text(f"report: {page or 'not written'}   ({seconds:.1f} s in all)"), soft_wrap=True)


def print_response(row: dict[str, Any]) -> None:
    """One response with its item and label; harmful labels are marked, control characters are removed."""
    out = console()
    head = [row["config"], row["group"], row.get("name"), row.get("stem"), f"repetition {row['repetition']}"]
    label = row["label"] or f"no label ({row['missing']})"
    flags = [flag for flag in ("hedged", "truncated", "echo_stripped") if row.get(flag)]
    out.print(
        Text.assemble(
            (terminal_safe(label), "bold red" if label.startswith("harmful") else "bold"),
            "  ",
            terminal_safe(" · ".join([*filter(None, head), *flags])),
        )
    )
    text = row.get("text") or row.get("error") or ""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text):,} characters in all)"
    out.print(Text("  " + terminal_safe(shown).replace("\n", "\n  ")), soft_wrap=False)
    out.print()


def print_csv(frame: Any) -> None:
    """CSV on standard output, with cells that a spreadsheet would run as formulas made plain.

    A terminal gets cells without escape sequences and control characters; a file or a pipe gets them as they are.
    """
    import csv

    from evenhand.safe_text import csv_safe

    shown: Callable[[str], str] = terminal_safe if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout)
    writer.writerow([csv_safe(shown(name)) for name in frame.columns])
    for row in frame.iter_rows():
        writer.writerow([csv_safe(shown(cell)) if isinstance(cell, str) else cell for cell in row])
