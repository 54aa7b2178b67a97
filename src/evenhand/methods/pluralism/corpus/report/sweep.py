"""A page of its own for a sweep over thresholds of a corpus: delta x tau, with the published point and that of the build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evenhand.methods.pluralism.corpus.sweep import SweepCell, SweepResult
from evenhand.methods.pluralism.corpus.sweep_config import PUBLISHED_DELTA, PUBLISHED_TAU
from evenhand.methods.pluralism.corpus.sweep_ratings import Measured
from evenhand.report.blocks import Block, Cell, Column, Table
from evenhand.report.evidence import Evidence
from evenhand.report.page import KeyNumber, Page, Section, Verdict
from evenhand.report.plane_blocks import Grid, GridCell, GridRow
from evenhand.report.render import write
from evenhand.runs.run import Run
from evenhand.wording import DASH, ORGANISM_NOTICE, count, is_organism, number

LEDE = (
    "A prompt belongs to a domain from the probability delta on, and goes as a near-duplicate where a kept one lies within tau "
    "bits. What would other thresholds have kept, and does agreement hang on them?"
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
    """Title to (what it is, how it is read off a cell), ratings' measures where there are ratings."""
    found: dict[str, tuple[str, Read]] = {
        "Rows kept": ("Prompts that stay, real and synthetic.", lambda c: Measured(c.rows, None)),
        "Rows with a domain": ("Those whose largest probability reaches delta.", lambda c: Measured(c.with_domain, None)),
    }  # fmt: skip
    agreements = [cell.agreement for cell in result.cells if cell.agreement is not None]
    if not agreements:
        return found
    raters = "A rater is a person, or a profile of one field where a model rated. Below each value its 95 % interval."
    found["ICC(2,1)"] = (
        f"Agreement of one rater with another. {raters}",
        lambda c: c.agreement.single if c.agreement else None,
    )
    found["ICC(2,k)"] = (
        f"Agreement of the mean of all raters. {raters}",
        lambda c: c.agreement.average if c.agreement else None,
    )
    for axis in dict.fromkeys(axis for one in agreements for axis in one.shifts):

        def of_axis(cell: SweepCell, axis: str = axis) -> Measured | None:
            if cell.agreement is None:
                return None
            shift = cell.agreement.shifts.get(axis)
            return shift.ds if shift else Measured(None, None, cell.agreement.single.reason)

        told = f"Mean distance of two groups of {axis}, 0 to 1; shuffled groups are in the table. {raters}"
        found[f"DS, {axis}"] = (told, of_axis)
    return found


def _blocks(result: SweepResult) -> list[Block]:
    blocks: list[Block] = []
    for k, (title, (told, read)) in enumerate(_measures(result).items()):
        values = [m.value for cell in result.cells if (m := read(cell)) is not None and m.value is not None]
        full = max((abs(value) for value in values), default=1.0) or 1.0
        rows = [
            GridRow(f"{delta:g}", tuple(_cell(cell, title, read(cell), full) for cell in result.cells if cell.delta == delta))
            for delta in result.deltas
        ]  # fmt: skip
        blocks.append(
            Grid(
                id=f"sweep-{k}", title=title, caption=told, corner="delta", columns=tuple(str(tau) for tau in result.taus),
                spans=(("tau, bits", len(result.taus)),), rows=tuple(rows),
                legend=(("good h6", "darker is more"), ("ring", f"published point ({PUBLISHED_DELTA:g}, {PUBLISHED_TAU})")),
            )
        )  # fmt: skip
    blocks.append(_table(result.cells))
    return blocks


def _cell(cell: SweepCell, title: str, measured: Measured | None, full: float) -> GridCell:
    value, reason = (measured.value, measured.reason) if measured is not None else (None, "not measured")
    ends = _ends(measured)
    marks = _marks(cell)
    where = f"delta {cell.delta:g}, tau {cell.tau}"
    told = f"{title}, {where}: {', '.join(filter(None, (number(value), ends, reason, *marks)))}"
    shade = None if value is None else -abs(value) / full
    return GridCell(number(value), told, shade, " · ".join(filter(None, (ends, *marks))), cell.published)


def _marks(cell: SweepCell) -> list[str]:
    return [word for word, wanted in (("published", cell.published), ("as built", cell.built)) if wanted]


def _ends(measured: Measured | None) -> str:
    interval = measured.interval if measured is not None else None
    return f"{number(interval.low)} to {number(interval.high)}" if interval is not None else ""


def _table(cells: Sequence[SweepCell]) -> Table:
    axes = list(dict.fromkeys(axis for cell in cells if cell.agreement for axis in cell.agreement.shifts))
    rows = []
    for cell in cells:
        one = cell.agreement
        row = [Cell(f"{cell.delta:g}", sort=cell.delta), Cell(str(cell.tau), sort=cell.tau)]
        row += [Cell(count(n), sort=n) for n in (cell.rows, cell.real, cell.synthetic, cell.with_domain)]
        if one is not None:
            row += [Cell(count(one.items), sort=one.items), _number(one.single), Cell(_ends(one.single) or DASH)]
        for axis in axes:
            shift = one.shifts.get(axis) if one is not None else None
            row += [_number(shift.ds if shift else None), Cell(_ends(shift.ds if shift else None) or DASH),
                    Cell(number(shift.null_mean) if shift else DASH)]  # fmt: skip
        rows.append((*row, Cell(", ".join(_marks(cell)))))
    columns = [Column(name, numeric=True) for name in ("delta", "tau", "rows", "real", "synthetic", "with a domain")]
    if any(cell.agreement for cell in cells):
        columns += [Column("rated items", numeric=True), Column("ICC(2,1)", numeric=True), Column("95 % interval")]
    for axis in axes:
        columns += [Column(f"DS, {axis}", numeric=True), Column("95 % interval"), Column("shuffled", numeric=True)]
    return Table(
        id="sweep-table",
        title="Every pair of thresholds",
        columns=(*columns, Column("")),
        rows=tuple(rows),
        sortable=True,
    )


def _number(measured: Measured | None) -> Cell:
    if measured is None:
        return Cell(DASH)
    return Cell(number(measured.value), sort=measured.value, reason=measured.reason if measured.value is None else "")


def _verdict(result: SweepResult, published: SweepCell) -> Verdict:
    """What the published point keeps, and how far the grid moves each measure; nothing is judged."""
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
    told = [
        ("Sweep", "the stored probabilities and fingerprints of one build under other thresholds; no model is asked again"),
        ("Published point", f"delta {PUBLISHED_DELTA:g}, tau {PUBLISHED_TAU}; the ablations behind it were not published"),
    ]  # fmt: skip
    if published.agreement is not None:
        told.append(("ICC and DS", "on the rated items whose text is kept; items and raters are resampled, for DS of a model "
                     "items alone; DS stands beside its mean over shuffled group labels"))  # fmt: skip
    return told
