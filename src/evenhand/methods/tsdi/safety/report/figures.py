"""Figures of the safety audit: shares by category, compliance, the shift of the openers by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from evenhand.datasets.safety_prompts import CATEGORIES, category_name
from evenhand.engines.spec import MARK
from evenhand.methods.tsdi.safety.bias import SHIFT
from evenhand.methods.tsdi.safety.findings import COMPLIANCE, GAP, MACRO, SHARE, is_found
from evenhand.methods.tsdi.safety.verdict import MATERIAL, SHIFT_LEAST, one
from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Cell, Column, Filter, ForestPlot, ForestRow, Table
from evenhand.report.scales import ends, nice_scale
from evenhand.wording import DASH, between, count, nats, nats_range, p_value, percent, point_range, points

State = Literal["found", "not found", "unknown", "undefined"]
ALL = "All requests"
MEAN = "Mean of the categories"
_PROMPT = " · "
_SHORT = {
    "controversial_topics,politics": "Politics",
    "discrimination,stereotype,injustice": "Stereotypes, injustice",
    "drug_abuse,weapons,banned_substance": "Drugs, weapons",
    "financial_crime,property_crime,theft": "Financial crime, theft",
    "hate_speech,offensive_language": "Hate speech",
    "misinformation_regarding_ethics,laws_and_safety": "False claims",
    "non_violent_unethical_behavior": "Unethical acts",
    "sexually_explicit,adult_content": "Adult content",
    "terrorism,organized_crime": "Terrorism, crime",
    "violence,aiding_and_abetting,incitement": "Violence",
}
"""Names that fit beside a mark; tables give the whole ones."""


def behind(config: str, kind: str = "", category: str = "", said: str = "") -> Filter:
    """The answers behind a mark."""
    found = {"audit": "safety", "config": config, "kind": kind, "category": category, "said": said}
    return {key: value for key, value in found.items() if value}


def short_name(slug: str) -> str:
    """A category's name where there is little room."""
    return _SHORT.get(slug) or category_name(slug)


def in_order(categories: Sequence[str]) -> list[str]:
    """Categories in their published order, others after them by name: never by what was measured."""
    place = {slug: k for k, slug in enumerate(CATEGORIES)}
    return sorted(categories, key=lambda slug: (place.get(slug, len(place)), slug))


def corrected_of(config: str, configs: Sequence[str]) -> str | None:
    """The configuration that is this one with a bias taken off, if the run holds one."""
    for other in configs:
        spec, found, prompt = other.partition(_PROMPT)
        if MARK in spec and spec.partition(MARK)[0] + found + prompt == config:
            return other
    return None


def _state(gap: Finding | None, *, held_back: bool) -> State:
    if gap is None or gap.interval is None or held_back:
        return "unknown"
    if is_found(gap):
        return "found" if (gap.estimate or 0.0) < 0 else "not found"
    return "unknown" if gap.interval.low < -MATERIAL else "not found"


_SAID = {"found": "weak: less safe than the others", "not found": "not less safe than the others", "unknown": "we cannot tell",
         "undefined": "undefined"}  # fmt: skip


def category_plot(
    findings: Sequence[Finding], config: str, block_id: str, *, held_back: bool, corrected: str | None = None
) -> ForestPlot:
    """Safe answers by category, with the corrected configuration beside them. ``held_back``: no category is named."""
    groups = {f.group for f in findings if (f.estimand, f.config) == (SHARE, config) and f.group and not f.slice}
    rows, data = [], []
    places: list[tuple[str, str, str | None]] = [(SHARE, ALL, None), (MACRO, MEAN, None)]
    places += [(SHARE, short_name(group), group) for group in in_order(sorted(groups))]
    for estimand, title, group in places:
        f = one(findings, estimand, config, group=group)
        if f is None:
            continue
        gap = one(findings, GAP, config, group=group) if group else None
        state: State = "undefined" if f.estimate is None else "not found" if group is None else "unknown"
        if group is not None and f.estimate is not None:
            state = _state(gap, held_back=held_back)
        other = one(findings, estimand, corrected, group=group) if corrected else None
        second = (other.estimate, *ends(other)) if other is not None and other.estimate is not None else None
        low, high = ends(f)
        name = category_name(group) if group else title
        answers = count(f.extra["responses"]) if "responses" in f.extra else DASH
        what = f"{config}, {name}: {percent(f.estimate)} answered safely, {between(low, high)}"
        after = f" · TSDI {percent(other.estimate, 0)}" if other is not None else ""
        rows.append(
            ForestRow(
                title, f.estimate, low, high, percent(f.estimate, 0), f"{_whole(low, high)}{after}",
                f"{what}; {_SAID[state]}" if group else what, state, f.reason if f.estimate is None else "",
                behind(config, "harmful", group or ""), second,
            )
        )  # fmt: skip
        cells = [Cell(name), Cell(percent(f.estimate), sort=f.estimate, reason=f.reason if f.estimate is None else ""),
                 Cell(between(low, high)), Cell(count(f.n), sort=f.n), Cell(answers),
                 Cell(points(gap.estimate) if gap else DASH, sort=gap.estimate if gap else None),
                 Cell(point_range(*ends(gap)) if gap else DASH), Cell(_p(gap))]  # fmt: skip
        if corrected:
            cells[3:3] = [Cell(percent(other.estimate) if other else DASH), Cell(between(*ends(other)))]
        data.append(tuple(cells))
    columns = [
        Column("category"), Column("safe", numeric=True), Column("95 % interval"), Column("prompts", numeric=True),
        Column("labelled answers", numeric=True), Column("minus the others, points", numeric=True), Column("95 % interval"),
        Column("adjusted p", numeric=True, help="permutation of prompts, Holm over categories"),
    ]  # fmt: skip
    if corrected:
        columns[3:3] = [Column("with TSDI", numeric=True), Column("95 % interval")]
    told = "Share of answers to harmful requests that every grader calls safe. A category is marked only where its difference from "
    told += "the mean of the others was found; the order is that of the published list, not a ranking."
    told += " No category is marked here, since there is no verdict yet." if held_back else ""
    whole = one(findings, SHARE, config)
    told += f" Intervals of all requests: {whole.interval.method}." if whole is not None and whole.interval else ""
    return ForestPlot(
        id=block_id, title="Safe answers to harmful requests, by category", caption=told,
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=5, ceiling=1.0), rows=tuple(rows), row_head="category",
        text_head="safe", less="unsafe", more="safe", axis="% of answers",
        second_label="with TSDI, the bias taken off" if corrected else "",
        unknown_label="no verdict yet" if held_back else "we cannot tell",
        data=Table(id=f"{block_id}-data", columns=tuple(columns), rows=tuple(data)),
    )  # fmt: skip


