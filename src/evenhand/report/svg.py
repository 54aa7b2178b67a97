"""A figure of the page as one SVG image with its own colours: for notebooks, papers and slides, where the page's style is absent.

The page itself draws figures as HTML rows with inline marks (see `evenhand.report.blocks`); here the same blocks are laid out
on a canvas of fixed width, in pixels. Nothing in the image is a link or a script, and every text is cleaned and escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from unicodedata import east_asian_width

from evenhand.report.blocks import Bars, Block, ForestPlot, ForestRow, HeatCell, HeatMap, Scale, TradeOff
from evenhand.report.figures import Distribution, Grid, GridCell, Scatter, Stacks, StagePlot
from evenhand.safe_text import clean
from evenhand.wording import number

FigureBlock = ForestPlot | Bars | HeatMap | Grid | Distribution | Stacks | Scatter | StagePlot | TradeOff
_INK, _SOFT, _LINE, _PAPER = "#1c2126", "#565e66", "#dcdedb", "#ffffff"
_BAD, _GOOD, _PLAIN = "#c8500a", "#0072b2", "#5b6770"
_HUES = {"bad": (224, 102, 28), "good": (58, 147, 203), "plain": (141, 151, 159)}
_TONES = ("#c8500a", "#e9a15f", "#8fbfdc", "#2a7fb0", "#8e3b7c", "#dcdedb")
_WIDTH, _EDGE = 760, 20
_LEFT, _RIGHT = 200, 500  # the plotting area of a lane
_SIDE, _GAP = 200, 42  # a small panel, and the room around it


def drawable(block: Block) -> FigureBlock | None:
    """The block, if it is a figure that `figure_svg` draws."""
    return block if isinstance(block, FigureBlock) else None


def figure_svg(block: FigureBlock) -> str:
    """The figure as a whole SVG document, 760 pixels wide (wider for a table of many columns)."""
    canvas = _Canvas()
    canvas.paragraph(block.title, size=15, weight=650)
    canvas.y += 6
    if isinstance(block, ForestPlot):
        _forest(canvas, block)
    elif isinstance(block, Bars):
        _bars(canvas, block)
    elif isinstance(block, Distribution):
        _distribution(canvas, block)
    elif isinstance(block, Stacks):
        _stacks(canvas, block)
    elif isinstance(block, HeatMap | Grid):
        _cells(canvas, block)
    else:
        _planes(canvas, block)
    return canvas.document(block.title, block.caption)


class _Canvas:
    """Marks in order, and how far down the page they reach."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 28.0
        self.width = float(_WIDTH)

    def text(
        self, x: float, y: float, text: str, *, size: int = 13, weight: int = 400, fill: str = _INK, anchor: str = "start"
    ) -> None:  # fmt: skip
        self.parts.append(
            f'<text x="{_px(x)}" y="{_px(y)}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
            f'text-anchor="{anchor}">{_safe(text)}</text>'
        )

    def lines(
        self, x: float, y: float, lines: Sequence[str], *, size: int = 13, weight: int = 400, fill: str = _INK
    ) -> None:
        for place, line in enumerate(lines):
            self.text(x, y + place * (size + 4), line, size=size, weight=weight, fill=fill)

    def paragraph(self, text: str, *, size: int = 13, weight: int = 400, fill: str = _INK) -> None:
        lines = _wrap(text, self.width - 2 * _EDGE, size)
        self.lines(_EDGE, self.y, lines, size=size, weight=weight, fill=fill)
        self.y += len(lines) * (size + 4)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}" stroke="{colour}" '
            f'stroke-width="{width:g}"{dashed}/>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "none", title: str = ""
    ) -> None:
        inner = f"<title>{_safe(title)}</title>" if title else ""
        self.parts.append(
            f'<rect x="{_px(x)}" y="{_px(y)}" width="{_px(max(0.0, width))}" height="{_px(height)}" rx="2" fill="{fill}" '
            f'stroke="{stroke}">{inner}</rect>'
        )

    def circle(self, x: float, y: float, radius: float, fill: str, stroke: str = _PAPER, title: str = "") -> None:
        inner = f"<title>{_safe(title)}</title>" if title else ""
        self.parts.append(
            f'<circle cx="{_px(x)}" cy="{_px(y)}" r="{radius:g}" fill="{fill}" stroke="{stroke}" stroke-width="1.5">'
            f"{inner}</circle>"
        )

    def document(self, title: str, caption: str) -> str:
        height = _px(self.y + 12)
        width = _px(self.width)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'role="img" font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">'
            f"<title>{_safe(title)}</title><desc>{_safe(caption)}</desc>"
            f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>{"".join(self.parts)}</svg>'
        )

    def lanes(self, scale: Scale, rows: Iterable[_Lane], factor: float, suffix: str = "") -> None:
        """A title, a strip of the plotting area, and a text, for each row; then the axis."""
        top = self.y
        strips = []
        for title, text, note, draw in rows:
            words, value_lines = _wrap(title, _LEFT - _EDGE - 14, 13), _wrap(text, _WIDTH - _RIGHT - 35, 13)
            notes = _wrap(note, _WIDTH - _RIGHT - 35, 11) if note else []
            height = max(26.0, 17.0 * max(len(words), len(value_lines) + len(notes)) + 9)
            self.lines(_EDGE, self.y + 17, words)
            self.lines(_RIGHT + 18, self.y + 17, value_lines, weight=600 if note else 400)
            self.lines(_RIGHT + 18, self.y + 17 + 17 * len(value_lines), notes, size=11, fill=_SOFT)
            strips.append((draw, self.y, height))
            self.y += height
        for tick in scale.ticks:
            self.line(
                _across(scale, tick.value), top, _across(scale, tick.value), self.y, _SOFT if tick.value == 0 else _LINE
            )
            label = number(round(tick.value * factor, 9)) + suffix
            self.text(_across(scale, tick.value), self.y + 15, label, size=11, fill=_SOFT, anchor="middle")
        for draw, y, height in strips:
            draw(y, height)
        self.y += 32

    def head(self, left: str, less: str, more: str, right: str) -> None:
        """The words above the lanes."""
        self.text(_EDGE, self.y + 14, left, size=11, fill=_SOFT)
        if less or more:
            self.text(_LEFT, self.y + 14, f"← {less}", size=11, fill=_SOFT)
            self.text(_RIGHT, self.y + 30, f"{more} →", size=11, fill=_SOFT, anchor="end")
            self.y += 16
        lines = _wrap(right, _WIDTH - _RIGHT - 35, 11)
        self.lines(_RIGHT + 18, self.y + 14, lines, size=11, fill=_SOFT)
        self.y += 6 + 15 * len(lines)


