"""Figures on agreement of raters, and on intersections of their groups."""

from __future__ import annotations

from evenhand.methods.pluralism.rating.agreement import ALPHA, ICC, POOLED, RHO
from evenhand.methods.pluralism.rating.report.evidence import behind
from evenhand.methods.pluralism.rating.report.figures import Own, number_cell, point_reach, reach
from evenhand.methods.pluralism.rating.verdict import scale_number
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, ForestPlot, ForestRow, Table
from evenhand.report.scales import ends, nice_scale
from evenhand.wording import DASH, count, percent, points

COEFFICIENTS = (ICC, ALPHA, RHO)


def agreement_plot(own: Own, raters: str, block_id: str) -> ForestPlot | None:
    """The six intraclass correlations, alpha and rho of one kind of raters; people's under every choice of raters below."""
    found = [f for estimand in COEFFICIENTS for f in own.all(estimand, raters=raters)]
    if not found:
        return None
    rows = []
    for f in found:
        low, high = ends(f)
        name = _coefficient(f)
        rows.append(
            ForestRow(
                name, f.estimate, low, high, scale_number(f.estimate), reach(f) if f.estimate is not None else f.reason,
                f"{own.config}, {raters}, {name}: {scale_number(f.estimate)}, {reach(f)}",
                "not found" if f.estimate is not None else "undefined", f.reason, behind(f),
            )
        )  # fmt: skip
    every = [f for f in own.findings if f.config == own.config and f.slice.get("raters") == raters]
    data = tuple(
        (
            Cell(_coefficient(f), evidence=behind(f)), Cell(f.slice.get("view", raters)), number_cell(f), Cell(reach(f)),
            Cell(count(f.clusters.get("items", 0)) if "items" in f.clusters else DASH),
            Cell(count(f.clusters["raters"]) if "raters" in f.clusters else DASH), Cell(count(f.n), sort=f.n),
            Cell(str(f.extra.get("method") or DASH)),
        )
        for f in every if f.estimand in COEFFICIENTS
    )  # fmt: skip
    columns = (
        Column("coefficient"), Column("raters"), Column("value", numeric=True), Column("95 % interval"),
        Column("texts", numeric=True), Column("raters", numeric=True),
        Column("n", numeric=True, help="ratings; pairs of raters for rho"), Column("fit"),
    )  # fmt: skip
    views = len({f.slice.get("view") for f in every}) > 1
    more = " Under other choices of raters: see the numbers behind this figure." if views else ""
    return ForestPlot(
        id=block_id, title=f"Agreement of raters: {raters}",
        caption=f"A rater is {found[0].extra['rater']}. ICC(.,1) is of one rater, ICC(.,k) of the mean of all k, near 1 with "
        f"many raters whatever they agree on. Below 0 is less than chance.{more}",
        scale=nice_scale([v for row in rows for v in (row.estimate, row.low, row.high)], include=(0.0, 1.0), ceiling=1.0),
        rows=tuple(rows), row_head="coefficient", text_head="value", less="none", more="perfect", axis="coefficient", tested=False,
        tick_factor=1.0, data=Table(id=f"{block_id}-data", columns=columns, rows=data),
    )  # fmt: skip


def _coefficient(f: Finding) -> str:
    if f.estimand == ICC:
        return f"{f.outcome}, k {f.extra['k']:g}" if f.outcome.endswith("k)") else f.outcome
    return f"alpha, {f.outcome}" if f.estimand == ALPHA else "mean Spearman rho"


def intersection_plot(own: Own, block_id: str) -> ForestPlot | None:
    """Race x gender: each group's mean against all raters of a text, drawn towards the common mean where it is noisy."""
    found = own.all(POOLED)
    if not found:
        return None
    rows = []
    for f in found:
        low, high = ends(f)
        plain = f.extra["plain"]
        told = (
            f"{f.group}: {points(f.estimate)} points, {point_reach(f)}; unpooled {points(plain)}; {count(f.n)} raters"
        )
        rows.append(
            ForestRow(
                str(f.group), f.estimate, low, high, points(f.estimate), f"{point_reach(f)} · {count(f.n)} raters", told,
                "not found" if f.estimate is not None else "undefined", f.reason, behind(f),
                None if plain is None else (float(plain), None, None),
            )
        )  # fmt: skip
    data = tuple(
        (
            Cell(str(f.group), evidence=behind(f)), Cell(points(f.estimate), sort=f.estimate), Cell(point_reach(f)),
            Cell(points(f.extra["plain"])), Cell(percent(f.extra["weight"], 0)), Cell(count(f.n), sort=f.n),
        )
        for f in found
    )  # fmt: skip
    columns = (
        Column(found[0].slice["axis"]), Column("points", numeric=True), Column("95 % interval"), Column("unpooled", numeric=True),
        Column("own weight", numeric=True, help="how much a group's own mean counts against the common one"),
        Column("raters", numeric=True),
    )  # fmt: skip
    values = [v for row in rows for v in (row.estimate, row.low, row.high, *((row.second or ())[:1]))]
    return ForestPlot(
        id=block_id, title=f"Intersections: {found[0].slice['axis']}",
        caption=f"Mean rating of a group against all raters of the same text, partly pooled. A rater is {found[0].extra['rater']}. "
        "Shown, not tested.",
        scale=nice_scale(values, least=0.04), rows=tuple(rows), row_head=found[0].slice["axis"], text_head="points",
        less="rates safer", more="rates less safe", axis="points of the scale", tested=False, second_label="unpooled mean",
        data=Table(id=f"{block_id}-data", columns=columns, rows=data),
    )  # fmt: skip
