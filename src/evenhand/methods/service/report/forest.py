"""The forest plot of the service audit: each group's difference to the reference, and what it allows to be said."""

from __future__ import annotations

from evenhand.methods.service.report.cells import capital, cell
from evenhand.methods.service.report.index import OUTCOMES, Index, mark_filter
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, ForestPlot, ForestRow, Table
from evenhand.report.decisions import State, state_of
from evenhand.report.scales import Scale, nice_scale
from evenhand.wording import count, defined, group_label, group_phrase, number, p_value, point_range, points


def forest_scale(index: Index, outcome: str) -> Scale:
    """One axis for the differences of an outcome in every configuration, so that they compare by eye."""
    values: list[float | None] = []
    for f in index.all("risk_difference", outcome):
        values += [f.estimate, *((f.interval.low, f.interval.high) if f.interval else ())]
    return nice_scale(values, floor=-1.0, ceiling=1.0, least=0.1)


def forest_plot(
    index: Index, config: str, outcome: str, block_id: str, subject: str, calibrated: bool = True
) -> ForestPlot | None:
    """Risk differences to the reference group with intervals, tests and what can be said."""
    contrasts = index.plain("risk_difference", outcome, config)
    if not contrasts:
        return None
    without = {
        f.group: f for value, f in index.sliced("risk_difference", outcome, config, "stems") if "without" in value
    }
    reference = index.reference()
    verb, title = OUTCOMES.get(outcome, (outcome, outcome))
    corrected = index.corrected(outcome, config)
    largest = sorted(contrasts.values(), key=lambda f: (f.estimate is None, -(f.estimate or 0.0)))
    rows, data = [], []
    for f in largest:
        other, fixed = without.get(f.group), corrected.get(f.group)
        index.show(f, other, fixed)
        state, reason = state_of(f), f.decision_reason
        held = f.extra.get("names_held_fixed")
        if held:
            reason += f" The interval holds {', '.join(map(str, held))} fixed, as it stands far from the other names."
        rows.append(_forest_row(f, other, fixed, state, reason, subject, calibrated))
        data.append(_contrast_cells(index, f, other, fixed, reason))
    family = next((f.test.family_size for f in contrasts.values() if f.test and f.test.family_size), None)
    adjusted = f" p is adjusted (Holm) for the {family} contrasts of this outcome." if family and family > 1 else ""
    return ForestPlot(
        id=block_id,
        title=title.split(":")[0] + f": difference to {group_label(reference)}",
        caption=f"How much more or less often prompts were {verb} than those with "
        f"{group_phrase(reference, subject)}, in percentage points, with an interval for new names and stems.{adjusted}",
        scale=forest_scale(index, outcome),
        rows=tuple(rows),
        row_head=capital(subject),
        text_head="difference, 95% interval",
        less="less often",
        more="more often",
        axis="percentage points",
        unknown_label="we cannot tell" if calibrated else "provisional, or we cannot tell",
        second_label="without stems that carry a slight themselves" if without else "",
        data=Table(
            id=f"{block_id}-data",
            columns=(
                Column("Group"),
                Column("Difference", True, "percentage points"),
                Column("Interval", True, "for new names and stems"),
                Column("Bootstrap", True, "crossed bootstrap, percentile"),
                Column("SE", True, "standard error, percentage points"),
                Column("Wald", True, "naive interval that ignores clustering, for comparison only"),
                Column("p", True),
                Column("Holm", True, "adjusted within the family"),
                Column("q", True, "Benjamini-Hochberg over all outcomes and configurations"),
                Column("Smallest p", True, "the smallest p that this number of names allows"),
                Column("Detectable gap", True, "percentage points"),
                Column("Ratio", True, "rate over the reference rate"),
                Column("Odds ratio", True),
                Column("Without loaded stems", True, "percentage points"),
                Column("Grader error taken out", True, "percentage points, with interval"),
                Column("n", True, "graded responses"),
                Column("What it says", wide=True),
            ),
            rows=tuple(data),
            caption="Differences in percentage points.",
        ),
    )


def _forest_row(
    f: Finding, other: Finding | None, fixed: Finding | None, state: State, reason: str, subject: str, calibrated: bool
) -> ForestRow:
    if state == "found" and not calibrated:
        state, reason = "unknown", "Provisional: the grader is not calibrated."
    low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
    text = points(f.estimate)
    if defined(low) and defined(high):
        text += f" [{points(low)}, {points(high)}]"
    adjusted = (f.test.p_holm if f.test.p_holm is not None else f.test.p) if f.test else None
    unsure = "we cannot tell" if calibrated else "provisional"
    notes = {
        "found": f"p {p_value(adjusted)}",
        "not found": f"none found, p {p_value(adjusted)}",
        "unknown": f"{unsure}, p {p_value(adjusted)}" if defined(adjusted) else unsure,
        "undefined": reason,
    }
    spoken = f"{capital(group_phrase(f.group, subject))}: {points(f.estimate)} points"
    spoken += f", interval {point_range(low, high)}. {reason}" if f.interval else f". {reason}"
    second = None
    if other is not None and other.estimate is not None:
        bounds = (other.interval.low, other.interval.high) if other.interval else (None, None)
        second = (other.estimate, *bounds)
        spoken += f" Without loaded stems {points(other.estimate)} points."
    if fixed is not None and fixed.estimate is not None:
        spoken += f" With the grader's error taken out {points(fixed.estimate)} points."
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
        evidence=mark_filter(f.config, group=f.group, outcome=f.outcome),
        second=second,
    )


def _contrast_cells(
    index: Index, f: Finding, other: Finding | None, fixed: Finding | None, says: str
) -> tuple[Cell, ...]:
    test, reason = f.test, f.reason
    ratio = index.one("risk_ratio", f.outcome, f.config, f.group)
    odds = index.one("odds_ratio", f.outcome, f.config, f.group)
    index.show(ratio, odds)
    wald, bootstrap = _ends(f, "wald"), _ends(f, "percentile")
    low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)

    def p(value: float | None) -> Cell:
        return cell(value, p_value(value), reason)

    def estimate(found: Finding | None, text: str) -> Cell:
        return cell(found.estimate if found else None, text, found.reason if found else "")

    return (
        Cell(group_label(f.group)),
        cell(f.estimate, points(f.estimate), reason),
        cell(low, point_range(low, high), reason),
        cell(bootstrap[0], point_range(*bootstrap), reason),
        cell(f.standard_error, points(f.standard_error).lstrip("+"), reason),
        cell(wald[0], point_range(*wald), reason),
        p(test.p if test else None),
        p(test.p_holm if test else None),
        p((test.q_bh_all if test.q_bh_all is not None else test.q_bh) if test else None),
        p(test.smallest_p if test else None),
        cell(f.minimum_detectable, points(f.minimum_detectable).lstrip("+"), reason),
        estimate(ratio, number(ratio.estimate if ratio else None)),
        estimate(odds, number(odds.estimate if odds else None)),
        estimate(other, points(other.estimate if other else None)),
        estimate(fixed, _with_interval(fixed)),
        Cell(count(f.n), sort=f.n),
        Cell(says),
    )


def _ends(f: Finding, key: str) -> tuple[float | None, float | None]:
    ends = f.extra.get(key)
    return (float(ends[0]), float(ends[1])) if ends else (None, None)


def _with_interval(f: Finding | None) -> str:
    if f is None or f.interval is None:
        return points(f.estimate if f else None)
    return f"{points(f.estimate)} [{points(f.interval.low)}, {points(f.interval.high)}]"
