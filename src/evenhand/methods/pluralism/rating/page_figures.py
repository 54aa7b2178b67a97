"""Figures of one configuration of the pluralism audit: sensitivity next to its null, contrasts, agreement, intersections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evenhand.findings.builder import select
from evenhand.findings.decide import is_found
from evenhand.methods.pluralism.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.agreement import ALPHA, ICC, POOLED, RHO
from evenhand.methods.pluralism.rating.contrasts import ALL_DOMAINS, CONTRAST, LEAST_RATINGS, MACRO_DOMAINS
from evenhand.methods.pluralism.rating.groups import DPD, DS, EOD
from evenhand.methods.pluralism.rating.page_evidence import behind, domain_name
from evenhand.methods.pluralism.rating.panels import PEOPLE
from evenhand.methods.pluralism.rating.verdict import PROFILES
from evenhand.records import Finding
from evenhand.report.blocks import ForestPlot, nice_scale
from evenhand.report.figures import Grid, GridCell, GridRow
from evenhand.report.finding_table import FINDING, POINTS, SCALE, WHOLE_SHARE, finding_table, range_text, words
from evenhand.report.marks import forest_row, forest_values, state_of
from evenhand.wording import DASH, count, points

LEAST_REACH = 0.05
"""A contrast of 5 points or more has the full colour if none is larger."""
COEFFICIENTS = (ICC, ALPHA, RHO)
ADJUSTED = ("p_holm", "q_bh", "p")
"""The adjusted p, Holm's or else Benjamini and Hochberg's; the plain one of a test that belongs to no family."""
_STATES = {
    "found": "more than shuffled groups", "not found": "no more than shuffled groups", "unknown": "we cannot tell",
    "undefined": "undefined",
}  # fmt: skip


@dataclass(frozen=True)
class ConfigFindings:
    """The findings of one configuration; those on people with all raters unless a view is given."""

    findings: Sequence[Finding]
    config: str

    @property
    def raters(self) -> str:
        """What raters are first of all: profiles of one field, or people."""
        return PEOPLE if self.config == PEOPLE else PROFILES

    def all(self, estimand: str, outcome: str = "", **part: str) -> list[Finding]:
        """The findings of an estimand with this slice, in order."""
        wanted = {"view": VIEWS[0], **part} if self.config == PEOPLE else part
        return select(self.findings, estimand, self.config, outcome, having=wanted)

    def kinds(self) -> list[str]:
        """What raters are in the findings on agreement: profiles of one field, full profiles, people."""
        return list(dict.fromkeys(f.slice["raters"] for f in self.all(ALPHA)))


def scale_range(f: Finding | None) -> str:
    """An interval on the scale: ``0.041 to 0.062``."""
    return range_text(f, SCALE)


def _null(f: Finding) -> tuple[float, float | None, float | None] | None:
    mean = f.extra.get("null_mean")
    return None if mean is None else (float(mean), f.extra["null_low"], f.extra["null_high"])


def _against_null(
    shown: Sequence[Finding],
    titles: Sequence[str],
    tables: Sequence[Finding],
    block_id: str,
    title: str,
    caption: str,
    axis: str,
) -> ForestPlot | None:
    """Estimates that cannot be below 0, each with what shuffled group labels give; ``tables`` are the rows below."""
    if not shown:
        return None
    rows = []
    for f, name in zip(shown, titles, strict=True):
        null, state = _null(f), state_of(f)
        shuffled = "" if null is None else f" · shuffled {SCALE.text(null[0])}"
        label = f"{f.config}, {name}: {SCALE.text(f.estimate)}, {scale_range(f)}{shuffled}; {_STATES[state]}"
        rows.append(
            forest_row(
                f,
                name,
                f"{label}; n {count(f.n)} texts",
                state,
                unit=SCALE,
                note=f"{scale_range(f)}{shuffled}",
                second=null,
                evidence=behind(f),
            )
        )
    return ForestPlot(
        id=block_id,
        title=title,
        caption=caption,
        scale=nice_scale(forest_values(rows), least=0.02),
        rows=tuple(rows),
        row_head="field",
        text_head="value",
        less="alike",
        more="apart",
        axis=axis,
        tick_factor=1.0,
        second_label="shuffled group labels: mean and 95 % range",
        data=finding_table(
            tables,
            (
                words("measure", _measure, evidence=behind),
                words("field", lambda f: f.slice["axis"]),
                words("raters", lambda f: f.slice.get("raters", DASH)),
                FINDING.estimate("value", unit=SCALE),
                FINDING.interval(unit=SCALE),
                FINDING.field("shuffled", "null_mean", SCALE, note="mean over shuffles of the group labels"),
                words("their 95 % range", lambda f: SCALE.range(*(_null(f) or (None,) * 3)[1:])),
                FINDING.field("above it", "excess", SCALE, note="value minus the mean of shuffled ones"),
                FINDING.p(
                    "adjusted p",
                    *ADJUSTED,
                    note="permutation of group labels, Holm over fields; only the first form is adjusted",
                ),
                FINDING.size("texts"),
                words("between", _between, note="the groups with the largest and the smallest share"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def _measure(f: Finding) -> str:
    return {DS: f"distance, {f.outcome}", DPD: "parity difference", EOD: "odds difference"}[f.estimand]


def _between(f: Finding) -> str:
    pair = [f.extra[end] for end in ("highest", "lowest") if f.extra.get(end)]
    return " and ".join(pair) if len(set(pair)) > 1 else ""


def _titled(shown: Sequence[Finding]) -> list[str]:
    first = (PROFILES, PEOPLE)
    return [f.slice["axis"] if f.slice["raters"] in first else f"{f.slice['axis']}, {f.slice['raters']}" for f in shown]


def sensitivity_plot(findings: ConfigFindings, block_id: str) -> ForestPlot | None:
    """The distance of two groups, by field, next to its null; every form in the table."""
    shown = findings.all(DS, "absolute")
    rater = "people of one group" if findings.config == PEOPLE else "a model asked to rate as a member of one group"
    return _against_null(
        shown,
        _titled(shown),
        findings.all(DS),
        block_id,
        "How far ratings move with the group, compared with shuffled groups",
        "Mean over texts of the distance between the mean ratings of two groups, on the scale of 0 (safe) to 1 (unsafe). A "
        f"rater is {rater}. Small groups and noise lie apart too: only what exceeds shuffled labels counts. Choose a row to "
        "read its ratings.",
        "distance, scale of 0 to 1",
    )


def disparity_plot(findings: ConfigFindings, block_id: str) -> ForestPlot | None:
    """The parity and the odds difference, by field, next to their nulls."""
    every = [f for estimand in (DPD, EOD) for f in findings.all(estimand) if "raters" in f.slice]
    shown = [f for f in every if f.slice["raters"] == findings.raters]
    names = {DPD: "parity", EOD: "odds"}
    titles = [f"{names[f.estimand]}, {title}" for f, title in zip(shown, _titled(shown), strict=True)]
    truths = {str(f.extra["truth"]) for f in every if f.extra.get("truth")}
    truth = f" given the true label ({', '.join(sorted(truths))})" if truths else ", which needs a true label"
    return _against_null(
        shown,
        titles,
        every,
        block_id,
        "Differences in the share of texts rated unsafe, compared with shuffled groups",
        "Parity: the largest minus the smallest share of ratings above .5 of any group. Odds: the same"
        f"{truth}, the larger of the two. The table covers every kind of raters.",
        "difference of shares",
    )


def contrast_grid(findings: ConfigFindings, block_id: str) -> Grid | None:
    """Each group minus the mean of the groups, by domain; thin cells are set back, shown ones ringed."""
    cells = {
        (f.slice["axis"], str(f.group), f.slice["domain"]): f
        for f in findings.all(CONTRAST, raters=findings.raters)
        if " x " not in f.slice["axis"]
    }
    if not cells:
        return None
    groups = list(dict.fromkeys((axis, group) for axis, group, _ in cells))
    domains = list(dict.fromkeys(domain for *_, domain in cells))
    full = max([LEAST_REACH, *(abs(f.estimate or 0.0) for f in cells.values() if f.n >= LEAST_RATINGS)])
    rows = []
    for domain in domains:
        across = [cells.get((*group, domain)) for group in groups]
        texts = max(f.clusters["items"] for f in across if f is not None)
        rows.append(GridRow(_named(domain), tuple(_contrast_cell(f, full) for f in across), f"{count(texts)} texts"))
    axes = list(dict.fromkeys(axis for axis, _ in groups))
    return Grid(
        id=block_id,
        title="Each group against the mean of the groups, by domain",
        caption="Points of the scale: +10 is a tenth of the way from safe to unsafe above the mean of the groups of that field. "
        f"A cell with fewer than {LEAST_RATINGS} ratings carries no claim. Intervals and adjusted p are in "
        "the table. Choose a cell to read its ratings.",
        corner="domain",
        columns=tuple(group for _, group in groups),
        rows=tuple(rows),
        spans=tuple((axis, sum(1 for name, _ in groups if name == axis)) for axis in axes),
        legend=(
            ("bad h6", "rates less safe"),
            ("good h6", "rates safer"),
            ("ring", "difference found"),
            ("faint", f"fewer than {LEAST_RATINGS} ratings: no claim"),
        ),
        data=finding_table(
            cells.values(),
            (
                words("field", lambda f: f.slice["axis"]),
                words("group", lambda f: f.group, evidence=behind),
                words("domain", lambda f: _named(f.slice["domain"]), wide=True),
                FINDING.estimate("points", unit=POINTS),
                FINDING.interval(unit=POINTS),
                FINDING.size("ratings"),
                FINDING.size("texts", cluster="items"),
                FINDING.size("raters", cluster="raters"),
                FINDING.p("adjusted p", *ADJUSTED, note="Benjamini-Hochberg over groups x domains"),
                words("remark", lambda f: "" if f.n >= LEAST_RATINGS else "no claim"),
            ),
            block_id=f"{block_id}-data",
            sortable=True,
        ),
    )


def _named(domain: str) -> str:
    return {ALL_DOMAINS: "All texts", MACRO_DOMAINS: "Mean of the domains"}.get(domain, domain_name(domain))


def _contrast_cell(f: Finding | None, full: float) -> GridCell:
    if f is None:
        return GridCell(DASH, "", reason="no text of this domain was rated under every group")
    thin = f.n < LEAST_RATINGS
    outcome = f.reason if thin else "difference found" if is_found(f) else "no difference found"
    place = f"{f.group}, {_named(f.slice['domain'])}: {points(f.estimate)} points, {range_text(f, POINTS)}"
    return GridCell(
        text=points(f.estimate),
        label=f"{place}, n {count(f.n)}; {outcome}",
        shade=None if thin else (f.estimate or 0.0) / full,
        note=f"n {count(f.n)}" if thin else "",
        strong=not thin and is_found(f),
        faint=thin,
        evidence=behind(f),
    )


def agreement_plot(findings: ConfigFindings, raters: str, block_id: str) -> ForestPlot | None:
    """The six intraclass correlations, alpha and rho of one kind of raters; people's under every choice of raters below."""
    shown = [f for estimand in COEFFICIENTS for f in findings.all(estimand, raters=raters)]
    if not shown:
        return None
    rows = []
    for f in shown:
        name = _coefficient(f)
        label = f"{findings.config}, {raters}, {name}: {SCALE.text(f.estimate)}, {scale_range(f)}"
        note = scale_range(f) if f.estimate is not None else f.reason
        rows.append(forest_row(f, name, label, "not found", unit=SCALE, note=note, evidence=behind(f)))
    every = [f for f in findings.findings if f.config == findings.config and f.slice.get("raters") == raters]
    views = len({f.slice.get("view") for f in every}) > 1
    more = " Under other choices of raters: see the numbers behind this figure." if views else ""
    return ForestPlot(
        id=block_id,
        title=f"Agreement of raters: {raters}",
        caption=f"A rater is {shown[0].extra['rater']}. ICC(.,1) is of one rater, ICC(.,k) of the mean of all k, near 1 with "
        f"many raters whatever they agree on. Below 0 is less than chance.{more}",
        scale=nice_scale(forest_values(rows), include=(0.0, 1.0), ceiling=1.0),
        rows=tuple(rows),
        row_head="coefficient",
        text_head="value",
        less="none",
        more="perfect",
        axis="coefficient",
        tested=False,
        tick_factor=1.0,
        data=finding_table(
            [f for f in every if f.estimand in COEFFICIENTS],
            (
                words("coefficient", _coefficient, evidence=behind),
                words("raters", lambda f: f.slice.get("view", raters)),
                FINDING.estimate("value", unit=SCALE),
                FINDING.interval(unit=SCALE),
                FINDING.size("texts", cluster="items"),
                FINDING.size("raters", cluster="raters"),
                FINDING.size("n", note="ratings; pairs of raters for rho"),
                words("fit", lambda f: f.extra.get("method") or DASH),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def _coefficient(f: Finding) -> str:
    if f.estimand == ICC:
        return f"{f.outcome}, k {f.extra['k']:g}" if f.outcome.endswith("k)") else f.outcome
    return f"alpha, {f.outcome}" if f.estimand == ALPHA else "mean Spearman rho"


def intersection_plot(findings: ConfigFindings, block_id: str) -> ForestPlot | None:
    """Race x gender: each group's mean against all raters of a text, drawn towards the common mean if it is noisy."""
    shown = findings.all(POOLED)
    if not shown:
        return None
    rows = []
    for f in shown:
        plain, reach = f.extra["plain"], range_text(f, POINTS)
        label = f"{f.group}: {points(f.estimate)} points, {reach}; unpooled {points(plain)}; {count(f.n)} raters"
        rows.append(
            forest_row(
                f,
                str(f.group),
                label,
                "not found",
                unit=POINTS,
                note=f"{reach} · {count(f.n)} raters",
                second=None if plain is None else (float(plain), None, None),
                evidence=behind(f),
            )
        )
    axis = shown[0].slice["axis"]
    return ForestPlot(
        id=block_id,
        title=f"Intersections: {axis}",
        caption="Mean rating of a group against all raters of the same text, partly pooled. A rater is "
        f"{shown[0].extra['rater']}. Not tested.",
        scale=nice_scale(forest_values(rows), least=0.04),
        rows=tuple(rows),
        row_head=axis,
        text_head="points",
        less="rates safer",
        more="rates less safe",
        axis="points of the scale",
        tested=False,
        second_label="unpooled mean",
        data=finding_table(
            shown,
            (
                words(axis, lambda f: f.group, evidence=behind),
                FINDING.estimate("points", unit=POINTS),
                FINDING.interval(unit=POINTS),
                FINDING.field("unpooled", "plain", POINTS),
                FINDING.field(
                    "own weight",
                    "weight",
                    WHOLE_SHARE,
                    note="how much a group's own mean counts against the common one",
                ),
                FINDING.size("raters"),
            ),
            block_id=f"{block_id}-data",
        ),
    )
