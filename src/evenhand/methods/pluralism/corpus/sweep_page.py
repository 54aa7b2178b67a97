"""The page of a sweep over thresholds: delta x tau, with the published point and the point of the build marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evenhand.methods.pluralism.corpus.config import PUBLISHED_DELTA, PUBLISHED_TAU
from evenhand.methods.pluralism.corpus.sweep import SweepCell, SweepResult
from evenhand.methods.pluralism.corpus.sweep_ratings import Measured
from evenhand.report.blocks import Block, Table
from evenhand.report.build import present
from evenhand.report.evidence import Evidence
from evenhand.report.figures import Grid, GridCell, GridRow
from evenhand.report.finding_table import RATIO, Shown, finding_table, value, words
from evenhand.report.page import KeyNumber, Page, Section, Verdict, write
from evenhand.runs.run import Run
from evenhand.wording import DASH, ORGANISM_NOTICE, count, is_organism, number

LEDE = (
    "A prompt belongs to a domain if its probability reaches delta, and is removed as a near-duplicate if a kept one is within tau "
    "bits. What would other thresholds have kept, and does agreement depend on them?"
)
Read = Callable[[SweepCell], Measured | None]


def write_sweep_page(folder: Path, result: SweepResult, path: Path) -> Path:
    """Write the page of a sweep over the finished build in ``folder``, and return its path. Raises BadInput for no run."""
    manifest = Run.open(folder).manifest
    specs = [row["spec"] for row in manifest["plan"].get("identities", {}).values()]
    published = next(cell for cell in result.cells if cell.published)
    page = Page(
        title="Evenhand corpus sweep",
        run_name=folder.name,
        created=manifest["created"],
        verdicts=(_verdict(result, published),),
        sections=(Section("sweep", "Thresholds", LEDE, tuple(_blocks(result))),),
        evidence=Evidence((), ()),
        methods=tuple(_methods(published)),
        caveats=result.notes,
        notice=ORGANISM_NOTICE if is_organism(specs) else "",
        version=manifest["versions"].get("evenhand", ""),
    )
    return write(page, path)


def _measures(result: SweepResult) -> dict[str, tuple[str, Read]]:
    """Title to (what it is, how it is read from a cell), with the measures of ratings if there are ratings."""
    measures: dict[str, tuple[str, Read]] = {
        "Rows kept": ("Prompts that are kept, real and synthetic.", lambda c: Measured(c.rows, None)),
        "Rows with a domain": ("Those whose largest probability reaches delta.", lambda c: Measured(c.with_domain, None)),
    }  # fmt: skip
    agreements = [cell.agreement for cell in result.cells if cell.agreement is not None]
    if not agreements:
        return measures
    raters = "A rater is a person, or a profile of one field if a model rated. The 95 % interval is below each value."
    measures["ICC(2,1)"] = (
        f"Agreement of one rater with another. {raters}",
        lambda c: c.agreement.single if c.agreement else None,
    )
    measures["ICC(2,k)"] = (
        f"Agreement of the mean of all raters. {raters}",
        lambda c: c.agreement.average if c.agreement else None,
    )
    for axis in dict.fromkeys(axis for one in agreements for axis in one.shifts):
        about = f"Mean distance of two groups of {axis}, 0 to 1; shuffled groups are in the table. {raters}"
        measures[f"DS, {axis}"] = (about, _shift_of(axis))
    return measures


def _shift_of(axis: str) -> Read:
    """The distance between groups of an axis, read from a cell."""

    def read(cell: SweepCell) -> Measured | None:
        if cell.agreement is None:
            return None
        shift = cell.agreement.shifts.get(axis)
        return shift.ds if shift else Measured(None, None, cell.agreement.single.reason)

    return read


def _blocks(result: SweepResult) -> list[Block]:
    blocks: list[Block] = []
    for k, (title, (about, read)) in enumerate(_measures(result).items()):
        values = [m.value for cell in result.cells if (m := read(cell)) is not None and m.value is not None]
        full = max((abs(value) for value in values), default=1.0) or 1.0
        rows = [
            GridRow(f"{delta:g}", tuple(_cell(cell, title, read(cell), full) for cell in result.cells if cell.delta == delta))
            for delta in result.deltas
        ]  # fmt: skip
        blocks.append(
            Grid(
                id=f"sweep-{k}", title=title, caption=about, corner="delta", columns=tuple(str(tau) for tau in result.taus),
                spans=(("tau, bits", len(result.taus)),), rows=tuple(rows),
                legend=(("good h6", "darker is more"), ("ring", f"published point ({PUBLISHED_DELTA:g}, {PUBLISHED_TAU})")),
            )
        )  # fmt: skip
    return [*blocks, *present(_table(result))]


def _cell(cell: SweepCell, title: str, measured: Measured | None, full: float) -> GridCell:
    size, reason = (measured.value, measured.reason) if measured is not None else (None, "not measured")
    ends, marks = _ends(measured), _marks(cell)
    parts = ", ".join(filter(None, (number(size), ends, reason, *marks)))
    label = f"{title}, delta {cell.delta:g}, tau {cell.tau}: {parts}"
    shade = None if size is None else -abs(size) / full
    return GridCell(number(size), label, shade, " · ".join(filter(None, (ends, *marks))), cell.published)


def _marks(cell: SweepCell) -> list[str]:
    return [word for word, wanted in (("published", cell.published), ("as built", cell.built)) if wanted]


def _ends(measured: Measured | None) -> str:
    interval = measured.interval if measured is not None else None
    return f"{number(interval.low)} to {number(interval.high)}" if interval is not None else ""


def _measured(title: str, read: Read) -> tuple[Shown[SweepCell], Shown[SweepCell]]:
    """A column of values and one of their intervals."""

    def reason(cell: SweepCell) -> str:
        measured = read(cell)
        return measured.reason if measured is not None else ""

    def estimate(cell: SweepCell) -> float | None:
        measured = read(cell)
        return measured.value if measured is not None else None

    interval: Shown[SweepCell] = words("95 % interval", lambda cell: _ends(read(cell)) or DASH)
    return value(title, estimate, RATIO, reason=reason), interval


def _table(result: SweepResult) -> Table | None:
    counts: dict[str, Callable[[SweepCell], int]] = {
        "rows": lambda cell: cell.rows,
        "real": lambda cell: cell.real,
        "synthetic": lambda cell: cell.synthetic,
        "with a domain": lambda cell: cell.with_domain,
    }
    rated: list[Shown[SweepCell]] = []
    if any(cell.agreement for cell in result.cells):
        items: Shown[SweepCell] = value("rated items", lambda cell: cell.agreement.items if cell.agreement else None)
        rated = [items, *_measured("ICC(2,1)", lambda cell: cell.agreement.single if cell.agreement else None)]
    for axis in dict.fromkeys(axis for cell in result.cells if cell.agreement for axis in cell.agreement.shifts):

        def null(cell: SweepCell, axis: str = axis) -> float | None:
            shift = cell.agreement.shifts.get(axis) if cell.agreement else None
            return shift.null_mean if shift else None

        rated += [*_measured(f"DS, {axis}", _shift_of(axis)), value("shuffled", null, RATIO)]
    return finding_table(
        result.cells,
        (
            words("delta", lambda cell: f"{cell.delta:g}", numeric=True),
            value("tau", lambda cell: cell.tau),
            *(value(name, read) for name, read in counts.items()),
            *rated,
            words("", lambda cell: ", ".join(_marks(cell))),
        ),
        block_id="sweep-table",
        title="Every pair of thresholds",
        sortable=True,
    )


def _verdict(result: SweepResult, published: SweepCell) -> Verdict:
    """What the published point keeps, and how far the grid moves each measure, without a judgement."""
    rows = [cell.rows for cell in result.cells]
    spans = []
    for title, (_, read) in _measures(result).items():
        values = [m.value for cell in result.cells if (m := read(cell)) is not None and m.value is not None]
        if values:
            spans.append(
                f"{title.lower() if title.startswith('Rows') else title} {number(min(values))} to {number(max(values))}"
            )
    domain = f"{count(published.with_domain)} with a domain"
    numbers = [KeyNumber(count(published.rows), "rows kept at the published point", domain)]
    if published.agreement is not None:
        single = published.agreement.single
        numbers.append(
            KeyNumber(number(single.value), "ICC(2,1) at the published point", _ends(single) or single.reason)
        )
    return Verdict(
        audit="Corpus",
        tone="unknown",
        headline=f"The published thresholds (delta {PUBLISHED_DELTA:g}, tau {PUBLISHED_TAU}) keep {count(published.rows)} rows; "
        f"over the grid it is {count(min(rows))} to {count(max(rows))}.",
        detail=f"Over {count(len(result.cells))} pairs of thresholds: {'; '.join(spans)}.",
        numbers=tuple(numbers),
        label="Thresholds compared",
    )


def _methods(published: SweepCell) -> list[tuple[str, str]]:
    methods = [
        ("Sweep", "the stored probabilities and fingerprints of one build under other thresholds; no model is asked again"),
        ("Published point", f"delta {PUBLISHED_DELTA:g}, tau {PUBLISHED_TAU}; the ablations behind it were not published"),
    ]  # fmt: skip
    if published.agreement is not None:
        methods.append(("ICC and DS", "on the rated items whose text is kept; items and raters are resampled, for DS of a model "
                     "items alone; DS is reported with its mean over shuffled group labels"))  # fmt: skip
    return methods
