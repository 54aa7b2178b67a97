"""Figures of one configuration of the pluralism audit: sensitivity beside its null, contrasts, agreement, intersections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evenhand.findings.decide import is_found
from evenhand.methods.pluralism.rating.agreement import ALPHA
from evenhand.methods.pluralism.rating.contrasts import ALL_DOMAINS, CONTRAST, LEAST_RATINGS, MACRO_DOMAINS
from evenhand.methods.pluralism.rating.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.groups import DPD, DS, EOD
from evenhand.methods.pluralism.rating.report.evidence import behind, domain_name
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import PROFILES, scale_number
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, ForestPlot, ForestRow, Table
from evenhand.report.decisions import state_of
from evenhand.report.plane_blocks import Grid, GridCell, GridRow
from evenhand.report.scales import ends, nice_scale
from evenhand.wording import DASH, count, p_value, point_range, points

LEAST_REACH = 0.05
"""A contrast of 5 points or more has the full colour where none is larger."""


@dataclass(frozen=True)
class Own:
    """The findings of one configuration; those on people with all raters unless a view is named."""

    findings: Sequence[Finding]
    config: str

    @property
    def raters(self) -> str:
        """What raters are first of all: profiles of one field, or people."""
        return PEOPLE if self.config == PEOPLE else PROFILES

    def all(self, estimand: str, outcome: str = "", **part: str) -> list[Finding]:
        """The findings of an estimand with this slice, in order."""
        wanted = {"view": VIEWS[0], **part} if self.config == PEOPLE else part
        return [
            f for f in self.findings
            if (f.estimand, f.config) == (estimand, self.config) and outcome in ("", f.outcome)
            and all(f.slice.get(key) == value for key, value in wanted.items())
        ]  # fmt: skip

    def kinds(self) -> list[str]:
        """What raters are in the findings on agreement: profiles of one field, full profiles, people."""
        return list(dict.fromkeys(f.slice["raters"] for f in self.all(ALPHA)))


def reach(f: Finding | None) -> str:
    """An interval on the scale: ``0.041 to 0.062``."""
    low, high = ends(f)
    return DASH if low is None or high is None else f"{scale_number(low)} to {scale_number(high)}"


def number_cell(f: Finding | None) -> Cell:
    """An estimate on the scale, or why there is none."""
    if f is None:
        return Cell(DASH)
    return Cell(scale_number(f.estimate), sort=f.estimate, reason=f.reason if f.estimate is None else "")


def adjusted_p(f: Finding) -> str:
    """The adjusted p, Holm's or else Benjamini and Hochberg's; the plain one of a test that belongs to no family."""
    if f.test is None:
        return DASH
    return p_value(next((p for p in (f.test.p_holm, f.test.q_bh, f.test.p) if p is not None), None))


_SAID = {
    "found": "more than shuffled groups", "not found": "no more than shuffled groups", "unknown": "we cannot tell",
    "undefined": "undefined",
}  # fmt: skip


def _null(f: Finding) -> tuple[float, float | None, float | None] | None:
    mean = f.extra.get("null_mean")
    return None if mean is None else (float(mean), f.extra["null_low"], f.extra["null_high"])


def _against_null(
    found: Sequence[Finding],
    titles: Sequence[str],
    tables: Sequence[Finding],
    block_id: str,
    title: str,
    caption: str,
    axis: str,
) -> ForestPlot | None:
    """Estimates that cannot be below 0, each with what shuffled group labels give; ``tables`` are the rows below."""
    if not found:
        return None
    rows = []
    for f, name in zip(found, titles, strict=True):
        low, high = ends(f)
        null = _null(f)
        beside = "" if null is None else f" · shuffled {scale_number(null[0])}"
        state = state_of(f)
        rows.append(
            ForestRow(
                name, f.estimate, low, high, scale_number(f.estimate), f"{reach(f)}{beside}",
                f"{f.config}, {name}: {scale_number(f.estimate)}, {reach(f)}{beside}; {_SAID[state]}; n {count(f.n)} texts",
                state, f.reason if f.estimate is None else "", behind(f), null,
            )
        )  # fmt: skip
    values = [v for row in rows for v in (row.estimate, row.low, row.high, *(row.second or ()))]
    columns = (
        Column("measure"), Column("field"), Column("raters"), Column("value", numeric=True), Column("95 % interval"),
        Column("shuffled", numeric=True, help="mean over shuffles of the group labels"), Column("their 95 % range"),
        Column("above it", numeric=True, help="value minus the mean of shuffled ones"),
        Column("adjusted p", numeric=True, help="permutation of group labels, Holm over fields; the first form alone is adjusted"),
        Column("texts", numeric=True), Column("between", help="the groups with the largest and the smallest share"),
    )  # fmt: skip
    data = tuple(_null_row(f) for f in tables)
    return ForestPlot(
        id=block_id, title=title, caption=caption, scale=nice_scale(values, least=0.02), rows=tuple(rows), row_head="field",
        text_head="value", less="alike", more="apart", axis=axis, tick_factor=1.0,
        second_label="shuffled group labels: mean and 95 % range",
        data=Table(id=f"{block_id}-data", columns=columns, rows=data),
    )  # fmt: skip


def _null_row(f: Finding) -> tuple[Cell, ...]:
    null = _null(f)
    low, high = (null[1], null[2]) if null else (None, None)
    pair = [f.extra[end] for end in ("highest", "lowest") if f.extra.get(end)]
    named = {DS: f"distance, {f.outcome}", DPD: "parity difference", EOD: "odds difference"}[f.estimand]
    range_ = DASH if low is None or high is None else f"{scale_number(low)} to {scale_number(high)}"
    return (
        Cell(named, evidence=behind(f)), Cell(f.slice["axis"]), Cell(f.slice.get("raters", DASH)), number_cell(f), Cell(reach(f)),
        Cell(scale_number(null[0]) if null else DASH), Cell(range_), Cell(scale_number(f.extra.get("excess"))),
        Cell(adjusted_p(f)), Cell(count(f.n), sort=f.n), Cell(" and ".join(pair) if len(set(pair)) > 1 else ""),
    )  # fmt: skip


def _titled(found: Sequence[Finding], first: str) -> list[str]:
    return [
        f.slice["axis"] if f.slice["raters"] in (first, PEOPLE) else f"{f.slice['axis']}, {f.slice['raters']}"
        for f in found
    ]


def sensitivity_plot(own: Own, block_id: str) -> ForestPlot | None:
    """The distance of two groups, by field, beside its null; every form in the table."""
    found = own.all(DS, "absolute")
    what = "people of" if own.config == PEOPLE else "a rater told to be of"
    return _against_null(
        found, _titled(found, PROFILES), own.all(DS), block_id, "How far ratings move with the group, beside shuffled groups",
        "Mean over texts of the distance between the mean ratings of two groups, on the scale of 0 (safe) to 1 (unsafe). A rater "
        f"is {what} one group. Small groups and noise lie apart too: only what exceeds shuffled labels counts. Choose a row to "
        "read its ratings.", "distance, scale of 0 to 1",
    )  # fmt: skip


def disparity_plot(own: Own, block_id: str) -> ForestPlot | None:
    """The parity and the odds difference, by field, beside their nulls."""
    every = [f for estimand in (DPD, EOD) for f in own.all(estimand) if "raters" in f.slice]
    found = [f for f in every if f.slice["raters"] == own.raters]
    names = {DPD: "parity", EOD: "odds"}
    titles = [f"{names[f.estimand]}, {told}" for f, told in zip(found, _titled(found, PROFILES), strict=True)]
    truths = {str(f.extra["truth"]) for f in every if f.extra.get("truth")}
    truth = f" given the true label ({', '.join(sorted(truths))})" if truths else ", which needs a true label"
    return _against_null(
        found, titles, every, block_id, "Differences in the share of texts rated unsafe, beside shuffled groups",
        f"Parity: the largest minus the smallest share of ratings above .5 of any group. Odds: the same{truth}, the larger of the "
        "two. The numbers hold every kind of raters.", "difference of shares",
    )  # fmt: skip


def contrast_grid(own: Own, block_id: str) -> Grid | None:
    """Each group minus the mean of the groups, by domain; thin cells are set back, shown ones ringed."""
    cells = {
        (f.slice["axis"], str(f.group), f.slice["domain"]): f
        for f in own.all(CONTRAST, raters=own.raters)
        if " x " not in f.slice["axis"]
    }
    if not cells:
        return None
    groups = list(dict.fromkeys((axis, group) for axis, group, _ in cells))
    domains = list(dict.fromkeys(domain for *_, domain in cells))
    full = max([LEAST_REACH, *(abs(f.estimate or 0.0) for f in cells.values() if f.n >= LEAST_RATINGS)])
    rows = []
    for domain in domains:
        here = [cells.get((*group, domain)) for group in groups]
        texts = max(f.clusters["items"] for f in here if f is not None)
        rows.append(GridRow(_named(domain), tuple(_contrast_cell(f, full) for f in here), f"{count(texts)} texts"))
    axes = list(dict.fromkeys(axis for axis, _ in groups))
    columns = (
        Column("field"), Column("group"), Column("domain", wide=True), Column("points", numeric=True), Column("95 % interval"),
        Column("ratings", numeric=True), Column("texts", numeric=True), Column("raters", numeric=True),
        Column("adjusted p", numeric=True, help="Benjamini-Hochberg over groups x domains"), Column("remark"),
    )  # fmt: skip
    data = [
        (
            Cell(axis), Cell(group, evidence=behind(f)), Cell(_named(domain)), Cell(points(f.estimate), sort=f.estimate),
            Cell(point_reach(f)), Cell(count(f.n), sort=f.n), Cell(count(f.clusters["items"])), Cell(count(f.clusters["raters"])),
            Cell(adjusted_p(f)), Cell("" if f.n >= LEAST_RATINGS else "no claim"),
        )
        for (axis, group, domain), f in cells.items()
    ]  # fmt: skip
    return Grid(
        id=block_id, title="Each group against the mean of the groups, by domain",
        caption="Points of the scale: +10 is a tenth of the way from safe to unsafe above the mean of the groups of that field. "
        f"A cell with fewer than {LEAST_RATINGS} ratings carries no claim. Intervals and adjusted p are in "
        "the table. Choose a cell to read its ratings.",
        corner="domain", columns=tuple(group for _, group in groups), rows=tuple(rows),
        spans=tuple((axis, sum(1 for name, _ in groups if name == axis)) for axis in axes),
        legend=(("bad h6", "rates less safe"), ("good h6", "rates safer"), ("ring", "difference found"),
                ("faint", f"fewer than {LEAST_RATINGS} ratings: no claim")),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data), sortable=True),
    )  # fmt: skip


def _named(domain: str) -> str:
    return {ALL_DOMAINS: "All texts", MACRO_DOMAINS: "Mean of the domains"}.get(domain, domain_name(domain))


def point_reach(f: Finding) -> str:
    """An interval in signed points of the scale: ``+1.2 to +3.4``."""
    return point_range(*ends(f))


def _contrast_cell(f: Finding | None, full: float) -> GridCell:
    if f is None:
        return GridCell(DASH, "", reason="no text of this domain was rated under every group")
    thin = f.n < LEAST_RATINGS
    said = f.reason if thin else "difference found" if is_found(f) else "no difference found"
    told = (
        f"{f.group}, {_named(f.slice['domain'])}: {points(f.estimate)} points, {point_reach(f)}, n {count(f.n)}; {said}"
    )
    return GridCell(
        points(f.estimate), told, None if thin else (f.estimate or 0.0) / full, f"n {count(f.n)}" if thin else "",
        not thin and is_found(f), thin, evidence=behind(f),
    )  # fmt: skip
