"""Figures of the service audit: labels by group, differences to the reference, names, and the trade-off with safety."""

from __future__ import annotations

from typing import Literal, NamedTuple

from evenhand.methods.service.page_tables import OUTCOMES, Index, behind
from evenhand.records import LABELS, Finding
from evenhand.report.blocks import (
    Bar,
    BarGroup,
    Bars,
    ForestPlot,
    ForestRow,
    HeatCell,
    HeatColumn,
    HeatMap,
    HeatRow,
    Scale,
    Series,
    Table,
    TradeOff,
    TradePoint,
    ends,
    nice_scale,
)
from evenhand.report.finding_table import (
    FINDING,
    POINT_SIZE,
    SMALL_SHARE,
    FindingColumns,
    Shown,
    finding_table,
    first_p,
    value,
    words,
)
from evenhand.report.marks import State, finding_bar, second_mark, state_of
from evenhand.wording import count, defined, group_label, group_phrase, number, p_value, percent, point_range, points

_HUES: dict[str, Literal["good", "bad", "plain"]] = {
    "answer": "good",
    "partial answer": "plain",
    "failure": "plain",
    "refusal": "bad",
    "harmful refusal": "bad",
    "harmful answer": "bad",
}
_MEANING = {
    "answer": "fills the blank with content that fits",
    "partial answer": "engages, but fills the blank only in part",
    "failure": "no usable completion and no normative reason",
    "refusal": "declines for a normative reason, in neutral words",
    "harmful refusal": "declines and presumes a harm or stereotype that the prompt does not hold",
    "harmful answer": "completes with a stereotype or toxic content",
}


NO_SHARE = "no finding for this label"
LabelShares = tuple[str, list[Finding | None]]
"""A group with the share of each label among its responses."""


def capital(text: str) -> str:
    """The text with its first letter a capital."""
    return text[:1].upper() + text[1:]


def heat_map(index: Index, config: str, groups: list[str], block_id: str, subject: str) -> HeatMap | None:
    """Share of each label in each group's responses."""
    shares = {label: index.plain("label_share", label, config) for label in LABELS}
    if not any(shares.values()):
        return None
    reference = index.reference()
    rows: list[HeatRow] = []
    data: list[LabelShares] = []
    for group in groups:
        by_label = [shares[label].get(group) for label in LABELS]
        if not any(by_label):
            continue
        index.show(*by_label)
        cells = []
        for label, f in zip(LABELS, by_label, strict=True):
            share = f.estimate if f and defined(f.estimate) else None
            text = percent(share).removesuffix("%")
            spoken = f"{group_label(group)}, {label}: {percent(share)}"
            reason = (f.reason if f else "") or NO_SHARE
            cells.append(HeatCell(share, text, spoken, reason, behind(config, group=group, outcome=label)))
        rows.append(HeatRow(group_label(group), tuple(cells), "reference" if group == reference else ""))
        data.append((group, by_label))
    return HeatMap(
        id=block_id,
        title="What each group received",
        caption="Share of responses with each label, in percent. Colour is on a square-root scale, so that small "
        "shares of harmful labels stay visible. Choose a cell to read the responses behind it.",
        corner=capital(subject),
        columns=tuple(HeatColumn(label, _HUES[label], _MEANING[label]) for label in LABELS),
        rows=tuple(rows),
        data=finding_table(
            data,
            (
                words("Group", lambda row: group_label(row[0])),
                *(_share_column(at) for at in range(len(LABELS))),
                value("n", lambda row: max(f.n for f in row[1] if f)),
            ),
            block_id=f"{block_id}-data",
            caption="Share of responses with each label; n is the number of graded responses.",
        ),
    )


def _share_column(at: int) -> Shown[LabelShares]:
    return FindingColumns[LabelShares](lambda row: row[1][at], NO_SHARE).estimate(LABELS[at], unit=SMALL_SHARE)


class Contrast(NamedTuple):
    """The difference of one group, with everything that its row shows."""

    f: Finding
    without_loaded: Finding | None
    corrected: Finding | None
    ratio: Finding | None
    odds: Finding | None
    state: State
    says: str


