"""A model beside people: contrasts of both in one plane, their correlation, and the distance of their labels."""

from __future__ import annotations

from string import ascii_uppercase

from evenhand.findings.decide import is_found
from evenhand.methods.pluralism.rating.contrasts import ALL_DOMAINS, CONTRAST, LEAST_RATINGS, MACRO_DOMAINS
from evenhand.methods.pluralism.rating.human import CALIBRATION, FIT, RELIABILITY
from evenhand.methods.pluralism.rating.report.evidence import behind, domain_name
from evenhand.methods.pluralism.rating.report.figures import Own, adjusted_p, number_cell, point_reach, reach
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import PROFILES, scale_number
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, ForestPlot, ForestRow, Table
from evenhand.report.plane_blocks import Scatter, ScatterPanel, ScatterPoint
from evenhand.report.scales import ends, nice_scale
from evenhand.wording import count, points

Cells = dict[tuple[str, str, str], Finding]


def _by_domain(own: Own, raters: str) -> Cells:
    return {
        (f.slice["axis"], str(f.group), f.slice["domain"]): f
        for f in own.all(CONTRAST, raters=raters)
        if f.slice["domain"] not in (ALL_DOMAINS, MACRO_DOMAINS) and f.estimate is not None
    }


def contrast_scatter(own: Own, block_id: str) -> Scatter | None:
    """Every group in every domain: people's contrast across, the model's up; one panel a field."""
    model, people = _by_domain(own, PROFILES), _by_domain(Own(own.findings, PEOPLE), PEOPLE)
    both = [key for key in model if key in people]
    if not both:
        return None
    panels, data = [], []
    for axis in dict.fromkeys(axis for axis, _, _ in both):
        letters: dict[str, str] = {}
        shown = []
        for key in (key for key in both if key[0] == axis):
            group, domain = key[1:]
            mine, theirs = model[key], people[key]
            x, y = float(theirs.estimate or 0.0), float(mine.estimate or 0.0)
            mark = letters.setdefault(group, ascii_uppercase[len(letters) % len(ascii_uppercase)])
            thin = min(mine.n, theirs.n) < LEAST_RATINGS
            said = f"; fewer than {LEAST_RATINGS} ratings, no claim" if thin else ""
            told = f"{group}, {domain_name(domain)}: people {points(x)}, {own.config} {points(y)} points{said}"
            shown.append(ScatterPoint(mark, x, y, told, thin, behind(mine)))
            data.append(
                (
                    Cell(axis), Cell(group), Cell(domain_name(domain)), Cell(points(x), sort=x, evidence=behind(theirs)),
                    Cell(point_reach(theirs)), Cell(count(theirs.n), sort=theirs.n), Cell(points(y), sort=y, evidence=behind(mine)),
                    Cell(point_reach(mine)), Cell(count(mine.n), sort=mine.n),
                )
            )  # fmt: skip
        fit = next(iter(own.all(CALIBRATION, "correlation", axis=axis)), None)
        told = f"r {scale_number(fit.estimate)} over texts" if fit is not None and fit.estimate is not None else ""
        panels.append(ScatterPanel(axis, tuple(shown), tuple((mark, group) for group, mark in letters.items()), told))
    columns = (
        Column("field"), Column("group"), Column("domain", wide=True), Column("people, points", numeric=True),
        Column("95 % interval"), Column("their ratings", numeric=True), Column("model, points", numeric=True),
        Column("95 % interval"), Column("its ratings", numeric=True),
    )  # fmt: skip
    return Scatter(
        id=block_id, title="The model's contrasts beside people's",
        caption="A point is a group in a domain: its mean rating minus the mean of the groups of that field, 100 points being the "
        "whole scale. On the dashed line both agree; along the middle line the model does not move. A rater is a person across, "
        "the model told to be one of the group up. Choose a point to read the model's ratings; people's are in the table.",
        scale=nice_scale([v for panel in panels for p in panel.points for v in (p.x, p.y)], least=0.04, target=4),
        x_title="people, points", y_title=f"{own.config}, points", panels=tuple(panels),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data), sortable=True),
    )  # fmt: skip


