"""Figures of a sweep: scatters with and without TSDI, the areas under fronts, the gate, and safety by category."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.grid import AUDIT
from evenhand.methods.tsdi.sweep.verdict import METHODS, area_reading, setting_label, signed
from evenhand.records import Finding
from evenhand.report.blocks import (
    Cell,
    Filter,
    HeatCell,
    HeatColumn,
    HeatMap,
    HeatRow,
    Scale,
    Series,
    Table,
    TradeOff,
    TradePoint,
    nice_scale,
)
from evenhand.report.finding_table import (
    FINDING,
    SHARE,
    FindingColumns,
    Shown,
    Unit,
    cells,
    finding_table,
    range_text,
    value,
    words,
)
from evenhand.wording import DASH, count, percent, points

AREA = Unit(lambda area: DASH if area is None else signed(area))
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

    def lookup(
        self, estimand: str, outcome: str, config: str, reference: str | None = None, **part: str
    ) -> Finding | None:
        """The finding with exactly these names and this slice."""
        return self._index.get((estimand, outcome, config, reference, tuple(sorted(part.items()))))

    def label(self, key: str) -> str:
        """A setting for readers."""
        return setting_label(self.settings[key], {m["key"]: m["label"] for m in self.facts["models"]})

    def rate(self, key: str, axis: str, **part: str) -> Finding | None:
        """The rate of a setting."""
        return self.lookup("setting_rate", axis, key, None, **part)

    def value(self, key: str, axis: str) -> float | None:
        """The rate itself."""
        f = self.rate(key, axis)
        return f.estimate if f else None

    def behind(self, key: str, **more: str) -> Filter:
        """The responses of a setting, or of the equivalent one measured in its place."""
        return {"audit": AUDIT, "setting": str(self.settings[key]["same_as"] or key), **more}

    def categories(self, key: str) -> list[str]:
        """Categories in which the safety of a setting was measured."""
        rates = (f for f in self.findings if (f.estimand, f.config) == ("setting_rate", key))
        return [f.slice["category"] for f in rates if "category" in f.slice]

    @property
    def aligned(self) -> list[Row]:
        """Settings of the aligned model."""
        return [row for row in self.settings.values() if not row["model"]]


def lines(swept: Swept) -> list[tuple[str, list[str]]]:
    """(title, settings from weak to strong) of each pool and length of TSDI, and of each peer."""
    by_title: dict[str, list[str]] = {}
    several = len({row["pool"] for row in swept.aligned if row["method"] == "tsdi"}) > 1
    for row in swept.aligned:
        if row["method"] == "tsdi":
            title = f"TSDI, L {row['length']}" + (f", {row['pool']}" if several else "")
        elif row["method"] in ("plain", "reference"):
            continue
        else:
            title = TITLES[row["method"]]
        by_title.setdefault(title, []).append(row["key"])
    return list(by_title.items())


def share_scale(values: Sequence[float]) -> Scale:
    """An axis over shares, at least four points wide and within 0 to 1."""
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
            f"{len(front)} settings that no other beats",
        )
    ]
    for title, keys in lines(swept):
        reach = list(dict.fromkeys(filter(None, (_strength(swept.settings[key]) for key in (keys[0], keys[-1])))))
        summary = ("α " if title.startswith("TSDI") else "") + " to ".join(reach) if reach else ""
        marked = [("plain", "0"), *((key, str(place)) for place, key in enumerate(keys, start=1))]
        line = tuple(p for key, mark in marked if key in swept.settings for p in _point(swept, key, axis, mark))
        series.append(Series(title, line, summary))
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
        caption="Each panel shows one method, from the model as it is to its strongest setting, with the others in grey. Up and to "
        "the right is better. Choose a point to read its responses. Intervals are in the table.",
        x=share_scale(x),
        y=share_scale(y),
        x_title="safety on harmful prompts, %",
        y_title=f"{axis_title(swept, axis)} on benign and borderline prompts, %",
        series=tuple(series),
        key=tuple(key),
        data=_scatter_table(swept, axis, set(front), f"{block_id}-data"),
    )


def _scatter_table(swept: Swept, axis: str, front: set[str], block_id: str) -> Table | None:
    def rate(side: str) -> FindingColumns[Row]:
        return FindingColumns[Row](lambda row: swept.rate(row["key"], side))

    def on_front(row: Row) -> str:
        if row["same_as"]:
            return f"measured as: {swept.label(row['same_as'])}"
        return "yes" if row["key"] in front else "no"

    return finding_table(
        swept.aligned,
        (
            words(
                "setting", lambda row: swept.label(row["key"]), evidence=lambda row: swept.behind(row["key"]), wide=True
            ),
            rate("safety").estimate("safety"),
            rate("safety").interval(),
            rate(axis).estimate(axis),
            rate(axis).interval(),
            words("on the front of all", on_front),
        ),
        block_id=block_id,
        sortable=True,
    )


def front_table(swept: Swept, axis: str, block_id: str) -> Table | None:
    """The area under each front, and TSDI's minus it: with all settings, and with as many of both."""
    outcome = f"safety and {axis}"

    def gap(f: Finding, size: str = "as many") -> Finding | None:
        return swept.lookup("hypervolume_difference", outcome, "tsdi", f.config, settings=size)

    def reading(f: Finding) -> str:
        difference = gap(f)
        return _READINGS.get(area_reading(difference), "not known") if difference is not None else DASH

    def against(title: str, size: str, note: str) -> Shown[Finding]:
        return FindingColumns[Finding](lambda f: gap(f, size)).estimate(title, unit=AREA, interval=True, note=note)

    return finding_table(
        [f for f in swept.findings if (f.estimand, f.outcome) == ("hypervolume", outcome)],
        (
            words("method", lambda f: METHODS[f.config][:1].upper() + METHODS[f.config][1:]),
            value("settings", lambda f: len(f.extra["settings"])),
            FINDING.estimate("area"),
            FINDING.interval(),
            against(
                "TSDI minus it, as many settings of each", "as many", "95 % interval; TSDI: the first pool, one length"
            ),
            against("TSDI minus it, all settings", "all", "more settings alone make a larger area"),
            words("reading", reading),
        ),
        block_id=block_id,
        title=f"Area under the front of safety and {axis}",
        caption=f"1 would be perfect safety with perfect {axis}. Prompts are redrawn together for all settings. Only the "
        "comparison with as many settings of each is interpreted: more settings alone make a larger area.",
    )


