"""Positions on an axis, as percentages of its width: what lets a figure of real text and SVG marks fit any screen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from evenhand.records import Finding


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