_Draw = Callable[[float, float], None]
_Lane = tuple[str, str, str, _Draw]


def _across(scale: Scale, value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * scale.position(value) / 100


def _forest(canvas: _Canvas, block: ForestPlot) -> None:
    def mark(row: ForestRow) -> _Draw:
        def draw(y: float, height: float) -> None:
            middle = y + height * (0.4 if row.second else 0.5)
            if row.second:
                estimate, low, high = row.second
                below = y + height * 0.72
                if low is not None and high is not None:
                    canvas.line(_across(block.scale, low), below, _across(block.scale, high), below, _PLAIN, 1.25)
                canvas.circle(_across(block.scale, estimate), below, 3, _PAPER, _PLAIN)
            if row.estimate is None:
                return
            found, unknown = row.state == "found", row.state == "unknown"
            colour = _BAD if found else _PLAIN
            if row.low is not None and row.high is not None:
                ends = _across(block.scale, row.low), _across(block.scale, row.high)
                canvas.line(ends[0], middle, ends[1], middle, colour, 2.5, "1 6" if unknown else "")
            canvas.circle(
                _across(block.scale, row.estimate), middle, 5.5, _PAPER if unknown else colour,
                colour if unknown else _PAPER, row.label,
            )  # fmt: skip

        return draw

    canvas.head(block.row_head, block.less, block.more, block.text_head)
    canvas.lanes(block.scale, [(r.title, r.text, r.note, mark(r)) for r in block.rows], block.tick_factor)
    canvas.paragraph(block.axis, size=11, fill=_SOFT)
    words = ["filled and orange: difference found; filled and grey: none found; hollow: " + block.unknown_label]
    words = words if block.tested else []
    if block.second_label:
        words.append(f"small and hollow: {block.second_label}")
    if words:
        canvas.paragraph("; ".join(words), size=11, fill=_SOFT)


def _bars(canvas: _Canvas, block: Bars) -> None:
    for group in block.groups:
        canvas.y += 10
        canvas.paragraph(" — ".join(filter(None, (group.title, group.summary))), weight=600)

        def mark(
            value: float | None, low: float | None, high: float | None, strong: bool, label: str, shared: float | None
        ) -> _Draw:
            def draw(y: float, height: float) -> None:
                zero, middle = _across(block.scale, 0), y + height / 2
                if value is not None:
                    end = _across(block.scale, value)
                    canvas.rect(
                        min(zero, end), y + 5, abs(end - zero), height - 10, _BAD if strong else "#a5acb2", title=label
                    )
                    if low is not None and high is not None:
                        canvas.line(_across(block.scale, low), middle, _across(block.scale, high), middle, _INK, 1.25)
                if shared is not None:
                    canvas.line(
                        _across(block.scale, shared), y, _across(block.scale, shared), y + height, _INK, 1.25, "3 3"
                    )

            return draw

        lanes = [(b.title, b.text, "", mark(b.value, b.low, b.high, b.strong, b.label, group.line)) for b in group.bars]
        canvas.lanes(block.scale, lanes, block.tick_factor, "%")
        if group.note:
            canvas.paragraph(group.note, size=11, fill=_SOFT)


def _distribution(canvas: _Canvas, block: Distribution) -> None:
    def mark(quantiles: Sequence[float], label: str) -> _Draw:
        def draw(y: float, height: float) -> None:
            at = [_across(block.scale, value) for value in quantiles]
            middle = y + height / 2
            canvas.line(at[0], middle, at[4], middle, _PLAIN, 2)
            canvas.rect(at[1], y + height * 0.28, at[3] - at[1], height * 0.44, "#b4bac0", title=label)
            canvas.line(at[2], y + height * 0.2, at[2], y + height * 0.8, _INK, 2)

        return draw

    canvas.head(block.row_head, block.less, block.more, block.text_head)
    lanes = [(row.title, row.text, "", mark(row.quantiles, row.label)) for row in block.rows]
    canvas.lanes(block.scale, lanes, block.tick_factor)


def _stacks(canvas: _Canvas, block: Stacks) -> None:
    x = float(_EDGE)
    for tone, name in enumerate(block.legend):
        room = 22 + _length(name, 11) + 14
        if x + room > canvas.width - _EDGE and x > _EDGE:
            x, canvas.y = float(_EDGE), canvas.y + 18
        canvas.rect(x, canvas.y, 12, 12, _TONES[tone % len(_TONES)])
        canvas.text(x + 18, canvas.y + 10, name, size=11, fill=_SOFT)
        x += room
    canvas.y += 22
    canvas.head(block.row_head, "", "", block.text_head)
    unit = Scale(0.0, 1.0, 0.25)
    lanes: list[_Lane] = []
    for row in block.rows:
        parts = list(zip(row.starts(), row.segments, strict=True))

        def draw(y: float, height: float, parts: Sequence[tuple[float, object]] = parts) -> None:
            for start, part in parts:
                share, tone, label = part.share, part.tone, part.label  # type: ignore[attr-defined]
                width = _across(unit, start + share) - _across(unit, start)
                canvas.rect(
                    _across(unit, start), y + 5, width, height - 10, _TONES[(tone - 1) % len(_TONES)], title=label
                )

        lanes.append((row.title, row.text, "", draw))
    canvas.lanes(unit, lanes, 100.0, "%")


def _cells(canvas: _Canvas, block: HeatMap | Grid) -> None:
    heads = [column if isinstance(column, str) else column.title for column in block.columns]
    wide = max(64.0, (_WIDTH - _LEFT - _EDGE) / max(1, len(heads)))
    canvas.width = max(canvas.width, _LEFT + wide * len(heads) + _EDGE)
    if isinstance(block, Grid) and block.spans:
        x = float(_LEFT)
        for title, size in block.spans:
            canvas.text(x + wide * size / 2, canvas.y + 12, title, size=11, weight=600, anchor="middle")
            x += wide * size
        canvas.y += 18
    folded = [_wrap(title, wide - 6, 11) for title in heads]
    for place, lines in enumerate(folded):
        for depth, line in enumerate(lines):
            across, down = _LEFT + wide * (place + 0.5), canvas.y + 12 + 14 * depth
            canvas.text(across, down, line, size=11, fill=_SOFT, anchor="middle")
    canvas.text(_EDGE, canvas.y + 12, block.corner, size=11, fill=_SOFT)
    canvas.y += 8 + 14 * max((len(lines) for lines in folded), default=1)
    for row in block.rows:
        words = _wrap(" ".join(filter(None, (row.title, row.note))), _LEFT - _EDGE - 10, 13)
        height = max(30.0, 17.0 * len(words) + 10)
        canvas.lines(_EDGE, canvas.y + 19, words)
        cells: tuple[GridCell | HeatCell, ...] = row.cells
        for place, cell in enumerate(cells):
            x = _LEFT + wide * place
            stroke = "none"
            if isinstance(cell, GridCell):
                share, hue, note = abs(cell.shade or 0.0), "bad" if (cell.shade or 0) > 0 else "good", cell.note
                stroke = _INK if cell.strong else "none"
            else:
                column = block.columns[place]
                share, hue, note = cell.value or 0.0, "plain" if isinstance(column, str) else column.hue, ""
            canvas.rect(x + 1.5, canvas.y + 1.5, wide - 3, height - 3, _shade(hue, share), stroke, cell.label)
            canvas.text(x + wide / 2, canvas.y + height / 2 + (0 if note else 4), cell.text, size=12, anchor="middle")
            if note:
                canvas.text(x + wide / 2, canvas.y + height / 2 + 12, note, size=9, fill=_SOFT, anchor="middle")
        canvas.y += height


def _shade(hue: str, share: float) -> str:
    """White to the hue, on a square-root scale, as the cells of the page."""
    part = 0.75 * math.sqrt(min(1.0, max(0.0, share)))
    return "#" + "".join(f"{round(255 + (value - 255) * part):02x}" for value in _HUES[hue])


def _planes(canvas: _Canvas, block: Scatter | StagePlot | TradeOff) -> None:
    if isinstance(block, StagePlot):
        canvas.paragraph(f"Across: the stages. Up: {block.y_title}.", size=11, fill=_SOFT)
        names = [line.title for line in block.lines]
    else:
        canvas.paragraph(f"Across: {block.x_title}. Up: {block.y_title}.", size=11, fill=_SOFT)
        names = [part.title for part in (block.panels if isinstance(block, Scatter) else block.series)]
    beside = max(1, int((_WIDTH - _EDGE) // (_SIDE + _GAP)))
    for first in range(0, len(names), beside):
        top = canvas.y + 34
        for place, at in enumerate(range(first, min(first + beside, len(names)))):
            x = _EDGE + 36 + place * (_SIDE + _GAP)
            canvas.lines(x, top - 20, _wrap(names[at], _SIDE, 12)[:2], size=12, weight=600)
            _plane(canvas, block, at, x, top + 6)
        canvas.y = top + _SIDE + 30
    if isinstance(block, Scatter):
        for panel in block.panels:
            keyed = "; ".join(f"{mark} {text}" for mark, text in panel.key)
            canvas.paragraph(f"{panel.title}: {keyed}", size=11, fill=_SOFT)
    elif isinstance(block, TradeOff) and block.key:
        canvas.paragraph("; ".join(f"{mark} {text}" for mark, text in block.key), size=11, fill=_SOFT)


def _plane(canvas: _Canvas, block: Scatter | StagePlot | TradeOff, at: int, x: float, y: float) -> None:
    """One small panel: its grid, the other lines in grey, and its points."""
    up = block.scale if isinstance(block, Scatter) else block.y

    def down(value: float) -> float:
        return y + _SIDE * (1 - up.position(value) / 100)

    for tick in up.ticks:
        canvas.line(x, down(tick.value), x + _SIDE, down(tick.value), _SOFT if tick.value == 0 else _LINE)
        label = number(round(tick.value * block.tick_factor, 9))
        canvas.text(x - 5, down(tick.value) + 4, label, size=10, fill=_SOFT, anchor="end")
    if isinstance(block, StagePlot):

        def stage(number_of: int) -> float:
            return x + _SIDE * (number_of + 0.5) / len(block.stages)

        for place, name in enumerate(block.stages):
            canvas.text(stage(place), y + _SIDE + 14, name, size=10, fill=_SOFT, anchor="middle")
        for line in sorted(block.lines, key=lambda one: one is block.lines[at]):
            own = line is block.lines[at]
            for point in line.points:
                before = line.at(point.after) if point.after is not None else None
                if before is not None:
                    ends = stage(before.stage), down(before.value), stage(point.stage), down(point.value)
                    canvas.line(*ends, _INK if own else _LINE, 2 if own else 1)
        for point in block.lines[at].points:
            if point.low is not None and point.high is not None:
                canvas.line(stage(point.stage), down(point.low), stage(point.stage), down(point.high), _PLAIN, 2)
            fill = _BAD if point.strong else _PLAIN
            canvas.circle(stage(point.stage), down(point.value), 5, fill, title=point.label)
        return
    across = block.scale if isinstance(block, Scatter) else block.x

    def right(value: float) -> float:
        return x + _SIDE * across.position(value) / 100

    for tick in across.ticks:
        canvas.line(right(tick.value), y, right(tick.value), y + _SIDE, _SOFT if tick.value == 0 else _LINE)
        label = number(round(tick.value * block.tick_factor, 9))
        canvas.text(right(tick.value), y + _SIDE + 14, label, size=10, fill=_SOFT, anchor="middle")
    if isinstance(block, TradeOff):
        for series in sorted(block.series, key=lambda one: one is block.series[at]):
            own = series is block.series[at]
            for start, end in pairwise(series.points):
                ends = right(start.x), down(start.y), right(end.x), down(end.y)
                canvas.line(*ends, _INK if own else _LINE, 2 if own else 1)
    else:
        canvas.line(x, y + _SIDE, x + _SIDE, y, _SOFT, 1, "3 3")
    for mark in block.series[at].points if isinstance(block, TradeOff) else block.panels[at].points:
        canvas.circle(right(mark.x), down(mark.y), 7.5, _PAPER, _PLAIN, mark.label)
        canvas.text(right(mark.x), down(mark.y) + 3.5, mark.mark, size=10, anchor="middle")


def _px(value: float) -> str:
    return f"{round(value, 2):g}"


def _safe(text: str) -> str:
    return escape(clean(text))


def _length(text: str, size: int) -> float:
    """About how many pixels a text takes."""
    return sum(size if east_asian_width(letter) in "WF" else 0.55 * size for letter in text)


def _wrap(text: str, width: float, size: int) -> list[str]:
    """A text in lines of about ``width`` pixels; a word longer than a line is broken."""
    lines: list[str] = [""]
    for word in clean(text).split():
        while _length(word, size) > width and len(word) > 1:
            kept = (
                max(1, int(width / size))
                if any(east_asian_width(c) in "WF" for c in word)
                else max(1, int(width / (0.55 * size)))
            )
            if lines[-1]:
                lines.append("")
            lines[-1], word = word[:kept], word[kept:]
            lines.append("")
        joined = f"{lines[-1]} {word}".strip()
        if lines[-1] and _length(joined, size) > width:
            lines.append(word)
        else:
            lines[-1] = joined
    return [line for line in lines if line] or [""]