_READINGS = {
    "larger": "TSDI is larger",
    "smaller": "TSDI is smaller",
    "unclear": "TSDI is not shown to be larger",
    "same": "the same",
}


def candidate_table(swept: Swept, block_id: str) -> Table | None:
    """Every TSDI setting at the gate, with the margins that it misses."""
    gate = swept.facts["recommendation"]
    if gate is None:
        return None
    chosen = (gate["chosen"] or {}).get("setting")

    def change(axis: str, title: str, note: str = "") -> Shown[Row]:
        pick = FindingColumns[Row](lambda row: swept.lookup("setting_change", axis, row["setting"], "plain"))
        return pick.estimate(title, interval=True, note=note)

    def verdict(row: Row) -> str:
        return "recommended" if row["setting"] == chosen else "; ".join(row["fails"]) or "keeps safety"

    def worst(row: Row) -> Cell:
        text = f"{category_name(row['worst'])}: {points(row['worst_change'])}" if row["worst"] else DASH
        return Cell(text, sort=row["worst_change"])

    margins = swept.facts["margins"]
    return finding_table(
        gate["candidates"],
        (
            words(
                "setting",
                lambda row: swept.label(row["setting"]),
                evidence=lambda row: swept.behind(row["setting"]),
                wide=True,
            ),
            value("compliance", lambda row: row["compliance"], SHARE),
            change("compliance", "its change, points"),
            change("safety", "change of safety, points"),
            cells("category that fell most, points", worst),
            words("gate", verdict, wide=True),
        ),
        block_id=block_id,
        title="Which settings keep safety",
        caption="A setting keeps safety if the lower end of the interval is above "
        f"−{100 * margins['all']:g} points and no category falls by more than {100 * margins['category']:g} points. "
        "Of these the one with the highest compliance is recommended.",
        sortable=True,
    )


class Place(NamedTuple):
    """Safety of one setting in one category."""

    f: Finding | None
    category: str
    setting: str


def category_map(swept: Swept, keys: Sequence[str], titles: Iterable[str], block_id: str) -> HeatMap:
    """Safety by category, one column a setting."""
    rows: list[HeatRow] = []
    places: list[Place] = []
    for category in ("", *swept.categories(keys[0])):
        part = {"category": category} if category else {}
        name = category_name(category) if category else "All categories"
        row, prompts = [], 0
        for key in keys:
            f = swept.rate(key, "safety", **part)
            share, prompts = (f.estimate, max(prompts, f.n)) if f else (None, prompts)
            label = f"{name}, {swept.label(key)}: safe in {percent(share)}, {range_text(f)}"
            reason = (f.reason if f else "") or "no grade"
            link = swept.behind(key, kind="harmful", **part)
            row.append(HeatCell(share, percent(share, 0).removesuffix("%"), label, reason, link))
            places.append(Place(f, name, swept.label(key)))
        rows.append(HeatRow(name, tuple(row), f"{count(prompts)} prompts"))
    return HeatMap(
        id=block_id,
        title="Safety by category, %",
        caption="Share of responses to harmful prompts that are safe. With few prompts in a category the intervals, which are "
        "in the table below, are wide: do not rank categories by these numbers alone.",
        corner="category",
        columns=tuple(HeatColumn(title, "good") for title in titles),
        rows=tuple(rows),
        data=finding_table(places, place_columns("setting"), block_id=f"{block_id}-data"),
    )


def place_columns(what: str) -> tuple[Shown[Place], ...]:
    """Columns of safety by category; ``what`` heads the column of settings."""
    place = FindingColumns[Place](lambda row: row.f, "no grade")
    return (
        words("category", lambda row: row.category),
        words(what, lambda row: row.setting),
        place.estimate("safety"),
        place.interval(),
        place.size("prompts"),
    )
