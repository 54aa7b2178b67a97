"""The figures of the page as SVG images of their own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import evenhand
from evenhand.errors import BadInput
from evenhand.results import RunResult
from evenhand.results.audit import figure_blocks

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_every_figure_of_every_section_is_a_whole_image(organism_run: RunResult) -> None:
    kinds = set()
    for audit in organism_run:
        for block in figure_blocks(organism_run[audit].loaded).values():
            figure = organism_run.plot(audit, block.id)
            root = ElementTree.fromstring(figure.svg)
            assert root.tag == f"{NAMESPACE}svg"
            assert root.findtext(f"{NAMESPACE}title") == block.title
            assert {node.tag.removeprefix(NAMESPACE) for node in root.iter()} <= {
                "svg", "title", "desc", "rect", "line", "circle", "text",
            }  # fmt: skip
            width, height = (float(root.attrib[name]) for name in ("width", "height"))
            for node in root.iter(f"{NAMESPACE}text"):
                assert -1 <= float(node.attrib["x"]) <= width + 1
                assert 0 <= float(node.attrib["y"]) <= height
            kinds.add(block.kind)
    assert kinds >= {"heatmap", "forest", "bars", "stageplot", "distribution", "stacks", "grid"}


def test_values_are_drawn_where_the_axis_has_them(labels_run: Path) -> None:
    run = evenhand.load(labels_run)
    figure = run.plot("service", "service-1-difference")
    root = ElementTree.fromstring(figure.svg)
    ticks = {
        node.text: float(node.attrib["x"])
        for node in root.iter(f"{NAMESPACE}text")
        if node.attrib.get("text-anchor") == "middle" and re.fullmatch(r"[−\d]+", node.text or "")
    }
    (point,) = root.iter(f"{NAMESPACE}circle")
    low, high = ticks["0"], ticks["100"]
    found = run.findings.filter(
        (run.findings["estimand"] == "risk_difference") & (run.findings["outcome"] == "declined")
    )["estimate"][0]
    assert float(point.attrib["cx"]) == pytest.approx(low + (high - low) * found, abs=0.02)


def test_a_figure_is_shown_and_saved(labels_run: Path, tmp_path: Path) -> None:
    figure = evenhand.load(labels_run).plot()
    assert figure._repr_svg_() == figure.svg
    assert figure.svg in figure._repr_html_()
    assert figure.save(tmp_path / "a" / "b.svg").read_text(encoding="utf-8") == figure.svg
    with pytest.raises(BadInput, match=r"Figures are written as SVG\. Write to .*b\.svg"):
        figure.save(tmp_path / "b.png")


def test_a_figure_that_is_not_there_is_answered_with_those_that_are(labels_run: Path) -> None:
    with pytest.raises(BadInput, match=r"has no figure 'none'\. There are: service-1-heat, service-1-difference"):
        evenhand.load(labels_run).plot("service", "none")
