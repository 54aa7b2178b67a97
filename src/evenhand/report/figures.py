"""Blocks of figures: lines by stage, distributions, stacked shares, grids of signed values, and points of two quantities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from evenhand.report.blocks import Block, Filter, Scale, Table


@dataclass(frozen=True, slots=True)
class GridCell:
    """A cell: what is printed, with a ``note`` below it. ``shade`` from -1 to 1 colours it, None leaves it plain.

    ``strong`` rings a cell that stands out, ``faint`` sets one back of which nothing is claimed.
    """

    text: str
    label: str
    shade: float | None = None
    note: str = ""
    strong: bool = False
    faint: bool = False
    reason: str = ""
    evidence: Filter | None = None

    @property
    def classes(self) -> str:
        """Its hue (above zero ``bad``, below ``good``), its step on a square-root scale, and whether it is ringed or faint."""
        parts = [name for name, wanted in (("ring", self.strong), ("faint", self.faint)) if wanted]
        if self.shade:
            parts += [
                "bad" if self.shade > 0 else "good",
                f"h{max(1, round(10 * math.sqrt(min(1.0, abs(self.shade)))))}",
            ]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class GridRow:
    """A row of a grid."""

    title: str
    cells: tuple[GridCell, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(Block):
    """Values by row and column, printed in every cell, with colour as a second cue.

    ``spans`` heads runs of columns: (title, columns). ``legend`` is rows of (class names, words), shown with a sample.
    """

    kind: ClassVar[str] = "grid"
    id: str
    title: str
    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]
    spans: tuple[tuple[str, int], ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class ScatterPoint:
    """A point; ``mark`` is the letter drawn at it, ``faint`` one of which nothing is claimed."""

    mark: str
    x: float
    y: float
    label: str
    faint: bool = False
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class ScatterPanel:
    """The points of one panel, what their letters mean, and what was measured of them."""

    title: str
    points: tuple[ScatterPoint, ...]
    key: tuple[tuple[str, str], ...]
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter(Block):
    """Two quantities on one scale, small panels side by side, with the line on which both are equal."""

    kind: ClassVar[str] = "scatter"
    id: str
    title: str
    caption: str
    scale: Scale
    x_title: str
    y_title: str
    panels: tuple[ScatterPanel, ...]
    tick_factor: float = 100.0
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class StagePoint:
    """A value at one stage; ``stage`` is the number of its column from 0, ``after`` that of the stage it came from.

    ``strong`` marks a change from the stage before that was found.
    """

    stage: int
    value: float
    label: str
    low: float | None = None
    high: float | None = None
    after: int | None = None
    strong: bool = False
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class StageLine:
    """One group over the stages; ``summary`` says in a few words what happened."""

    title: str
    points: tuple[StagePoint, ...]
    summary: str = ""

    def at(self, stage: int) -> StagePoint | None:
        """The point of a stage, if there is one."""
        return next((point for point in self.points if point.stage == stage), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlot(Block):
    """A line a group from stage to stage, one small panel each, the other groups behind it in grey."""

    kind: ClassVar[str] = "stageplot"
    id: str
    title: str
    caption: str
    stages: tuple[str, ...]
    y: Scale
    y_title: str
    lines: tuple[StageLine, ...]
    tick_factor: float = 1.0
    data: Table | None = None

    def across(self, stage: int) -> str:
        """Position of a stage's column, in percent."""
        return f"{round(100 * (stage + 0.5) / len(self.stages), 3):g}%"


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of one distribution: 5, 25, 50, 75 and 95 %."""

    title: str
    quantiles: tuple[float, float, float, float, float]
    text: str
    label: str
    strong: bool = False
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution(Block):
    """Distributions on one scale: a thin line from 5 to 95 %, a box over the middle half, a bar at the median."""

    kind: ClassVar[str] = "distribution"
    id: str
    title: str
    caption: str
    scale: Scale
    rows: tuple[Spread, ...]
    row_head: str
    text_head: str
    less: str
    more: str
    tick_factor: float = 1.0
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stack: its share (0 to 1), and ``tone`` 1 to 6, the number of its colour in the legend."""

    share: float
    tone: int
    label: str


@dataclass(frozen=True, slots=True)
class Stack:
    """One bar of shares that sum to 1."""

    title: str
    segments: tuple[Segment, ...]
    text: str
    label: str
    evidence: Filter | None = None

    def starts(self) -> tuple[float, ...]:
        """Where each segment begins, 0 to 1."""
        found, at = [], 0.0
        for segment in self.segments:
            found.append(at)
            at += segment.share
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks(Block):
    """Stacked shares, one bar a group. ``legend`` names the tones in order."""

    kind: ClassVar[str] = "stacks"
    id: str
    title: str
    caption: str
    legend: tuple[str, ...]
    rows: tuple[Stack, ...]
    row_head: str
    text_head: str
    data: Table | None = None
