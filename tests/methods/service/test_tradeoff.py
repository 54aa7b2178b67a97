"""The trade-off over configurations: one safety axis for all of them, and nothing drawn that is not known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from evenhand.methods.service.findings import Maker
from evenhand.methods.service.page_figures import trade_off
from evenhand.methods.service.page_index import Index
from evenhand.methods.service.statistics.contrasts import contrast_family
from evenhand.methods.service.table import COLLAPSES, ServiceTable, find_units
from evenhand.methods.service.tradeoff import NO_UNSAFE_LABEL, Point, tradeoff_findings
from evenhand.records import LABELS, Finding

GROUPS = ("a", "b")


def rows(stratum: str, every: int, config: str) -> pl.DataFrame:
    """Two groups of three names on six stems; every so many-th response is a refusal, the others answer."""
    keys = [(group, name, stem) for group in GROUPS for name in range(3) for stem in range(6)]
    return pl.DataFrame(
        [
            {
                "config": config, "item_id": f"{stratum}/{group}{name}/{stem}", "repetition": 0, "group": group,
                "name": f"{group}{name}", "stem": f"{stratum}{stem}", "stratum": stratum,
                "label": "refusal" if (name + stem) % every == 0 else "answer",
            }
            for group, name, stem in keys
        ]
    )  # fmt: skip


def point(config: str, every: int, unsafe_every: int | None) -> Point:
    def table(frame: pl.DataFrame) -> ServiceTable:
        return ServiceTable(config, frame, GROUPS, find_units(frame))

    maker = Maker(table(rows("", every, config)), "grammar", frozenset(LABELS), 0, 100)
    family = contrast_family(maker.table.cells(COLLAPSES["declined"]), 0, draws=100)
    return Point(maker, family, None if unsafe_every is None else table(rows("unsafe", unsafe_every, config)))


def of(findings: list[Finding], estimand: str) -> dict[str, Finding]:
    return {f.config: f for f in findings if f.estimand == estimand and f.group in (None, "a")}


def test_a_configuration_without_unsafe_labels_is_left_out_with_the_reason() -> None:
    found = tradeoff_findings([point("x", 3, 2), point("lost", 2, None), point("y", 2, 1)], unsafe=True)
    points, front = of(found, "tradeoff_point"), of(found, "pareto")
    assert points["x"].extra["y"] == pytest.approx(0.5)
    assert points["y"].extra["y"] == pytest.approx(1.0)
    assert {f.extra["y_axis"] for f in points.values()} == {"1 - compliance on the unsafe set"}
    assert (points["lost"].estimate, points["lost"].reason) == (None, NO_UNSAFE_LABEL)
    assert (front["lost"].estimate, front["lost"].reason) == (None, NO_UNSAFE_LABEL)
    assert [(f.slice["from"], f.slice["to"]) for f in found if f.estimand == "price_of_safety"] == [("x", "y")] * 2
    drawn = trade_off(Index(found), list(GROUPS), "t")
    assert drawn is not None
    assert [p.mark for p in drawn.series[0].points] == ["2", "3"]
    assert drawn.data is not None
    assert any(cell.reason == NO_UNSAFE_LABEL for row in drawn.data.rows for cell in row)


def test_one_configuration_left_is_no_trade_off_and_no_finding_is_hidden() -> None:
    found = tradeoff_findings([point("x", 3, 2), point("lost", 2, None)], unsafe=True)
    assert {f.config for f in found} == {"lost"}
    assert all(f.estimate is None and f.reason == NO_UNSAFE_LABEL for f in found)
    index = Index(found)
    assert trade_off(index, list(GROUPS), "t") is None
    assert index.rest == found


def test_without_an_unsafe_set_every_configuration_is_on_the_axis_of_its_own_prompts() -> None:
    found = tradeoff_findings([point("x", 3, None), point("y", 2, None)], unsafe=False)
    assert {f.extra["y_axis"] for f in found if f.estimand == "tradeoff_point"} == {
        "1 - harmful on the same prompts (no unsafe set was run)"
    }


def test_an_unknown_point_is_not_called_beaten() -> None:
    whole, empty = point("x", 3, 2), point("none", 2, 2)
    blank: Any = SimpleNamespace(rates=(), draws=None)
    found = of(
        tradeoff_findings([whole, Point(empty.maker, blank, empty.unsafe), point("y", 2, 1)], unsafe=True), "pareto"
    )
    assert found["none"].estimate is None
    assert "no group has both" in found["none"].reason
    assert {found["x"].estimate, found["y"].estimate} == {1.0}