def _whole(low: float | None, high: float | None) -> str:
    return f"{percent(low, 0)} to {percent(high, 0)}" if low is not None and high is not None else DASH


def _p(f: Finding | None) -> str:
    return p_value(f.test.p_holm) if f and f.test else DASH


def compliance_bars(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Bars | None:
    """Benign and borderline requests complied with, one panel a configuration."""
    groups, data = [], []
    for config in configs:
        bars = []
        for kind in ("benign", "borderline"):
            f = one(findings, COMPLIANCE, config, kind=kind)
            if f is None:
                continue
            low, high = ends(f)
            told = f"{config}: complies with {percent(f.estimate)} of {kind} requests"
            bars.append(
                Bar(kind, f.estimate, percent(f.estimate, 0), told, low, high, f.reason, False, behind(config, kind))
            )
            exact = one(findings, COMPLIANCE, config, kind=kind, grader="grammar")
            data.append(
                (
                    Cell(config), Cell(kind), Cell(percent(f.estimate), sort=f.estimate, reason=f.reason), Cell(between(low, high)),
                    Cell(count(f.n), sort=f.n), Cell(percent(exact.estimate) if exact else DASH),
                )
            )  # fmt: skip
        if bars:
            groups.append(BarGroup(config, tuple(bars)))
    columns = (
        Column("configuration"), Column("requests"), Column("complied", numeric=True), Column("95 % interval"),
        Column("prompts", numeric=True), Column("by the grammar", numeric=True, help="exact, for organisms alone"),
    )  # fmt: skip
    if not groups:
        return None
    return Bars(
        id=block_id, title="Harmless requests that are complied with",
        caption="Answers without a refusal wording in their first 120 characters. What a borderline bar lacks is over-refusal: "
        "such requests look harmful and are not.",
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2, ceiling=1.0), groups=tuple(groups),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )  # fmt: skip


def opener_plot(findings: Sequence[Finding], config: str, block_id: str) -> ForestPlot | None:
    """The shift of the refusal openers by position; None where it was not measured."""
    shifts = [f for f in findings if (f.estimand, f.config) == (SHIFT, config) and f.slice]
    if not shifts:
        return None
    rows, data, reference = [], [], shifts[0].reference
    for position in dict.fromkeys(f.slice["position"] for f in shifts):
        likely = one(findings, SHIFT, config, position=position, among="likely")
        every = one(findings, SHIFT, config, position=position, among="all")
        f = likely if likely is not None and likely.estimate is not None else every
        if f is None:
            continue
        low, high = ends(f)
        moved = is_found(f) and abs(f.estimate or 0.0) >= SHIFT_LEAST
        second = (every.estimate, *ends(every)) if every is not None and every.estimate is not None else None
        title = f"token {position}"
        rows.append(
            ForestRow(
                title, f.estimate, low, high, nats(f.estimate), nats_range(low, high),
                f"{config}, {title}: refusal openers {nats(f.estimate)} nats, {nats_range(low, high)}",
                "found" if moved else "not found", f.reason if f.estimate is None else "", None, second,
            )
        )  # fmt: skip
        data.append(
            (
                Cell(position), Cell(nats(f.estimate), sort=f.estimate), Cell(nats_range(low, high)),
                Cell(nats(every.estimate if every else None)), Cell(_p(f)), Cell(count(f.clusters.get("openers", 0))),
                Cell(percent(f.extra["mass_reference"], 2)), Cell(percent(f.extra["mass_aligned"], 2)),
            )
        )  # fmt: skip
    columns = (
        Column("token", numeric=True), Column("likely openers, nats", numeric=True), Column("95 % interval"),
        Column("all openers, nats", numeric=True), Column("adjusted p", numeric=True, help="Holm over positions"),
        Column("likely openers", numeric=True), Column("their probability, reference", numeric=True),
        Column("their probability, this model", numeric=True),
    )  # fmt: skip
    return ForestPlot(
        id=block_id, title="Refusal openers on random contexts, by position",
        caption=f"Mean log-ratio of {config} to {reference} over {count(shifts[0].n)} contexts of random tokens, against the "
        "median token: what is raised here is raised whatever the prompt. Filled: openers with a mean probability above "
        "0.01 % in either model.",
        scale=nice_scale([v for row in rows for v in (row.low, row.high, row.estimate, *(row.second or ()))], least=0.5),
        rows=tuple(rows), row_head="position", text_head="nats", less="less likely", more="more likely", axis="nats",
        second_label="all openers of the list", tick_factor=1.0,
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )  # fmt: skip
