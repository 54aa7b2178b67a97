"""Figures as SVG images: points where the scale has them, long texts within the image."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from evenhand.report.blocks import Paragraph, Scale, Series, TradeOff, TradePoint
from evenhand.report.figures import Scatter, ScatterPanel, ScatterPoint
from evenhand.report.svg import _wrap, drawable, figure_svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
UNIT = Scale(0.0, 1.0, 0.5)


def scatter(panels: int) -> Scatter:
    points = (ScatterPoint("a", 0.0, 0.0, "low"), ScatterPoint("b", 1.0, 0.5, "high"))
    return Scatter(
        id="s", title="Ratings & <b>", caption="c", scale=UNIT, x_title="people", y_title="model",
        panels=tuple(ScatterPanel(f"panel {n}", points, (("a", "first"), ("b", "second"))) for n in range(panels)),
    )  # fmt: skip


def circles(svg: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(svg)
    return [(float(node.attrib["cx"]), float(node.attrib["cy"])) for node in root.iter(f"{NAMESPACE}circle")]


@pytest.mark.parametrize("panels", [1, 3, 4])
def test_points_of_a_plane_stand_by_its_scale(panels: int) -> None:
    svg = figure_svg(scatter(panels))
    found = circles(svg)
    assert len(found) == 2 * panels
    for low, high in zip(found[::2], found[1::2], strict=True):
        assert high[0] - low[0] == pytest.approx(200)
        assert low[1] - high[1] == pytest.approx(100)
    width = float(ElementTree.fromstring(svg).attrib["width"])
    assert max(x for x, _ in found) < width
    assert len({y for _, y in found}) == 2 * (1 if panels < 4 else 2)
    assert "<b>" not in svg


def test_a_line_joins_the_points_of_a_series_in_order() -> None:
    points = tuple(TradePoint(str(n), x, y, "p") for n, (x, y) in enumerate(((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))))
    block = TradeOff(
        id="t", title="t", caption="c", x=UNIT, y=UNIT, x_title="x", y_title="y", series=(Series("one", points),),
        key=(("0", "plain"),),
    )  # fmt: skip
    root = ElementTree.fromstring(figure_svg(block))
    traces = [node.attrib for node in root.iter(f"{NAMESPACE}line") if node.attrib["stroke-width"] == "2"]
    at = circles(figure_svg(block))
    assert [(float(line["x1"]), float(line["y1"])) for line in traces] == at[:2]
    assert [(float(line["x2"]), float(line["y2"])) for line in traces] == at[1:]


def test_long_texts_are_folded() -> None:
    for text in ("word " * 40, "x" * 300, "字" * 60, "\x1b[31m" + "y" * 90):
        lines = _wrap(text, 120, 12)
        assert max(map(len, lines)) <= 120 / (0.55 * 12)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\x1b", "␛")
    assert _wrap("", 100, 12) == [""]


def test_text_blocks_are_no_figures() -> None:
    assert drawable(Paragraph(text="words")) is None
