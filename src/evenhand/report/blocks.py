"""What a section of the report is made of: typed blocks that know nothing of any audit.

Each block is a frozen dataclass with a ``kind``; ``templates/blocks/<kind>.html.j2`` draws it. A later audit that
needs another kind of figure adds one dataclass and one template. Figures are drawn by template as HTML rows with
inline SVG marks rather than as one picture: every mark is then a link that a keyboard reaches and a screen reader
reads, labels are real text that wraps on a phone, colours follow the light or dark theme, and a strict
Content-Security-Policy holds (drawing libraries put a style attribute on every element, which such a policy forbids).

``Evidence`` maps a facet of the responses (group, name, stem, label, config) to a value; a mark that carries one
opens the responses behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from evenhand.records import Finding

Filter = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Base of every block."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph(Block):
    """A paragraph of plain text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Block):
    """A remark set apart: something to know (``info``) or to beware of (``caution``)."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Literal["info", "caution"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Details(Block):
    """Blocks that open on demand; open in print."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One choice among panels."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels(Block):
    """The same figures for several things (configurations), one shown at a time; all shown without script and in print.

    ``opened`` is the number of the panel shown first, from 0.
    """

    kind: ClassVar[str] = "panels"
    id: str
    title: str
    panels: tuple[Panel, ...]
    opened: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """A table column; ``numeric`` aligns right, ``help`` is shown on the header, ``wide`` gives sentences room."""

    title: str
    numeric: bool = False
    help: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: the text shown, the value to sort by, why it is undefined, the responses behind it, and a bar (0 to 1)."""

    text: str
    sort: float | str | None = None
    reason: str = ""
    evidence: Filter | None = None
    label: str = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Block):
    """A table whose first column holds the row headers. ``title`` may be empty inside a figure."""

    kind: ClassVar[str] = "table"
    id: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    caption: str = ""
    sortable: bool = False


@dataclass(frozen=True, slots=True)
class HeatColumn:
    """A column of a heat map; ``hue`` says which ramp: more is better, worse, or neither."""

    title: str
    hue: Literal["good", "bad", "plain"] = "plain"
    help: str = ""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A share in [0, 1], or None with a reason."""

    value: float | None
    text: str
    label: str
    reason: str = ""
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row of a heat map."""

    title: str
    cells: tuple[HeatCell, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap(Block):
    """Shares by row and column, printed in every cell, with colour as a second cue."""

    kind: ClassVar[str] = "heatmap"
    id: str
    title: str
    caption: str
    corner: str
    columns: tuple[HeatColumn, ...]
    rows: tuple[HeatRow, ...]
    data: Table | None = None

    levels: ClassVar[int] = 10

    @staticmethod
    def level(value: float | None) -> int:
        """The colour step of a share, 0 to 10, on a square-root scale: small shares of a bad label stay visible."""
        if value is None or not value > 0:
            return 0
        return max(1, min(HeatMap.levels, round(HeatMap.levels * math.sqrt(min(1.0, value)))))


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One contrast. ``low`` and ``high`` may be None. ``second`` is another estimate of the same contrast, drawn
    hollow.

    ``state`` is ``"found"``, ``"not found"``, ``"unknown"`` (we cannot tell) or ``"undefined"``.
    """

    title: str
    estimate: float | None
    low: float | None
    high: float | None
    text: str
    note: str
    label: str
    state: Literal["found", "not found", "unknown", "undefined"]
    reason: str = ""
    evidence: Filter | None = None
    second: tuple[float, float | None, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestPlot(Block):
    """Values with intervals. Tick labels are the values times ``tick_factor``; ``tested`` is False where nothing was compared."""

    kind: ClassVar[str] = "forest"
    id: str
    title: str
    caption: str
    scale: Scale
    rows: tuple[ForestRow, ...]
    row_head: str
    text_head: str
    less: str
    more: str
    axis: str
    second_label: str = ""
    unknown_label: str = "we cannot tell"
    tested: bool = True
    tick_factor: float = 100.0
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with an optional interval; ``strong`` highlights it."""

    title: str
    value: float | None
    text: str
    label: str
    low: float | None = None
    high: float | None = None
    reason: str = ""
    strong: bool = False
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Bars that belong together, with the value they share drawn as a line and a sentence below."""

    title: str
    bars: tuple[Bar, ...]
    line: float | None = None
    summary: str = ""
    note: str = ""
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Block):
    """Small multiples of bars on one scale."""

    kind: ClassVar[str] = "bars"
    id: str
    title: str
    caption: str
    scale: Scale
    groups: tuple[BarGroup, ...]
    tick_factor: float = 100.0
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class TradePoint:
    """A point of a trade-off; ``mark`` is the short text drawn at it."""

    mark: str
    x: float
    y: float
    label: str
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points joined in order."""

    title: str
    points: tuple[TradePoint, ...]
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff(Block):
    """Two quantities against each other, one small panel a series with the others behind it in grey."""

    kind: ClassVar[str] = "tradeoff"
    id: str
    title: str
    caption: str
    x: Scale
    y: Scale
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    key: tuple[tuple[str, str], ...] = ()
    tick_factor: float = 100.0
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis; ``at`` is its position in percent."""

    value: float
    at: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis from ``low`` to ``high`` with ticks every ``step``, in the unit of the data."""

    low: float
    high: float
    step: float

    def position(self, value: float) -> float:
        """Percent along the axis, held within it."""
        share = (value - self.low) / (self.high - self.low)
        return 100.0 * min(1.0, max(0.0, share))

    def at(self, value: float) -> str:
        """The position as SVG takes it: ``"41.25%"``."""
        return f"{round(self.position(value), 3):g}%"

    def down(self, value: float) -> str:
        """The position measured from the top, for an axis that grows upward."""
        return f"{round(100.0 - self.position(value), 3):g}%"

    def width(self, start: float, end: float) -> str:
        """The distance between two values, in percent."""
        return f"{round(abs(self.position(end) - self.position(start)), 3):g}%"

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Ticks at whole multiples of the step."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return tuple(Tick(round(i * self.step, 12), self.at(i * self.step)) for i in range(first, last + 1))


def ends(f: Finding | None) -> tuple[float | None, float | None]:
    """Both ends of a finding's interval in the unit of its estimate, or none of them."""
    return (f.interval.low, f.interval.high) if f and f.interval else (None, None)


def nice_scale(
    values: Iterable[float | None],
    *,
    include: Iterable[float] = (0.0,),
    floor: float = -math.inf,
    ceiling: float = math.inf,
    target: int = 5,
    least: float = 1e-9,
) -> Scale:
    """A scale over the finite values whose ends and ticks fall on round numbers (1, 2 or 5 times a power of ten).

    ``include`` holds values that must be on the axis, ``floor`` and ``ceiling`` bound it, ``target`` is about how
    many steps it has, and ``least`` is the narrowest span it shows, so that noise around zero is not drawn as a
    mountain.
    """
    kept = [v for v in (*values, *include) if v is not None and math.isfinite(v)] or [0.0]
    low, high = min(kept), max(kept)
    if high - low < least:
        high = low + least
    raw = (high - low) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))
    low = max(floor, math.floor(low / step + 1e-9) * step)
    high = min(ceiling, math.ceil(high / step - 1e-9) * step)
    return Scale(low, high if high > low else low + step, step)
