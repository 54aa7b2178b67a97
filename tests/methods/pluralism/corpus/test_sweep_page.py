"""The page of a sweep over thresholds: every cell, both marked points, intervals where there are ratings, hostile names inert."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.sweep import SweepCell, SweepResult
from evenhand.methods.pluralism.corpus.sweep_page import write_sweep_page
from evenhand.methods.pluralism.corpus.sweep_ratings import Agreement, AxisShift, Measured
from evenhand.methods.pluralism.corpus.wording import NONE
from evenhand.records import Interval
from evenhand.runs.run import Run
from evenhand.wording import ORGANISM_NOTICE

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e"
DELTAS, TAUS = (0.3, 0.5, 0.9), (0, 6, 10)


def measured(value: float) -> Measured:
    return Measured(value, Interval(value - 0.01, value + 0.02, 0.95, "t"))


def agreement(value: float, axes: Sequence[str]) -> Agreement:
    shifts = {axis: AxisShift(measured(value / 2), 0.015, 0.01, 2) for axis in axes}
    return Agreement(40, 12, measured(value), measured(0.9), 12.0, shifts)


def swept(axes: Sequence[str] = (), *, rated: bool = False) -> SweepResult:
    cells = []
    for d, delta in enumerate(DELTAS):
        for t, tau in enumerate(TAUS):
            rows = 1300 - 100 * d - 10 * t
            found = agreement(0.2 + 0.05 * d, axes) if rated else None
            if rated and delta == 0.9:
                found = Agreement(
                    0, 0, Measured(None, None, "fewer than 2 rated items"), Measured(None, None, ""), None, {}
                )
            point = (delta, tau) == (0.5, 10)
            cells.append(
                SweepCell(
                    delta,
                    tau,
                    point,
                    (delta, tau) == (0.3, 6),
                    rows,
                    rows - 7,
                    7,
                    {NONE: 300, "x": rows - 300},
                    found,
                )
            )
    return SweepResult(tuple(cells), DELTAS, TAUS, ("A note on thresholds.",))


def build(folder: Path, spec: str) -> Path:
    run = Run.start(folder, {"identities": {"classifier": {"spec": spec}}}, resume=False)
    run.release()
    return folder


def cells_of(text: str, block: str) -> list[str]:
    figure = text.split(f'<figure class="figure" id="{block}"')[1].split("</figure>")[0]
    return re.findall(r'<td class="([^"]*)">(.*?)</td>', figure, re.DOTALL)  # type: ignore[return-value]


def test_every_pair_is_told_and_both_points_are_marked(tmp_path: Path, inert: Callable[..., None]) -> None:
    path = write_sweep_page(build(tmp_path / "run", "http://host/v1#m"), swept(), tmp_path / "out" / "sweep.html")
    text = path.read_text(encoding="utf-8")
    inert(text, "sweep-0", "sweep-1", "sweep-table")
    assert 'id="sweep-2"' not in text  # no ratings, no agreement
    cells = cells_of(text, "sweep-0")
    assert len(cells) == 1 + 9  # the corner above
    ringed = [body for classes, body in cells if "ring" in classes]
    assert len(ringed) == 1
    assert "1,180" in ringed[0]
    assert "published" in ringed[0]
    assert [("1,290" in body) for _, body in cells if "as built" in body] == [True]
    assert "The published thresholds (delta 0.5, tau 10) keep 1,180 rows; over the grid it is 1,080 to 1,300." in text
    assert "A note on thresholds." in text
    assert ORGANISM_NOTICE not in text
    assert "labels without texts" not in text


def test_agreement_has_its_intervals_and_its_reasons(tmp_path: Path, inert: Callable[..., None]) -> None:
    folder = build(tmp_path / "run", "organism/aligned")
    text = write_sweep_page(folder, swept(("gender", HOSTILE), rated=True), tmp_path / "sweep.html").read_text()
    inert(text, *(f"sweep-{k}" for k in range(6)), "sweep-table")
    single = cells_of(text, "sweep-2")
    assert any("0.25" in body and "0.24 to 0.27 · published" in body for classes, body in single if "ring" in classes)
    assert "ICC(2,1), delta 0.9, tau 0: —, fewer than 2 rated items" in text
    shift = cells_of(text, "sweep-4")
    assert any("0.125" in body and "0.115 to 0.145" in body for _, body in shift)
    assert ORGANISM_NOTICE in text


def test_a_deeper_shade_is_more(tmp_path: Path) -> None:
    text = write_sweep_page(build(tmp_path / "run", "hf/x"), swept(), tmp_path / "sweep.html").read_text()
    steps = [int(classes.split("h")[-1]) for classes, _ in cells_of(text, "sweep-1")[1:]]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == 10


def test_a_folder_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        write_sweep_page(tmp_path, swept(), tmp_path / "sweep.html")
    assert not (tmp_path / "sweep.html").exists()


@pytest.mark.browser
def test_the_page_works_in_a_browser(tmp_path: Path, open_file: Any) -> None:
    path = write_sweep_page(build(tmp_path / "run", "hf/x"), swept(("gender",), rated=True), tmp_path / "sweep.html")
    for settings in ({}, {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}):
        watched = open_file(path, **settings)
        assert watched.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        watched.clean(path.as_uri())
