"""Blocks over two dimensions: a grid of signed values, and points of two quantities on one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from evenhand.report.blocks import Block, Filter, Table
from evenhand.report.scales import Scale


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
    """Two quantities on one scale, small panels beside each other, with the line on which both are equal."""

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
