"""Finding tables: values by unit, reasons of what is undefined, intervals, small p values, links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evenhand.records import Finding, HypothesisTest, Interval
from evenhand.report.blocks import Cell, Table
from evenhand.report.finding_table import (
    COEFFICIENT,
    COUNT,
    FINDING,
    NAT_SIZE,
    NATS,
    POINT_SIZE,
    POINTS,
    RATIO,
    SCALE,
    SHARE,
    SMALL_SHARE,
    FindingColumns,
    Shown,
    Unit,
    cells,
    finding_table,
    first_p,
    range_text,
    unit_of,
    value,
    value_cell,
    words,
)
from evenhand.wording import DASH


def made(estimate: float | None = 0.25, unit: str = "probability", **changes: Any) -> Finding:
    """A finding with an interval of a tenth around its estimate."""
    interval = None if estimate is None else Interval(estimate - 0.05, estimate + 0.05, 0.95, "t")
    plain = Finding(
        "f", "service", "rate", "declined", "m", "muslim", "white", estimate, unit, interval=interval, n=1200
    )
    return replace(plain, **changes)


def only(f: Finding, column: Shown[Finding]) -> Cell:
    """The cell of a table of one finding and one column."""
    table = finding_table([f], (column,), block_id="t")
    assert isinstance(table, Table)
    ((cell,),) = table.rows
    return cell


@pytest.mark.parametrize(
    ("unit", "estimate", "text", "interval"),
    [
        ("probability", 0.25, "25.0%", "20.0% to 30.0%"),
        ("difference of probabilities", 0.25, "+25.0", "+20.0 to +30.0"),
        ("difference of probabilities", -0.25, "\u221225.0", "\u221230.0 to \u221220.0"),
        ("nats", 0.25, "+0.25", "+0.20 to +0.30"),
        ("rating", 0.25, "0.250", "0.200 to 0.300"),
        ("ratio", 1.8732, "1.87", "1.82 to 1.92"),
        ("a unit of some plug-in", 1234.5, "1,234", "1,234 to 1,235"),
    ],
)
def test_an_estimate_and_its_interval_are_printed_in_the_unit_of_the_finding(
    unit: str, estimate: float, text: str, interval: str
) -> None:
    f = made(estimate, unit)
    shown = only(f, FINDING.estimate("value"))
    assert (shown.text, shown.sort, shown.reason) == (text, estimate, "")
    ends = only(f, FINDING.interval())
    assert ends.text == interval == range_text(f)
    assert f.interval is not None
    assert ends.sort == f.interval.low


@pytest.mark.parametrize(
    ("unit", "number", "text"),
    [
        (SHARE, 0.271, "27.1%"),
        (SMALL_SHARE, 0.0013, "0.13%"),
        (POINTS, 0.0, "0.0"),
        (POINT_SIZE, 0.12, "12.0"),
        (NATS, -0.98, "\u22120.98"),
        (NAT_SIZE, 0.98, "0.98"),
        (COUNT, 12345, "12,345"),
        (RATIO, 0.5, "0.5"),
        (COEFFICIENT, 0.714, "0.71"),
        (SCALE, -0.052, "\u22120.052"),
    ],
)
def test_every_unit_prints_numbers_and_dashes(unit: Unit, number: float, text: str) -> None:
    assert unit.text(number) == text
    for nothing in (None, float("nan"), float("inf")):
        assert unit.text(nothing) == DASH
        assert unit.alone(nothing) == DASH
        assert unit.range(number, nothing) == DASH


def test_a_value_that_stands_alone_has_its_unit() -> None:
    assert NATS.alone(0.5) == "+0.50 nats"
    assert POINTS.alone(-0.1) == "\u221210.0 points"
    assert SHARE.alone(0.1) == "10.0%"


def test_the_unit_of_a_column_can_be_set() -> None:
    f = made(0.714, "kappa")
    assert unit_of(f) is RATIO
    assert only(f, FINDING.estimate("kappa", unit=COEFFICIENT)).text == "0.71"
    assert only(f, FINDING.interval(unit=COEFFICIENT)).text == "0.66 to 0.76"


def test_an_undefined_estimate_is_a_dash_with_its_reason() -> None:
    f = made(None, reason="The reference rate is 0.")
    for column in (FINDING.estimate("value"), FINDING.interval(), FINDING.p(), FINDING.estimate("v", interval=True)):
        shown = only(f, column)
        assert (shown.text, shown.sort, shown.reason) == (DASH, None, "The reference rate is 0.")
    assert only(made(None), FINDING.estimate("value")).reason == "not measured"
    assert only(made(float("nan"), reason="nothing varies"), FINDING.estimate("value")).reason == "nothing varies"


def test_a_missing_interval_or_test_says_so_and_the_estimate_stays() -> None:
    f = made(interval=None)
    assert only(f, FINDING.estimate("value")).text == "25.0%"
    assert only(f, FINDING.estimate("value", interval=True)).text == "25.0%"
    assert only(f, FINDING.interval()) == Cell(DASH, reason="no interval")
    assert only(f, FINDING.p()) == Cell(DASH, reason="not tested")
    assert range_text(f) == range_text(None) == DASH


def test_an_interval_may_share_the_cell_of_its_estimate() -> None:
    assert only(made(), FINDING.estimate("value", interval=True)).text == "25.0% (20.0% to 30.0%)"
    assert only(made(0.03, "difference of probabilities"), FINDING.estimate("v", interval=True)).text == (
        "+3.0 (\u22122.0 to +8.0)"
    )


@pytest.mark.parametrize(
    ("p", "text"),
    [(2e-17, "2.0e\u221217"), (3e-9, "3.0e\u221209"), (0.00062, "0.00062"), (0.04, "0.040"), (0.999, "1")],
)
def test_a_small_p_is_never_printed_as_zero(p: float, text: str) -> None:
    f = made(test=HypothesisTest(None, "permutation", p_holm=p))
    shown = only(f, FINDING.p())
    assert shown.sort == p
    assert shown.text == text
    assert shown.text not in ("0", "0.0", "0.00", "0.000")


def test_the_first_known_p_is_taken_in_the_order_asked_for() -> None:
    f = made(test=HypothesisTest(0.01, "permutation", smallest_p=0.001, q_bh=0.03))
    assert first_p(f, "p_holm", "q_bh", "p") == 0.03
    assert only(f, FINDING.p("adjusted p", "p_holm", "q_bh", "p")).text == "0.030"
    assert only(f, FINDING.p("p", "p")).text == "0.010"
    assert only(f, FINDING.p("Smallest p", "smallest_p")).text == "0.0010"
    assert only(f, FINDING.p()).reason == "not tested"
    assert first_p(None, "p") is None


def test_sizes_come_from_rows_or_from_clusters() -> None:
    f = made(clusters={"raters": 17})
    assert only(f, FINDING.size()) == Cell("1,200", sort=1200)
    assert only(f, FINDING.size("raters", cluster="raters")) == Cell("17", sort=17)
    assert only(f, FINDING.size("texts", cluster="items")).reason == "not measured"


def test_numbers_beside_the_estimate() -> None:
    f = made(reason="too few", extra={"count": 12, "share": 0.5, "none": None, "wald": [0.1, 0.2]})
    assert only(f, FINDING.field("count", "count")) == Cell("12", sort=12)
    assert only(f, FINDING.field("share", "share", SHARE)).text == "50.0%"
    assert only(f, FINDING.field("none", "none")) == Cell(DASH, reason="too few")
    assert only(f, FINDING.field_range("Wald", "wald")) == Cell("10.0% to 20.0%", sort=0.1)
    assert only(f, FINDING.field_range("Bootstrap", "percentile")).reason == "too few"


def test_an_estimate_links_to_the_rows_behind_it_unless_it_is_undefined() -> None:
    column = FINDING.estimate("value", evidence=lambda f: {"group": str(f.group)}, label=lambda f: f"{f.group}: 25%")
    shown = only(made(), column)
    assert shown.evidence == {"group": "muslim"}
    assert shown.label == "muslim: 25%"
    assert only(made(None), column).evidence is None
    text = words("Group", lambda f: f.group, evidence=lambda f: {"group": str(f.group)}, label=lambda f: "the group")
    assert only(made(), text) == Cell("muslim", evidence={"group": "muslim"}, label="the group")


def test_a_decision_is_one_of_two_words() -> None:
    assert only(made(), FINDING.decision("change", lambda f: True)).text == "found"
    assert only(made(), FINDING.decision("change", lambda f: False)).text == "not found"
    assert only(made(), FINDING.decision("gate", lambda f: True, ("keeps", "loses"))).text == "keeps"


def test_several_findings_share_a_row_and_a_missing_one_has_its_reason() -> None:
    Row = tuple[Finding, Finding | None]
    own = FindingColumns[Row](lambda row: row[0])
    gap = FindingColumns[Row](lambda row: row[1], "the reference group")
    columns = (
        own.estimate("rate"),
        gap.estimate("gap"),
        gap.interval(),
        gap.p(),
        gap.size(),
        gap.field("x", "x"),
        gap.field_range("y", "y"),
        gap.decision("found", lambda f: True),
    )
    table = finding_table([(made(), made(-0.1, "difference of probabilities")), (made(), None)], columns, block_id="t")
    assert table is not None
    first, second = table.rows
    assert [cell.text for cell in first[:3]] == ["25.0%", "\u221210.0", "\u221215.0 to \u22125.0"]
    assert second[0].text == "25.0%"
    assert {(cell.text, cell.reason) for cell in second[1:]} == {(DASH, "the reference group")}


def test_columns_of_other_numbers_words_and_cells() -> None:
    rows = [{"name": "Ann", "k": 3}, {"name": None, "k": None}]
    table = finding_table(
        rows,
        (
            words("name", lambda row: row["name"], note="who", wide=True),
            value("k", lambda row: row["k"], reason=lambda row: f"{row['name']} has none"),
            cells("mark", lambda row: Cell("*", bar=0.5)),
        ),
        block_id="t",
        title="Names",
        caption="All names.",
        sortable=True,
    )
    assert table is not None
    assert (table.id, table.title, table.caption, table.sortable) == ("t", "Names", "All names.", True)
    assert [(c.title, c.numeric, c.help, c.wide) for c in table.columns] == [
        ("name", False, "who", True),
        ("k", True, "", False),
        ("mark", False, "", False),
    ]
    assert [[cell.text for cell in row] for row in table.rows] == [["Ann", "3", "*"], ["", DASH, "*"]]
    assert table.rows[1][1].reason == "None has none"
    assert value_cell(0.5, SHARE, evidence={"a": "b"}) == Cell("50.0%", sort=0.5, evidence={"a": "b"})


def test_there_is_no_table_without_rows() -> None:
    assert finding_table([], (FINDING.estimate("value"),), block_id="t") is None