def calibration_plot(own: Own, block_id: str) -> ForestPlot | None:
    """The correlation of the model's contrasts with people's, by field, and corrected for how well people's repeat."""
    found = [f for f in own.all(CALIBRATION, "correlation") if f.group is None]
    if not found:
        return None
    rows, data = [], []
    for f in found:
        axis = f.slice["axis"]
        low, high = ends(f)
        corrected = f.extra.get("corrected")
        beside = f" · corrected {scale_number(corrected)}" if corrected is not None else ""
        state = (
            "undefined"
            if f.estimate is None
            else "unknown"
            if f.test is None
            else "found"
            if is_found(f)
            else "not found"
        )
        said = f.reason if f.estimate is None else f"{reach(f)}{beside}"
        rows.append(
            ForestRow(
                axis, f.estimate, low, high, scale_number(f.estimate), said,
                f"{own.config}, {axis}: correlation with people {scale_number(f.estimate)}, {said}", state,  # type: ignore[arg-type]
                f.reason, behind(f), None if corrected is None else (float(corrected), None, None),
            )
        )  # fmt: skip
        slope = next(iter(own.all(CALIBRATION, "slope", axis=axis)), None)
        half = next(iter(own.all(RELIABILITY, axis=axis)), None)
        why = f.extra.get("corrected_reason", "") if corrected is None else ""
        data.append(
            (
                Cell(axis, evidence=behind(f)), number_cell(f), Cell(reach(f)), Cell(adjusted_p(f)),
                Cell(scale_number(corrected), reason=why), number_cell(slope), Cell(reach(slope)), number_cell(half),
                Cell(count(f.n), sort=f.n), Cell(count(f.clusters.get("people", 0))),
            )
        )  # fmt: skip
    columns = (
        Column("field"), Column("correlation", numeric=True), Column("95 % interval"),
        Column("adjusted p", numeric=True, help="permutation of people's group labels, Holm over fields"),
        Column("corrected", numeric=True, help="divided by the square root of the reliability of people's contrasts"),
        Column("slope", numeric=True, help="model's contrast for one of people's"), Column("95 % interval"),
        Column("reliability", numeric=True, help="people's contrasts, one half of the raters against the other, Spearman-Brown"),
        Column("texts", numeric=True), Column("people", numeric=True),
    )  # fmt: skip
    values = [v for row in rows for v in (row.estimate, row.low, row.high, *((row.second or ())[:1]))]
    return ForestPlot(
        id=block_id, title="Does the model move as people do?",
        caption="Correlation, over texts and groups, of the model's contrasts with those of people; 1 is the same pattern, 0 none, "
        "below 0 the reverse. People are few and noisy: the hollow mark is corrected for their split-half reliability.",
        scale=nice_scale(values, include=(0.0, 1.0)), rows=tuple(rows), row_head="field", text_head="correlation",
        less="the reverse", more="as people", axis="correlation", second_label="corrected for people's reliability",
        unknown_label="not tested", tick_factor=1.0, data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )  # fmt: skip


def fit_table(own: Own, block_id: str) -> Table | None:
    """How far the model's label probabilities under a profile lie from the labels of that group."""
    found = own.all(FIT, "log loss")
    if not found:
        return None
    rows = []
    for f in found:
        axis = f.slice["axis"]
        apart = next((o for o in own.all(FIT, "Wasserstein-1", axis=axis) if o.group == f.group), None)
        fit = next((o for o in own.all(CALIBRATION, "correlation", axis=axis) if o.group == f.group), None)
        rows.append(
            (
                Cell(axis), Cell(str(f.group), evidence=behind(f)), number_cell(f), Cell(scale_number(f.extra["floor"])),
                number_cell(apart), number_cell(fit), Cell(count(f.n), sort=f.n), Cell(count(f.clusters.get("people", 0))),
            )
        )  # fmt: skip
    columns = (
        Column("field"), Column("group"), Column("log loss, nats", numeric=True),
        Column("its floor", numeric=True, help="that of a model that gives people's own shares"),
        Column("Wasserstein-1", numeric=True, help="distance of mean label shares, 0 to 1"),
        Column("correlation", numeric=True, help="of this group's contrasts alone"), Column("texts", numeric=True),
        Column("people", numeric=True),
    )  # fmt: skip
    return Table(
        id=block_id, columns=columns, rows=tuple(rows), title="Labels of the model and of people, by group",
        caption="Lower is closer; nothing is tested here.",
    )  # fmt: skip
