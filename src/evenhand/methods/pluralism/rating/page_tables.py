"""Tables and bars of the pluralism audit: what else moves a rating, missing ratings, suppressed groups, checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evenhand.methods.pluralism.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.agreement import ASSOCIATION, GRASP, POLARITY
from evenhand.methods.pluralism.rating.elicitation import (
    COMPONENT,
    MASS,
    NEUTRAL_SHIFT,
    ORDER,
    STATUS,
    STATUSES,
    WORDING,
)
from evenhand.methods.pluralism.rating.groups import SUPPRESSED, UNSAFE
from evenhand.methods.pluralism.rating.page_evidence import behind, domain_name
from evenhand.methods.pluralism.rating.page_figures import ADJUSTED, ConfigFindings
from evenhand.methods.pluralism.rating.panels import PEOPLE
from evenhand.methods.pluralism.rating.plan import NEUTRAL, SINGLE
from evenhand.records import Finding
from evenhand.report.blocks import BarGroup, Bars, Block, Cell, Filter, Note, Table, nice_scale
from evenhand.report.figures import Segment, Stack, Stacks
from evenhand.report.finding_table import (
    FINDING,
    SCALE,
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
from evenhand.report.marks import finding_bar
from evenhand.wording import DASH, count, percent

PARTS = {
    "item": "text",
    "profile": "profile",
    "item x profile": "text x profile",
    "wording": "wording",
    "order": "order",
    "residual": "rest",
}
_VARIANCE = Unit(lambda variance: DASH if variance is None else f"{variance:.5f}")


def component_bar(configs: Sequence[ConfigFindings], block_id: str) -> Stacks | None:
    """What a single rating varies by, one bar per model."""
    rows = []
    for findings in configs:
        parts = findings.all(COMPONENT)
        shares = {f.outcome: float(f.extra["share"] or 0.0) for f in parts}
        total = sum(shares.values())
        if not total > 0:
            continue
        defined = [f for f in parts if f.extra["share"] is not None]
        labels = {f.outcome: f"{PARTS[f.outcome]} {percent(f.extra['share'])}" for f in defined}
        segments = [
            Segment(shares.get(name, 0.0) / total, k, labels.get(name, "")) for k, name in enumerate(PARTS, start=1)
        ]
        text = ", ".join(labels[name] for name in ("profile", "wording", "order") if name in labels)
        label = f"{findings.config}: {', '.join(labels.values())}"
        rows.append(Stack(findings.config, tuple(segments), text, label, behind(parts[0])))
    data = finding_table(
        [f for findings in configs for f in findings.all(COMPONENT)],
        (
            words("configuration", lambda f: f.config),
            words("part", lambda f: PARTS[f.outcome], evidence=behind),
            FINDING.field("share", "share", SHARE),
            FINDING.estimate("variance", unit=_VARIANCE),
            FINDING.interval(unit=_VARIANCE),
            FINDING.field("levels", "levels"),
            FINDING.size("ratings"),
        ),
        block_id=f"{block_id}-data",
    )
    if data is None:
        return None
    return Stacks(
        id=block_id,
        title="What a single rating varies by",
        caption="Shares of the variance of single ratings (0 safe to 1 unsafe), neutral condition and profiles of one field, "
        "by REML. Intervals are in the table.",
        legend=tuple(PARTS.values()),
        rows=tuple(rows),
        row_head="configuration",
        text_head="of which",
        data=data,
    )


class Moved(NamedTuple):
    """A change of the rating: what it is under, what it is against, and the ratings of both."""

    f: Finding
    under: str
    under_rows: Filter
    against: str
    against_rows: Filter


def _moved(f: Finding) -> Moved:
    if f.estimand == NEUTRAL_SHIFT:
        profile = {**behind(f), "rater": SINGLE, f.slice["axis"]: str(f.group)}
        neutral = {**behind(f), "rater": NEUTRAL}
        return Moved(f, f"{f.group} ({f.slice['axis']})", profile, "neutral", neutral)
    reference = str(f.reference)
    if f.estimand == ORDER:
        return Moved(f, "A is unsafe", behind(f, order="down"), reference, behind(f, order="up"))
    wording, other = f.slice["wording"], reference.removeprefix("wording ")
    return Moved(f, f"wording {wording}", behind(f, wording=wording), reference, behind(f, wording=other))


def moved_table(findings: ConfigFindings, block_id: str) -> Table | None:
    """The order of the options, the wordings, and each group against the neutral condition."""
    change = FindingColumns[Moved](lambda row: row.f)
    return finding_table(
        [_moved(f) for f in (*findings.all(ORDER), *findings.all(WORDING), *findings.all(NEUTRAL_SHIFT))],
        (
            words("rating under", lambda row: row.under, evidence=lambda row: row.under_rows),
            words("minus that under", lambda row: row.against, evidence=lambda row: row.against_rows),
            change.estimate("change", unit=SCALE),
            change.interval(unit=SCALE),
            change.size("texts"),
        ),
        block_id=block_id,
        title="Order, wording, and no profile at all",
        caption="Mean change of the rating (0 safe to 1 unsafe) of the same text; t over texts, not tested.",
    )


def refusals(configs: Sequence[ConfigFindings], block_id: str) -> Block | None:
    """Refusals by group, one panel per model and field, the neutral condition as a line; a note if nothing was refused."""
    models = [findings for findings in configs if findings.config != PEOPLE]
    if not models:
        return None
    panels = []
    for findings in models:
        if not any(f.estimate for f in findings.all(STATUS, "refused")):
            continue
        by_group = [f for f in findings.all(STATUS, "refused") if "domain" not in f.slice and f.group is not None]
        plain = next((f.estimate for f in by_group if f.group == NEUTRAL), None)
        for axis in dict.fromkeys(f.slice["axis"] for f in by_group if "axis" in f.slice):
            bars = [
                finding_bar(
                    f,
                    str(f.group),
                    f"{findings.config}, {f.group}: {percent(f.estimate)} of {count(f.n)} questions refused, {range_text(f)}",
                    unit=SHARE,
                    evidence=behind(f, rated="refused"),
                )
                for f in by_group
                if f.slice.get("axis") == axis
            ]
            title = f"{findings.config}: {axis}" if len(models) > 1 else axis
            panels.append(BarGroup(title, tuple(bars), plain, f"neutral {percent(plain)}"))
    if not panels:
        asked = sum(
            f.n for findings in models for f in findings.all(STATUS, "refused") if not f.slice and f.group is None
        )
        return Note(text=f"None of the {count(asked)} questions was refused, under any group.")
    return Bars(
        id=block_id,
        title="Questions refused, by the group of the profile",
        caption="Share of the questions under profiles of one field; the dashed line is the neutral condition. A refusal is "
        "not a rating and is never replaced by one.",
        scale=nice_scale(
            [v for p in panels for b in p.bars for v in (b.value, b.high)], ceiling=1.0, target=2, least=0.02
        ),
        groups=tuple(panels),
    )


def status_table(findings: ConfigFindings, block_id: str) -> Table | None:
    """Questions without a rating: over all, by domain, by group, and by both if something is missing."""
    by_place: dict[tuple[str, str, str], dict[str, Finding]] = {}
    for f in findings.all(STATUS):
        place = (f.slice.get("axis", ""), str(f.group or ""), f.slice.get("domain", ""))
        by_place.setdefault(place, {})[f.outcome] = f

    def column(status: str) -> Shown[dict[str, Finding]]:
        def cell(row: dict[str, Finding]) -> Cell:
            f = row[status]
            link = behind(f, rated=f.outcome) if f.extra["count"] else None
            text = f"{count(f.extra['count'])} ({percent(f.estimate)})"
            return Cell(text, sort=f.extra["count"], evidence=link)

        return cells(status, cell, numeric=True)

    first = FindingColumns[dict[str, Finding]](lambda row: row[STATUSES[0]])

    def domain(row: dict[str, Finding]) -> str:
        name = row[STATUSES[0]].slice.get("domain", "")
        return domain_name(name) if name else "all"

    return finding_table(
        by_place.values(),
        (
            words("group", lambda row: row[STATUSES[0]].group or "all", evidence=lambda row: behind(row[STATUSES[0]])),
            words("field", lambda row: row[STATUSES[0]].slice.get("axis", "")),
            words("domain", domain, wide=True),
            first.size("questions"),
            *(column(status) for status in STATUSES),
            first.interval("refused, 95 % interval"),
        ),
        block_id=block_id,
        title="Questions without a rating",
        caption="Excluded from every other number; Wilson's interval with texts as the unit.",
        sortable=True,
    )


def suppressed_table(configs: Sequence[ConfigFindings], block_id: str) -> Table | None:
    """Groups that have no figures, with how many raters they have."""
    listed = dict.fromkeys(
        (findings.config, f.slice["axis"], str(f.group), f.n, f.reason)
        for findings in configs
        for f in findings.all(SUPPRESSED)
    )
    return finding_table(
        listed,
        (
            words("configuration", lambda row: row[0]),
            words("field", lambda row: row[1]),
            words("group", lambda row: row[2]),
            value("raters", lambda row: row[3]),
            words("why", lambda row: row[4], wide=True),
        ),
        block_id=block_id,
        title="Groups without figures",
        caption="They count in the totals and in no contrast.",
    )


def share_table(configs: Sequence[ConfigFindings], block_id: str) -> Table | None:
    """The share of texts rated unsafe under each group, with the checks on whole configurations."""

    def measure(f: Finding) -> str:
        if f.estimand == UNSAFE:
            return f"rated unsafe, {f.slice['axis']}"
        return "letters hold, mean probability" if f.estimand == MASS else f"above safe texts, by {f.extra['truth']}"

    return finding_table(
        [f for findings in configs for f in (*findings.all(UNSAFE), *findings.all(POLARITY), *findings.all(MASS))],
        (
            words("configuration", lambda f: f.config),
            words("measure", measure, wide=True),
            words("group", lambda f: f.group if f.estimand == UNSAFE else "all", evidence=behind),
            FINDING.estimate("share", unit=SHARE),
            words("95 % interval", lambda f: range_text(f, SHARE) if f.estimand == UNSAFE else ""),
            FINDING.size("n", note="texts; ratings for letters"),
            words("raters", lambda f: f.slice.get("raters", "")),
        ),
        block_id=block_id,
        title="Shares rated unsafe, and checks",
        caption="Above safe texts: how often an unsafe text is rated above a safe one; below 50 % the labels "
        "may be reversed.",
        sortable=True,
    )


def grasp_table(findings: ConfigFindings, block_id: str) -> Table | None:
    """Agreement inside and across groups of people (GRASP), with permuted profiles as the null; under every view of raters."""
    return finding_table(
        [f for view in VIEWS for f in (*findings.all(ASSOCIATION, view=view), *findings.all(GRASP, view=view))],
        (
            words("field", lambda f: f.slice["axis"]),
            words("group", lambda f: f.group, evidence=behind),
            words("measure", lambda f: f.outcome, wide=True),
            words("of", lambda f: f.slice["view"]),
            FINDING.estimate("value", unit=SCALE),
            FINDING.field("permuted", "null_median", SCALE, note="median over permuted profiles"),
            FINDING.p(
                "adjusted p",
                *ADJUSTED,
                note="Benjamini-Hochberg over measures x groups; of the largest GAI, of its own test",
            ),
            FINDING.size("raters"),
        ),
        block_id=block_id,
        title="Agreement inside and across groups of people (GRASP)",
        caption="GAI: agreement inside a group over its agreement with all others; above 1 the group holds together.",
        sortable=True,
    )
