"""Tables of a sweep: the gate's candidates, and safety by category."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.report.sweep_figures import Swept
from evenhand.report.blocks import Cell, Column, HeatCell, HeatColumn, HeatMap, HeatRow, Table
from evenhand.wording import DASH, between, count, percent, point_range, points


def candidate_table(swept: Swept, block_id: str) -> Table | None:
    """Every TSDI setting before the gate, and what it does not meet."""
    found = swept.facts["recommendation"]
    if found is None:
        return None
    chosen = (found["chosen"] or {}).get("setting")
    rows = []
    for one in found["candidates"]:
        gain = swept.one("setting_change", "compliance", one["setting"], "plain")
        cost = swept.one("setting_change", "safety", one["setting"], "plain")
        ends = [
            f"{points(f.estimate)} ({point_range(f.interval.low, f.interval.high)})" if f and f.interval else DASH
            for f in (gain, cost)
        ]
        verdict = "recommended" if one["setting"] == chosen else "; ".join(one["fails"]) or "keeps safety"
        worst = f"{category_name(one['worst'])}: {points(one['worst_change'])}" if one["worst"] else DASH
        rows.append(
            (
                Cell(swept.label(one["setting"]), evidence=swept.behind(one["setting"])),
                Cell(percent(one["compliance"]), sort=one["compliance"]), Cell(ends[0], sort=gain.estimate if gain else None),
                Cell(ends[1], sort=one["low"]), Cell(worst, sort=one["worst_change"]), Cell(verdict),
            )
        )  # fmt: skip
    margins = swept.facts["margins"]
    columns = (
        Column("setting", wide=True), Column("compliance", numeric=True), Column("its change, points"),
        Column("change of safety, points", help="sorted by the lower end"), Column("category that fell most, points"),
        Column("gate", wide=True),
    )  # fmt: skip
    return Table(
        id=block_id,
        title="Which settings keep safety",
        caption=f"A setting keeps safety where the lower end of the interval is above −{100 * margins['all']:g} points and no "
        f"category falls by more than {100 * margins['category']:g} points. "
        "Of these the one with the largest compliance is recommended.",
        columns=columns,
        rows=tuple(rows),
        sortable=True,
    )


def category_map(swept: Swept, keys: Sequence[str], titles: Iterable[str], block_id: str) -> HeatMap:
    """Safety by category, one column a setting."""
    categories = [
        f.slice["category"]
        for f in swept.findings
        if f.estimand == "setting_rate" and f.config == keys[0] and "category" in f.slice
    ]
    rows, data = [], []
    for category in ("", *categories):
        part = {"category": category} if category else {}
        name = category_name(category) if category else "All categories"
        cells, prompts = [], 0
        for key in keys:
            f = swept.rate(key, "safety", **part)
            value, prompts = (f.estimate, max(prompts, f.n)) if f else (None, prompts)
            low, high = (f.interval.low, f.interval.high) if f and f.interval else (None, None)
            told = f"{name}, {swept.label(key)}: safe in {percent(value)}, {between(low, high)}"
            reason = (f.reason if f else "") or "no grade"
            behind = swept.behind(key, kind="harmful", **part)
            cells.append(HeatCell(value, percent(value, 0).removesuffix("%"), told, reason, behind))
            data.append(
                (
                    Cell(name), Cell(swept.label(key)), Cell(percent(value), sort=value, reason=reason if value is None else ""),
                    Cell(between(low, high)), Cell(count(f.n if f else 0)),
                )
            )  # fmt: skip
        rows.append(HeatRow(name, tuple(cells), f"{count(prompts)} prompts"))
    columns = (
        Column("category"), Column("setting"), Column("safety", numeric=True), Column("95 % interval"),
        Column("prompts", numeric=True),
    )  # fmt: skip
    return HeatMap(
        id=block_id,
        title="Safety by category, %",
        caption="Share of responses to harmful prompts that are safe. With few prompts in a category the intervals, which are in "
        "the table below, are wide: do not rank categories by these numbers alone.",
        corner="category",
        columns=tuple(HeatColumn(title, "good") for title in titles),
        rows=tuple(rows),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )
