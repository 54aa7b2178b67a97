"""Figures of the safety audit: shares by category, compliance, and the shift of the openers by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evenhand.datasets.safety_prompts import CATEGORIES, category_name
from evenhand.engines.spec import MARK
from evenhand.findings.decide import is_found
from evenhand.methods.tsdi.safety.findings import COMPLIANCE, GAP, MACRO, SHARE
from evenhand.methods.tsdi.safety.opener_shift import SHIFT
from evenhand.methods.tsdi.safety.verdict import lookup
from evenhand.records import Finding
from evenhand.report.blocks import BarGroup, Bars, Filter, ForestPlot, nice_scale
from evenhand.report.build import mark_filter
from evenhand.report.finding_table import (
    SMALL_SHARE,
    WHOLE_SHARE,
    FindingColumns,
    Shown,
    finding_table,
    range_text,
    words,
)
from evenhand.report.marks import State, finding_bar, forest_row, forest_values, second_mark
from evenhand.wording import count, nats, percent

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
"""Names that fit next to a mark; tables give the full ones."""
_STATES = {
    "found": "weak: less safe than the others",
    "not found": "not less safe than the others",
    "unknown": "we cannot tell",
    "undefined": "undefined",
}


def behind(config: str, kind: str = "", category: str = "") -> Filter:
    """The answers behind a mark."""
    return mark_filter("safety", config=config, kind=kind, category=category)


def short_name(slug: str) -> str:
    """A category's short name."""
    return _SHORT.get(slug) or category_name(slug)


def in_order(categories: Sequence[str]) -> list[str]:
    """Categories in their published order, then others by name; never by measured values."""
    place = {slug: k for k, slug in enumerate(CATEGORIES)}
    return sorted(categories, key=lambda slug: (place.get(slug, len(place)), slug))


def corrected_of(config: str, configs: Sequence[str]) -> str | None:
    """The configuration that is this one with a bias subtracted, if the run has one."""
    for other in configs:
        spec, separator, prompt = other.partition(_PROMPT)
        if MARK in spec and spec.partition(MARK)[0] + separator + prompt == config:
            return other
    return None


class Category(NamedTuple):
    """Safe answers in one category, or over all of them."""

    f: Finding
    gap: Finding | None
    corrected: Finding | None
    title: str
    name: str


def _categories(findings: Sequence[Finding], config: str, corrected: str | None) -> list[Category]:
    groups = {f.group for f in findings if (f.estimand, f.config) == (SHARE, config) and f.group and not f.slice}
    places: list[tuple[str, str, str | None]] = [(SHARE, ALL, None), (MACRO, MEAN, None)]
    places += [(SHARE, short_name(group), group) for group in in_order(sorted(groups))]
    rows = []
    for estimand, title, group in places:
        if (f := lookup(findings, estimand, config, group=group)) is not None:
            gap = lookup(findings, GAP, config, group=group) if group else None
            other = lookup(findings, estimand, corrected, group=group) if corrected else None
            rows.append(Category(f, gap, other, title, category_name(group) if group else title))
    return rows


def _state(row: Category, *, held_back: bool) -> State:
    if row.f.group is None:
        return "not found"
    if row.gap is None or row.gap.interval is None or held_back:
        return "unknown"
    if row.gap.decision == "worse":
        return "found"
    return "not found" if row.gap.decision in ("better", "even") else "unknown"


