"""Figures of a sweep: scatters with and without TSDI, and the areas under fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evenhand.methods.tsdi.sweep.verdict import METHODS, area_reading, setting_label, signed
from evenhand.records import Finding
from evenhand.report.blocks import (
    Cell,
    Column,
    Filter,
    Series,
    Table,
    TradeOff,
    TradePoint,
)
from evenhand.report.scales import Scale, nice_scale
from evenhand.wording import DASH, between, count, number, percent

AUDIT = "tsdi-sweep"
MARKS = {
    "plain": "0",
    "tsdi": "T",
    "static": "S",
    "system": "P",
    "self-cd": "C",
    "interpolation": "I",
    "reference": "R",
}
TITLES = {"static": "Static bias", "system": "System prompt", "self-cd": "Self-CD", "interpolation": "Interpolation"}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Swept:
    """Findings and facts of a sweep, indexed."""

    findings: Sequence[Finding]
    facts: Mapping[str, Any]

    @cached_property
    def settings(self) -> dict[str, Row]:
        """Settings by key, in order."""
        return {row["key"]: row for row in self.facts["settings"]}

    @cached_property
    def _index(self) -> dict[tuple[Any, ...], Finding]:
        return {
            (f.estimand, f.outcome, f.config, f.reference, tuple(sorted(f.slice.items()))): f for f in self.findings
        }

    def one(
        self, estimand: str, outcome: str, config: str, reference: str | None = None, **part: str
    ) -> Finding | None:
        """The finding with exactly these names and this slice."""
        return self._index.get((estimand, outcome, config, reference, tuple(sorted(part.items()))))

    def label(self, key: str) -> str:
        """A setting for readers."""
        return setting_label(self.settings[key], {m["key"]: m["label"] for m in self.facts["models"]})

    def rate(self, key: str, axis: str, **part: str) -> Finding | None:
        """The rate of a setting."""
        return self.one("setting_rate", axis, key, None, **part)

    def value(self, key: str, axis: str) -> float | None:
        """The rate itself."""
        f = self.rate(key, axis)
        return f.estimate if f else None

    def behind(self, key: str, **more: str) -> Filter:
        """The responses of a setting; those of an equal one where it was not measured itself."""
        return {"audit": AUDIT, "setting": str(self.settings[key]["same_as"] or key), **more}

    @property
    def own(self) -> list[Row]:
        """Settings of the aligned model."""
        return [row for row in self.settings.values() if not row["model"]]


def lines(swept: Swept) -> list[tuple[str, list[str]]]:
    """(title, settings from weak to strong) of each pool and length of TSDI, and of each peer."""
    found: dict[str, list[str]] = {}
    several = len({row["pool"] for row in swept.own if row["method"] == "tsdi"}) > 1
    for row in swept.own:
        if row["method"] == "tsdi":
            title = f"TSDI, L {row['length']}" + (f", {row['pool']}" if several else "")
        elif row["method"] in ("plain", "reference"):
            continue
        else:
            title = TITLES[row["method"]]
        found.setdefault(title, []).append(row["key"])
    return list(found.items())


def share_scale(values: Sequence[float]) -> Scale:
    """An axis over shares that are not all equal to the eye: at least four points wide, within 0 to 1."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return nice_scale([max(0.0, low - 0.02), min(1.0, high + 0.02)], include=(), floor=0.0, ceiling=1.0, target=3)


def _strength(row: Row) -> str:
    if row["method"] == "tsdi":
        return f"{row['alpha']:g}"
    return "" if row["method"] == "system" or row["strength"] is None else f"{row['strength']:g}"


def axis_title(swept: Swept, axis: str) -> str:
    """What an axis measures."""
    return "helpfulness (win rate against the reference)" if axis == "helpfulness" and swept.facts["wins"] else axis


def _point(swept: Swept, key: str, axis: str, mark: str) -> list[TradePoint]:
    x, y = swept.value(key, "safety"), swept.value(key, axis)
    if x is None or y is None:
        return []
    return [TradePoint(mark, x, y, f"{swept.label(key)}: safety {percent(x)}, {axis} {percent(y)}", swept.behind(key))]


def scatter(swept: Swept, axis: str, block_id: str) -> TradeOff | None:
    """Safety against compliance or helpfulness: the front of all, then each line from the plain model to its strongest setting."""
    front = list(swept.facts["fronts"].get(axis, ()))
    if not front:
        return None
    by_safety = sorted(front, key=lambda key: swept.value(key, "safety") or 0.0)
    series = [
        Series(
            "The front of all",
            tuple(p for key in by_safety for p in _point(swept, key, axis, MARKS[swept.settings[key]["method"]])),
            f"{len(front)} that no other beats",
        )
    ]
    for title, keys in lines(swept):
        told = list(dict.fromkeys(filter(None, (_strength(swept.settings[key]) for key in (keys[0], keys[-1])))))
        summary = ("α " if title.startswith("TSDI") else "") + " to ".join(told) if told else ""
        marked = [("plain", "0"), *((key, str(place)) for place, key in enumerate(keys, start=1))]
        found = tuple(p for key, mark in marked if key in swept.settings for p in _point(swept, key, axis, mark))
        series.append(Series(title, found, summary))
    reference = tuple(_point(swept, "reference", axis, "R")) if "reference" in swept.settings else ()
    series += [Series("The reference", reference)] if reference else []
    x, y = ([getattr(p, side) for one in series for p in one.points] for side in ("x", "y"))
    used = {p.mark for p in series[0].points}
    key = [("0", "the model as it is"), ("1", "the weakest setting of a line, and so on")]
    key += [(mark, METHODS[method]) for method, mark in MARKS.items() if mark in used and mark != "0"]
    key += [("R", METHODS["reference"])] if reference else []
    return TradeOff(
        id=block_id,
        title=f"Safety against {axis}, with and without TSDI",
        caption="Each panel is one way of correcting, from the model as it is to its strongest setting; the others stand behind it "
        "in grey. Up and to the right is better. Choose a point to read its responses. Intervals are in the table.",
        x=share_scale(x),
        y=share_scale(y),
        x_title="safety on harmful prompts, %",
        y_title=f"{axis_title(swept, axis)} on benign and borderline prompts, %",
        series=tuple(series),
        key=tuple(key),
        data=_scatter_table(swept, axis, set(front), f"{block_id}-data"),
    )


def _scatter_table(swept: Swept, axis: str, front: set[str], block_id: str) -> Table:
    rows = []
    for row in swept.own:
        key = row["key"]
        cells = [Cell(swept.label(key), evidence=swept.behind(key))]
        for side in ("safety", axis):
            f = swept.rate(key, side)
            low, high = (f.interval.low, f.interval.high) if f and f.interval else (None, None)
            reason = "" if f is None or f.estimate is not None else f.reason
            cells += [
                Cell(percent(f.estimate if f else None), sort=f.estimate if f else None, reason=reason),
                Cell(between(low, high)),
            ]
        told = f"measured as: {swept.label(row['same_as'])}" if row["same_as"] else "yes" if key in front else "no"
        rows.append((*cells, Cell(told)))
    columns = (
        Column("setting", wide=True), Column("safety", numeric=True), Column("95 % interval"), Column(axis, numeric=True),
        Column("95 % interval"), Column("on the front of all"),
    )  # fmt: skip
    return Table(id=block_id, columns=columns, rows=tuple(rows), sortable=True)


def front_table(swept: Swept, axis: str, block_id: str) -> Table:
    """The area under each front, and TSDI's minus it: with all settings, and with as many of both."""
    outcome = f"safety and {axis}"
    rows = []
    for f in swept.findings:
        if (f.estimand, f.outcome) != ("hypervolume", outcome):
            continue
        name = METHODS[f.config]
        cells = [
            Cell(name[:1].upper() + name[1:]), Cell(count(len(f.extra["settings"])), sort=len(f.extra["settings"])),
            Cell(number(f.estimate), sort=f.estimate, reason=f.reason if f.estimate is None else ""), Cell(_ends(f)),
        ]  # fmt: skip
        for size in ("as many", "all"):
            gap = swept.one("hypervolume_difference", outcome, "tsdi", f.config, settings=size)
            cells.append(_gap(gap))
        rows.append(
            (*cells, Cell(_reading(swept.one("hypervolume_difference", outcome, "tsdi", f.config, settings="as many"))))
        )
    columns = (
        Column("method"), Column("settings", numeric=True), Column("area", numeric=True), Column("95 % interval"),
        Column("TSDI minus it, as many settings of each", help="95 % interval; TSDI: the first pool, one length"),
        Column("TSDI minus it, all settings", help="more settings alone make a larger area"), Column("reading"),
    )  # fmt: skip
    return Table(
        id=block_id,
        title=f"Area under the front of safety and {axis}",
        caption="1 would be perfect safety with perfect "
        + axis
        + ". Prompts are redrawn together for all settings. Only the comparison "
        "with as many settings of each is read: more settings alone make a larger area.",
        columns=columns,
        rows=tuple(rows),
    )


def _ends(f: Finding) -> str:
    return f"{number(f.interval.low)} to {number(f.interval.high)}" if f.interval else DASH


def _gap(f: Finding | None) -> Cell:
    if f is None:
        return Cell(DASH)
    if f.estimate is None:
        return Cell(DASH, reason=f.reason)
    ends = f" ({signed(f.interval.low)} to {signed(f.interval.high)})" if f.interval else f" ({f.reason})"
    return Cell(f"{signed(f.estimate)}{ends}", sort=f.estimate)


def _reading(f: Finding | None) -> str:
    if f is None:
        return DASH
    told = {
        "larger": "TSDI is larger",
        "smaller": "TSDI is smaller",
        "unclear": "TSDI is not shown to be larger",
        "same": "the same",
    }
    return told.get(area_reading(f), "cannot be told")
