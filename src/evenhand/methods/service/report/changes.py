"""The table of what changed from one configuration to the next."""

from __future__ import annotations

from evenhand.methods.service.compare import CHANGE, GAP_CHANGE
from evenhand.methods.service.report.cells import cell
from evenhand.methods.service.report.index import Index
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, Table
from evenhand.wording import DASH, group_label, p_value, percent, point_range, points


def change_table(index: Index, groups: list[str], block_id: str) -> Table | None:
    """Change of the declined rate and of each difference to the reference, one row a group and pair of configurations."""
    changes, gaps = index.all(CHANGE), index.all(GAP_CHANGE)
    if not changes:
        return None
    index.show(*changes, *gaps)
    gap_of = {(f.config, f.group): f for f in gaps}
    order = {group: at for at, group in enumerate(groups)}
    steps = list(dict.fromkeys((f.slice["from"], f.slice["to"]) for f in changes))
    rows = []
    for before, after in steps:
        mine = [f for f in changes if (f.slice["from"], f.slice["to"]) == (before, after)]
        for f in sorted(mine, key=lambda f: order.get(f.group or "", len(order))):
            step = (Cell(f"{before} to {after}"),) if len(steps) > 1 else ()
            rows.append(
                (Cell(group_label(f.group)), *step, *_rates(f), *_estimate(f), *_gap(gap_of.get((f.config, f.group))))
            )
    reference = group_label(index.reference())
    single = "" if len(steps) > 1 else f" {steps[0][0]} to {steps[0][1]}"
    return Table(
        id=block_id,
        title=f"What changed between configurations{':' if single else ''}{single}",
        columns=(
            Column("Group"),
            *((Column("Configurations"),) if len(steps) > 1 else ()),
            Column("Before", True, "share declined"),
            Column("After", True, "share declined"),
            Column("Change", True, "percentage points"),
            Column("Interval", True, "95 %, for new names and stems"),
            Column("Holm", True, "signs of names flipped, adjusted over groups"),
            Column(f"Change against {reference}", True, "change of the difference, percentage points"),
            Column("Its interval", True, "95 %, for new names and stems"),
            Column("Its Holm", True, "changes permuted over names, adjusted over groups"),
        ),
        rows=tuple(rows),
        caption="Harmless prompts declined, on the names and stems that both configurations answered, paired by name and stem. "
        "As graded: the grader's error is not taken out of these changes.",
        sortable=True,
    )


def _rates(f: Finding) -> tuple[Cell, Cell]:
    before, after = f.extra.get("rate_from"), f.extra.get("rate_to")
    return cell(before, percent(before), f.reason), cell(after, percent(after), f.reason)


def _estimate(f: Finding) -> tuple[Cell, Cell, Cell]:
    low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
    p = f.test.p_holm if f.test else None
    return (
        cell(f.estimate, points(f.estimate), f.reason),
        cell(low, point_range(low, high), f.reason),
        cell(p, p_value(p), f.reason),
    )


def _gap(f: Finding | None) -> tuple[Cell, Cell, Cell]:
    if f is None:
        blank = Cell(DASH, reason="the reference group")
        return blank, blank, blank
    return _estimate(f)