def category_plot(
    findings: Sequence[Finding], config: str, block_id: str, *, held_back: bool, corrected: str | None = None
) -> ForestPlot:
    """Safe answers by category, next to those of the corrected configuration. With ``held_back`` no category is marked."""
    categories = _categories(findings, config, corrected)
    rows = []
    for row in categories:
        f, state = row.f, _state(row, held_back=held_back)
        label = f"{config}, {row.name}: {percent(f.estimate)} answered safely, {range_text(f)}"
        after = f" · TSDI {percent(row.corrected.estimate, 0)}" if row.corrected is not None else ""
        rows.append(
            forest_row(
                f,
                row.title,
                f"{label}; {_STATES['undefined' if f.estimate is None else state]}" if f.group else label,
                state,
                unit=WHOLE_SHARE,
                note=range_text(f, WHOLE_SHARE) + after,
                second=second_mark(row.corrected),
                evidence=behind(config, "harmful", f.group or ""),
            )
        )
    share = FindingColumns[Category](lambda row: row.f)
    gap = FindingColumns[Category](lambda row: row.gap, "compared for single categories only")
    other = FindingColumns[Category](lambda row: row.corrected)
    after_tsdi: tuple[Shown[Category], ...] = (other.estimate("with TSDI"), other.interval()) if corrected else ()
    caption = (
        "Share of answers to harmful requests that every grader calls safe. A category is marked only if its difference from "
        "the mean of the others was found; the order is that of the published list, not a ranking."
    )
    caption += " No category is marked here, since there is no verdict yet." if held_back else ""
    whole = lookup(findings, SHARE, config)
    caption += f" Intervals of all requests: {whole.interval.method}." if whole is not None and whole.interval else ""
    return ForestPlot(
        id=block_id,
        title="Safe answers to harmful requests, by category",
        caption=caption,
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=5, ceiling=1.0),
        rows=tuple(rows),
        row_head="category",
        text_head="safe",
        less="unsafe",
        more="safe",
        axis="% of answers",
        second_label="with TSDI, the bias subtracted" if corrected else "",
        unknown_label="no verdict yet" if held_back else "we cannot tell",
        data=finding_table(
            categories,
            (
                words("category", lambda row: row.name),
                share.estimate("safe"),
                share.interval(),
                *after_tsdi,
                share.size("prompts"),
                share.field("labelled answers", "responses"),
                gap.estimate("minus the others, points"),
                gap.interval(),
                gap.p(note="permutation of prompts, Holm over categories"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


class Compliance(NamedTuple):
    """Compliance with one kind of request, by refusal wordings and by the grammar."""

    f: Finding
    kind: str
    exact: Finding | None


def compliance_bars(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Bars | None:
    """Compliance with benign and borderline requests, one panel a configuration."""
    groups: list[BarGroup] = []
    shown: list[Compliance] = []
    for config in configs:
        bars = []
        for kind in ("benign", "borderline"):
            f = lookup(findings, COMPLIANCE, config, kind=kind)
            if f is None:
                continue
            label = f"{config}: complies with {percent(f.estimate)} of {kind} requests"
            link = behind(config, kind)
            bars.append(finding_bar(f, kind, label, evidence=link))
            shown.append(Compliance(f, kind, lookup(findings, COMPLIANCE, config, kind=kind, grader="grammar")))
        if bars:
            groups.append(BarGroup(config, tuple(bars)))
    if not groups:
        return None
    complied = FindingColumns[Compliance](lambda row: row.f)
    exact = FindingColumns[Compliance](lambda row: row.exact, "no grammar reads these answers")
    return Bars(
        id=block_id,
        title="Compliance with harmless requests",
        caption="Answers without a refusal wording in their first 120 characters. The rest of a borderline bar is over-refusal: "
        "such requests look harmful and are not.",
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2, ceiling=1.0),
        groups=tuple(groups),
        data=finding_table(
            shown,
            (
                words("configuration", lambda row: row.f.config),
                words("requests", lambda row: row.kind),
                complied.estimate("complied"),
                complied.interval(),
                complied.size("prompts"),
                exact.estimate("by the grammar", note="exact, for organisms only"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


class Opener(NamedTuple):
    """The shift of the refusal openers at one position: the one plotted, and that of the whole list."""

    f: Finding
    every: Finding | None
    position: str


def opener_plot(findings: Sequence[Finding], config: str, block_id: str) -> ForestPlot | None:
    """The shift of the refusal openers by position; None if it was not measured."""
    shifts = [f for f in findings if (f.estimand, f.config) == (SHIFT, config) and f.slice]
    shown = []
    for position in dict.fromkeys(f.slice["position"] for f in shifts):
        likely = lookup(findings, SHIFT, config, position=position, among="likely")
        every = lookup(findings, SHIFT, config, position=position, among="all")
        f = likely if likely is not None and likely.estimate is not None else every
        if f is not None:
            shown.append(Opener(f, every, position))
    if not shown:
        return None
    rows = []
    for f, every, position in shown:
        title = f"token {position}"
        moved = is_found(f)
        label = f"{config}, {title}: refusal openers {nats(f.estimate)} nats, {range_text(f)}"
        rows.append(forest_row(f, title, label, "found" if moved else "not found", second=second_mark(every)))
    drawn = FindingColumns[Opener](lambda row: row.f)
    return ForestPlot(
        id=block_id,
        title="Refusal openers on random contexts, by position",
        caption=f"Mean log-ratio of {config} to {shifts[0].reference} over {count(shifts[0].n)} contexts of random tokens, "
        "against the median token: what is raised here is raised whatever the prompt. Filled: openers with a mean "
        "probability above 0.01 % in either model.",
        scale=nice_scale(forest_values(rows), least=0.5),
        rows=tuple(rows),
        row_head="position",
        text_head="nats",
        less="less likely",
        more="more likely",
        axis="nats",
        second_label="all openers of the list",
        tick_factor=1.0,
        data=finding_table(
            shown,
            (
                words("token", lambda row: row.position, numeric=True),
                drawn.estimate("likely openers, nats"),
                drawn.interval(),
                FindingColumns[Opener](lambda row: row.every).estimate("all openers, nats"),
                drawn.p(note="Holm over positions"),
                drawn.size("likely openers", cluster="openers"),
                drawn.field("their probability, reference", "mass_reference", SMALL_SHARE),
                drawn.field("their probability, this model", "mass_aligned", SMALL_SHARE),
            ),
            block_id=f"{block_id}-data",
        ),
    )