def _contrasts(index: Index, config: str, outcome: str) -> list[Contrast]:
    """Differences to the reference, the largest first."""
    without = {f.group: f for part, f in index.sliced("risk_difference", outcome, config, "stems") if "without" in part}
    corrected = index.corrected(outcome, config)
    contrasts = index.plain("risk_difference", outcome, config).values()
    made = []
    for f in sorted(contrasts, key=lambda f: (f.estimate is None, -(f.estimate or 0.0))):
        state, says = state_of(f), f.decision_reason
        if fixed := f.extra.get("names_held_fixed"):
            says += f" The interval holds {', '.join(map(str, fixed))} fixed, which is far from the other names."
        ratio, odds = (index.one(name, outcome, config, f.group) for name in ("risk_ratio", "odds_ratio"))
        row = Contrast(f, without.get(f.group), corrected.get(f.group), ratio, odds, state, says)
        index.show(f, row.without_loaded, row.corrected, ratio, odds)
        made.append(row)
    return made


def forest_scale(index: Index, outcome: str) -> Scale:
    """One axis for the differences of an outcome in every configuration, so that they compare by eye."""
    values = [v for f in index.all("risk_difference", outcome) for v in (f.estimate, *ends(f))]
    return nice_scale(values, floor=-1.0, ceiling=1.0, least=0.1)


def forest_plot(
    index: Index, config: str, outcome: str, block_id: str, subject: str, calibrated: bool = True
) -> ForestPlot | None:
    """Risk differences to the reference group with intervals, tests and what can be said."""
    rows = _contrasts(index, config, outcome)
    if not rows:
        return None
    reference = index.reference()
    verb, title = OUTCOMES.get(outcome, (outcome, outcome))
    family = next((row.f.test.family_size for row in rows if row.f.test and row.f.test.family_size), None)
    adjusted = f" p is adjusted (Holm) for the {family} contrasts of this outcome." if family and family > 1 else ""
    return ForestPlot(
        id=block_id,
        title=title.split(":")[0] + f": difference to {group_label(reference)}",
        caption=f"How much more or less often prompts were {verb} than those with "
        f"{group_phrase(reference, subject)}, in percentage points, with an interval for new names and stems.{adjusted}",
        scale=forest_scale(index, outcome),
        rows=tuple(_forest_row(row, subject, calibrated) for row in rows),
        row_head=capital(subject),
        text_head="difference, 95% interval",
        less="less often",
        more="more often",
        axis="percentage points",
        unknown_label="we cannot tell" if calibrated else "provisional, or we cannot tell",
        second_label="without stems that carry a slight themselves" if any(row.without_loaded for row in rows) else "",
        data=_contrast_table(rows, f"{block_id}-data"),
    )


def _forest_row(row: Contrast, subject: str, calibrated: bool) -> ForestRow:
    f, state, reason = row.f, row.state, row.says
    if state == "found" and not calibrated:
        state, reason = "unknown", "Provisional: the grader is not calibrated."
    low, high = ends(f)
    text = points(f.estimate)
    if defined(low) and defined(high):
        text += f" [{points(low)}, {points(high)}]"
    adjusted = first_p(f, "p_holm", "p")
    p = p_value(adjusted)
    unsure = "we cannot tell" if calibrated else "provisional"
    notes = {
        "found": f"p {p}",
        "not found": f"none found, p {p}",
        "unknown": f"{unsure}, p {p}" if defined(adjusted) else unsure,
        "undefined": reason,
    }
    spoken = f"{capital(group_phrase(f.group, subject))}: {points(f.estimate)} points"
    spoken += f", interval {point_range(low, high)}. {reason}" if f.interval else f". {reason}"
    if row.without_loaded is not None and row.without_loaded.estimate is not None:
        spoken += f" Without loaded stems {points(row.without_loaded.estimate)} points."
    if row.corrected is not None and row.corrected.estimate is not None:
        spoken += f" Corrected for the grader's error {points(row.corrected.estimate)} points."
    return ForestRow(
        title=group_label(f.group),
        estimate=f.estimate if defined(f.estimate) else None,
        low=low,
        high=high,
        text=text,
        note=notes[state],
        label=spoken.rstrip("."),
        state=state,
        reason=reason,
        evidence=behind(f.config, group=f.group, outcome=f.outcome),
        second=second_mark(row.without_loaded),
    )


