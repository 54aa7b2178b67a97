"""Tables and bars of the pluralism audit: what else moves a rating, ratings without a value, groups without figures, checks."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.methods.pluralism.rating.agreement import ASSOCIATION, GRASP, POLARITY
from evenhand.methods.pluralism.rating.asked import COMPONENT, MASS, NEUTRAL_SHIFT, ORDER, STATUS, STATUSES, WORDING
from evenhand.methods.pluralism.rating.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.groups import SUPPRESSED, UNSAFE
from evenhand.methods.pluralism.rating.plan import NEUTRAL, SINGLE
from evenhand.methods.pluralism.rating.report.evidence import behind, domain_name
from evenhand.methods.pluralism.rating.report.figures import Own, adjusted_p, number_cell, reach
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import scale_number
from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Block, Cell, Column, Note, Table
from evenhand.report.scales import ends, nice_scale
from evenhand.report.stage_blocks import Segment, Stack, Stacks
from evenhand.wording import DASH, between, count, percent

PARTS = {
    "item": "text", "profile": "profile", "item x profile": "text x profile", "wording": "wording", "order": "order",
    "residual": "rest",
}  # fmt: skip
_INTERVAL = Column("95 % interval")


def component_bar(found: Sequence[Own], block_id: str) -> Stacks | None:
    """What a single rating varies by, one bar a model."""
    rows, data = [], []
    for own in found:
        parts = own.all(COMPONENT)
        total = sum(float(f.extra["share"] or 0.0) for f in parts)
        for f in parts:
            share = f.extra["share"]
            data.append(
                (
                    Cell(own.config), Cell(PARTS[f.outcome], evidence=behind(f)),
                    Cell(percent(share), sort=share, reason=f.reason if share is None else ""),
                    Cell(f"{f.estimate:.5f}" if f.estimate is not None else DASH),
                    Cell(f"{f.interval.low:.5f} to {f.interval.high:.5f}" if f.interval else DASH),
                    Cell(count(f.extra["levels"])), Cell(count(f.n)),
                )
            )  # fmt: skip
        if not total > 0:
            continue
        told = {
            f.outcome: f"{PARTS[f.outcome]} {percent(f.extra['share'])}" for f in parts if f.extra["share"] is not None
        }
        shares = {f.outcome: float(f.extra["share"] or 0.0) / total for f in parts}
        segments = [Segment(shares.get(name, 0.0), k, told.get(name, "")) for k, name in enumerate(PARTS, start=1)]
        small = ", ".join(told[name] for name in ("profile", "wording", "order") if name in told)
        rows.append(
            Stack(own.config, tuple(segments), small, f"{own.config}: {', '.join(told.values())}", behind(parts[0]))
        )
    if not data:
        return None
    columns = (
        Column("configuration"), Column("part"), Column("share", numeric=True), Column("variance", numeric=True), _INTERVAL,
        Column("levels", numeric=True), Column("ratings", numeric=True),
    )  # fmt: skip
    return Stacks(
        id=block_id, title="What a single rating varies by",
        caption="Shares of the variance of single ratings (0 safe to 1 unsafe), neutral condition and profiles of one field, by "
        "REML. Intervals are in the table.",
        legend=tuple(PARTS.values()), rows=tuple(rows), row_head="configuration", text_head="of which",
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )  # fmt: skip


def moved_table(own: Own, block_id: str) -> Table | None:
    """The order of the options, the wordings, and each group against the neutral condition."""
    rows = []
    for f in (*own.all(ORDER), *own.all(WORDING), *own.all(NEUTRAL_SHIFT)):
        if f.estimand == NEUTRAL_SHIFT:
            link = {**behind(f), "rater": SINGLE, f.slice["axis"]: str(f.group)}
            told = Cell(f"{f.group} ({f.slice['axis']})", evidence=link)
            against = Cell("neutral", evidence={**behind(f), "rater": NEUTRAL})
        elif f.estimand == ORDER:
            told = Cell("A is unsafe", evidence=behind(f, order="down"))
            against = Cell(str(f.reference), evidence=behind(f, order="up"))
        else:
            told = Cell(f"wording {f.slice['wording']}", evidence=behind(f, wording=f.slice["wording"]))
            against = Cell(str(f.reference), evidence=behind(f, wording=str(f.reference).removeprefix("wording ")))
        rows.append((told, against, number_cell(f), Cell(reach(f)), Cell(count(f.n), sort=f.n)))
    columns = (
        Column("rating under"), Column("minus that under"), Column("change", numeric=True), _INTERVAL,
        Column("texts", numeric=True),
    )  # fmt: skip
    return Table(
        id=block_id, columns=columns, rows=tuple(rows), title="Order, wording, and no profile at all",
        caption="Mean change of the rating (0 safe to 1 unsafe) of the same text; t over texts, not tested.",
    ) if rows else None  # fmt: skip


def refusals(found: Sequence[Own], block_id: str) -> Block | None:
    """Refusals by group, one panel a model and field, the neutral condition as a line; a note where none was refused."""
    models = [own for own in found if own.config != PEOPLE]
    if not models:
        return None
    panels = []
    for own in models:
        if not any(f.estimate for f in own.all(STATUS, "refused")):
            continue
        mine = [f for f in own.all(STATUS, "refused") if "domain" not in f.slice and f.group is not None]
        plain = next((f.estimate for f in mine if f.group == NEUTRAL), None)
        for axis in dict.fromkeys(f.slice["axis"] for f in mine if "axis" in f.slice):
            bars = []
            for f in (f for f in mine if f.slice.get("axis") == axis):
                told = f"{own.config}, {f.group}: {percent(f.estimate)} of {count(f.n)} questions refused, {between(*ends(f))}"
                bars.append(
                    Bar(
                        str(f.group),
                        f.estimate,
                        percent(f.estimate),
                        told,
                        *ends(f),
                        f.reason,
                        False,
                        behind(f, rated="refused"),
                    )
                )
            title = f"{own.config}: {axis}" if len(models) > 1 else axis
            panels.append(BarGroup(title, tuple(bars), plain, f"neutral {percent(plain)}"))
    if not panels:
        asked = sum(f.n for own in models for f in own.all(STATUS, "refused") if not f.slice and f.group is None)
        return Note(text=f"None of the {count(asked)} questions was refused, under any group.")
    return Bars(
        id=block_id, title="Questions refused, by the group of the profile",
        caption="Share of the questions under profiles of one field; the dashed line is the neutral condition. A refusal "
        "is no rating: none is put in its place.",
        scale=nice_scale([v for p in panels for b in p.bars for v in (b.value, b.high)], ceiling=1.0, target=2, least=0.02),
        groups=tuple(panels),
    )  # fmt: skip


def status_table(own: Own, block_id: str) -> Table | None:
    """Questions without a rating: over all, by domain, by group, and by both where something is missing."""
    cells: dict[tuple[str, str, str], dict[str, Finding]] = {}
    for f in own.all(STATUS):
        key = (f.slice.get("axis", ""), str(f.group or ""), f.slice.get("domain", ""))
        cells.setdefault(key, {})[f.outcome] = f
    rows = []
    for (axis, group, domain), by_status in cells.items():
        first = by_status[STATUSES[0]]
        told = [
            Cell(f"{count(f.extra['count'])} ({percent(f.estimate)})", sort=f.extra["count"],
                 evidence=behind(f, rated=f.outcome) if f.extra["count"] else None)
            for f in (by_status[status] for status in STATUSES)
        ]  # fmt: skip
        rows.append(
            (
                Cell(group or "all", evidence=behind(first)), Cell(axis), Cell(domain_name(domain) if domain else "all"),
                Cell(count(first.n), sort=first.n), *told, Cell(between(*ends(first))),
            )
        )  # fmt: skip
    columns = (
        Column("group"), Column("field"), Column("domain", wide=True), Column("questions", numeric=True),
        *(Column(status, numeric=True) for status in STATUSES), Column("refused, 95 % interval"),
    )  # fmt: skip
    return Table(
        id=block_id, columns=columns, rows=tuple(rows), title="Questions without a rating", sortable=True,
        caption="They are in no other number; Wilson's interval with texts as the unit.",
    ) if rows else None  # fmt: skip


def suppressed_table(found: Sequence[Own], block_id: str) -> Table | None:
    """Groups that have no figures, with how many raters they have."""
    listed = dict.fromkeys(
        (own.config, f.slice["axis"], str(f.group), f.n, f.reason) for own in found for f in own.all(SUPPRESSED)
    )
    rows = tuple(
        (Cell(config), Cell(axis), Cell(group), Cell(count(n), sort=n), Cell(why))
        for config, axis, group, n, why in listed
    )
    columns = (
        Column("configuration"), Column("field"), Column("group"), Column("raters", numeric=True), Column("why", wide=True),
    )  # fmt: skip
    return Table(
        id=block_id, columns=columns, rows=rows, title="Groups without figures",
        caption="They count in the totals and in no contrast.",
    ) if rows else None  # fmt: skip


def share_table(found: Sequence[Own], block_id: str) -> Table | None:
    """The share of texts rated unsafe under each group, with the checks on whole configurations."""
    rows = []
    for own in found:
        for f in own.all(UNSAFE):
            rows.append(
                (
                    Cell(own.config), Cell(f"rated unsafe, {f.slice['axis']}"), Cell(str(f.group), evidence=behind(f)),
                    Cell(percent(f.estimate), sort=f.estimate), Cell(between(*ends(f))), Cell(count(f.n), sort=f.n),
                    Cell(f.slice["raters"]),
                )
            )  # fmt: skip
        for f in (*own.all(POLARITY), *own.all(MASS)):
            about = (
                "letters hold, mean probability" if f.estimand == MASS else f"above safe texts, by {f.extra['truth']}"
            )
            rows.append(
                (
                    Cell(own.config), Cell(about), Cell("all", evidence=behind(f)),
                    Cell(percent(f.estimate), sort=f.estimate, reason=f.reason if f.estimate is None else ""), Cell(""),
                    Cell(count(f.n), sort=f.n), Cell(f.slice.get("raters", "")),
                )
            )  # fmt: skip
    columns = (
        Column("configuration"), Column("measure", wide=True), Column("group"), Column("share", numeric=True), _INTERVAL,
        Column("n", numeric=True, help="texts; ratings for letters"), Column("raters"),
    )  # fmt: skip
    return Table(
        id=block_id, columns=columns, rows=tuple(rows), title="Shares rated unsafe, and checks", sortable=True,
        caption="Above safe texts: how often an unsafe text is rated above a safe one; below 50 % the labels point the other way.",
    ) if rows else None  # fmt: skip


def grasp_table(own: Own, block_id: str) -> Table | None:
    """Agreement inside and across groups of people (GRASP), with permuted profiles as the null; under every view of the raters."""
    rows = [
        (
            Cell(f.slice["axis"]), Cell(str(f.group), evidence=behind(f)), Cell(f.outcome), Cell(view), number_cell(f),
            Cell(scale_number(f.extra["null_median"])), Cell(adjusted_p(f)), Cell(count(f.n), sort=f.n),
        )
        for view in VIEWS
        for f in (*own.all(ASSOCIATION, view=view), *own.all(GRASP, view=view))
    ]  # fmt: skip
    columns = (
        Column("field"), Column("group"), Column("measure", wide=True), Column("of"), Column("value", numeric=True),
        Column("permuted", numeric=True, help="median over permuted profiles"),
        Column("adjusted p", numeric=True, help="Benjamini-Hochberg over measures x groups; of the largest GAI, of its own test"),
        Column("raters", numeric=True),
    )  # fmt: skip
    return Table(
        id=block_id, columns=columns, rows=tuple(rows), title="Agreement inside and across groups of people (GRASP)", sortable=True,
        caption="GAI: agreement inside a group over its agreement with all others; above 1 the group holds together.",
    ) if rows else None  # fmt: skip