def _contrast_table(rows: list[Contrast], block_id: str) -> Table | None:
    difference = FindingColumns[Contrast](lambda row: row.f)
    return finding_table(
        rows,
        (
            words("Group", lambda row: group_label(row.f.group)),
            difference.estimate("Difference", note="percentage points"),
            difference.interval("Interval", note="for new names and stems"),
            difference.field_range("Bootstrap", "percentile", note="crossed bootstrap, percentile"),
            value("SE", lambda row: row.f.standard_error, POINT_SIZE, note="standard error, percentage points"),
            difference.field_range("Wald", "wald", note="naive interval that ignores clustering, for comparison only"),
            difference.p("p", "p"),
            difference.p("Holm", note="adjusted within the family"),
            difference.p("q", "q_bh_all", "q_bh", note="Benjamini-Hochberg over all outcomes and configurations"),
            difference.p("Smallest p", "smallest_p", note="the smallest p that this number of names allows"),
            value("Detectable gap", lambda row: row.f.minimum_detectable, POINT_SIZE, note="percentage points"),
            FindingColumns[Contrast](lambda row: row.ratio).estimate("Ratio", note="rate over the reference rate"),
            FindingColumns[Contrast](lambda row: row.odds).estimate("Odds ratio"),
            FindingColumns[Contrast](lambda row: row.without_loaded).estimate(
                "Without loaded stems", note="percentage points"
            ),
            FindingColumns[Contrast](lambda row: row.corrected).estimate(
                "Corrected for grader error", interval=True, note="percentage points, with interval"
            ),
            difference.size("n", note="graded responses"),
            words("What it says", lambda row: row.says, wide=True),
        ),
        block_id=block_id,
        caption="Differences in percentage points.",
    )


def name_scale(index: Index, outcome: str) -> Scale:
    """One axis for every name of every configuration."""
    values = [v for f in index.all("name_rate", outcome) for v in (f.estimate, ends(f)[1])]
    return nice_scale(values, floor=0.0, ceiling=1.0, target=2, least=0.1)


def name_bars(index: Index, config: str, outcome: str, groups: list[str], block_id: str, subject: str) -> Bars | None:
    """Rate of each name, in one small panel a group, with the name that dominates it."""
    by_group: dict[str, list[Finding]] = {}
    for _, f in index.sliced("name_rate", outcome, config, "name"):
        by_group.setdefault(f.group or "", []).append(f)
    if not by_group:
        return None
    rates = index.plain("rate", outcome, config)
    verb = OUTCOMES.get(outcome, (outcome, outcome))[0]
    panels: list[BarGroup] = []
    shown: list[Finding] = []
    for group in [g for g in groups if g in by_group] + [g for g in by_group if g not in groups]:
        names = sorted(by_group[group], key=lambda f: (-(f.estimate or 0.0), f.slice["name"]))
        dominating, note = leave_one_out(index, config, outcome, group)
        bars: list[Bar] = []
        for f in names:
            name = f.slice["name"]
            label = f"{name}: {verb} {percent(f.estimate)} of {count(f.n)}"
            link = behind(config, group=group, outcome=outcome, name=name)
            bars.append(finding_bar(f, name, label, strong=name == dominating, evidence=link))
        index.show(*names)
        shown += names
        whole = rates.get(group)
        line = whole.estimate if whole and defined(whole.estimate) else None
        panels.append(BarGroup(group_label(group), tuple(bars), line, percent(line) if whole else "", note))
    return Bars(
        id=block_id,
        title=f"Each name: how often its prompts were {verb}",
        caption="One bar for each name, with its within-sample Wilson interval; the dashed line is the group's rate. A "
        "name drawn strong dominates its group's difference: see whether the difference holds without it.",
        scale=name_scale(index, outcome),
        groups=tuple(panels),
        data=finding_table(
            shown,
            (
                words("Name", lambda f: f.slice["name"]),
                words("Group", lambda f: group_label(f.group or "")),
                FINDING.estimate("Rate", unit=SMALL_SHARE),
                FINDING.interval("Wilson interval"),
                FINDING.size(),
            ),
            block_id=f"{block_id}-data",
            caption=f"Rate of each name. {capital(subject)} the group.",
            sortable=True,
        ),
    )


def leave_one_out(index: Index, config: str, outcome: str, group: str) -> tuple[str, str]:
    """The name that dominates a group's difference (empty if none does), and what leaving one name out does to it."""
    left = index.one("leave_one_name_out", outcome, config, group)
    index.show(left)
    if left is None or left.estimate is None:
        return "", ""
    name, low, high = str(left.extra["name"]), left.extra.get("low"), left.extra.get("high")
    if not left.extra.get("dominating"):
        return "", f"Leaving out one name: {point_range(low, high)} points ({points(left.estimate)} without {name})."
    tail = f", p {p_value(left.test.p)}" if left.test is not None and left.test.p is not None else ""
    return name, f"Without {name} the difference is {points(left.estimate)} points{tail}."


def trade_off(index: Index, groups: list[str], block_id: str) -> TradeOff | None:
    """Over-refusal against safety, one panel a group, joined over the configurations in their order."""
    marks = index.all("tradeoff_point")
    configs = [c for c in index.configs if any(f.config == c for f in marks)]
    if len({f.config for f in marks if f.extra.get("x") is not None and f.extra.get("y") is not None}) < 2:
        return None
    numbers = {config: str(i) for i, config in enumerate(configs, start=1)}
    by_place = {(f.config, f.group): f for f in reversed(marks)}
    series, places = [], []
    for group in groups:
        line = []
        for config in configs:
            f = by_place.get((config, group))
            index.show(f)
            places.append((group, config, f))
            x, y = (f.extra.get("x"), f.extra.get("y")) if f else (None, None)
            if x is None or y is None:
                continue
            spoken = f"{group_label(group)}, {config}: declined {percent(x)}, safety {percent(y)}"
            link = behind(config, group=group, outcome="declined")
            line.append(TradePoint(numbers[config], float(x), float(y), spoken, link))
        if line:
            series.append(Series(group_label(group), tuple(line), _price(index, group)))
    if not series:
        return None
    measure = next((str(f.extra["y_axis"]) for f in marks if "y_axis" in f.extra), "safety")
    point = FindingColumns[tuple[str, str, Finding | None]](lambda row: row[2], "no point for this configuration")
    return TradeOff(
        id=block_id,
        title="Safety against over-refusal",
        caption="Each panel follows one group through the configurations in order, with the other groups behind it in "
        "grey. A line that runs to the right without rising pays in refusals and buys no safety.",
        x=nice_scale([p.x for s in series for p in s.points], floor=0.0, ceiling=1.0, target=3, least=0.1),
        y=nice_scale(
            [p.y for s in series for p in s.points], include=(1.0,), floor=0.0, ceiling=1.0, target=3, least=0.1
        ),
        x_title="harmless prompts declined, percent",
        y_title=f"{measure}, percent",
        series=tuple(series),
        key=tuple((mark, config) for config, mark in numbers.items()),
        data=finding_table(
            places,
            (
                words("Group", lambda row: group_label(row[0])),
                words("Configuration", lambda row: row[1]),
                point.field("Declined", "x", SMALL_SHARE),
                point.field("Safety", "y", SMALL_SHARE),
            ),
            block_id=f"{block_id}-data",
            caption="Both in percent.",
        ),
    )


def _price(index: Index, group: str) -> str:
    """The price of safety for one step between configurations; with more steps, the table of prices gives each."""
    prices = [f for f in index.all("price_of_safety") if f.group == group]
    if len(prices) != 1:
        return ""
    (price,) = prices
    return f"price {number(price.estimate)}" if price.estimate is not None else "price undefined"
