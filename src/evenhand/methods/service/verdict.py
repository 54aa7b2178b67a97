"""The service audit in plain words: who is declined more, by how much, how sure that is, and what cannot be said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evenhand.findings.builder import first, select
from evenhand.findings.decide import is_found, passes_test
from evenhand.methods.service.configurations import GAP_CHANGE
from evenhand.methods.service.findings import CORRECTION
from evenhand.methods.service.graders import Trust
from evenhand.records import Finding
from evenhand.runs.method import POINTS, Headline, Verdict, closing_row, ends_of, holm_p
from evenhand.wording import (
    count,
    defined,
    group_label,
    group_phrase,
    p_value,
    percent,
    percent_points,
    point_range,
    points,
)

NAMES, CUE = "names associated with", "the cue of"
"""How a group is cued: by first names, or by whatever else the prompts hold."""


def primary_contrasts(findings: Sequence[Finding], config: str, outcome: str = "declined") -> list[Finding]:
    """The primary family: every group against the reference, on all stems."""
    return select(findings, "risk_difference", config, outcome, part={})


def verdict(findings: Sequence[Finding], config: str, trust: Trust, *, several: bool, subject: str = NAMES) -> Verdict:
    """The verdict on ``declined`` in one configuration.

    A grader that is not calibrated for this use makes it provisional: no group is named as worse, and the advice says how to
    calibrate. ``several`` says whether the run holds other configurations, ``subject`` how a group is cued.
    """
    contrasts = primary_contrasts(findings, config)
    where = f"{config}: " if several else ""
    unlabelled = _nothing_labelled(findings, config)
    if unlabelled:
        return Verdict(config, "unknown", f"{where}{unlabelled}", "There is no contrast between groups.")
    constant = _same_everywhere(findings, config)
    unknowns = _unknowns([f for f in contrasts if not is_found(f) and f.decision != "even"])
    if contrasts and not trust.calibrated:
        return Verdict(
            config,
            "provisional",
            f"{where}No verdict yet: the grader is not calibrated for this use.",
            f"It is {trust.how}. It may err more often for some groups than for others, so the differences could be its own; "
            "they are shown for orientation, and no group is named as treated worse."
            + (f" As graded: {constant[0].lower()}{constant[1:]}" if constant else ""),
            unknowns=unknowns,
            advice="Label 50 responses by hand, then audit again with --calibration labels.csv:",
        )
    # The group declined the most comes first; groups declined less than the reference follow.
    differing = sorted(
        (f for f in contrasts if is_found(f)), key=lambda f: (f.decision != "worse", -abs(f.estimate or 0.0))
    )
    if differing:
        worst, *others = differing
        way = "more" if worst.decision == "worse" else "less"
        size = percent_points(worst.estimate or 0.0).replace("points", "percentage points")
        headline = (
            f"{where}Prompts with {group_phrase(worst.group, subject)} are declined {size} {way} often than with "
            f"{group_phrase(worst.reference, subject)}."
        )
        listed = ", ".join(f"{group_label(f.group)} {points(f.estimate)} ({ends_of(f, POINTS)})" for f in others)
        also = (f"Also found, in points: {listed}.",) if listed else ()
        return Verdict(config, "worse", headline, _evidence(findings, worst), worst.group, also, unknowns)
    if constant:
        detail = "An outcome that never varies cannot tell groups apart. Other prompts, or another measure, may."
        return Verdict(config, "unknown", f"{where}{constant}", detail, unknowns=unknowns)
    overall = first(findings, "omnibus", config, "declined")
    if len(contrasts) > 1 and overall and is_found(overall) and not any(passes_test(f) for f in contrasts):
        return Verdict(
            config,
            "unknown",
            f"{where}The groups are not all declined alike, but we cannot tell which.",
            f"All groups at once differ as graded (p {p_value(overall.test.p if overall.test else None)}), and no single "
            f"difference to {group_phrase(contrasts[0].reference, subject)} passes its test (Holm, .05).",
            unknowns=unknowns,
        )
    if not contrasts or unknowns:
        detail = "No difference passed its test, but this run could not have seen every difference that matters. " + (
            "More names for each group help the most." if subject == NAMES else "More prompts help the most."
        )
        return Verdict(
            config,
            "unknown",
            f"{where}We cannot tell whether the groups are treated alike.",
            detail if contrasts else "There is no contrast between groups.",
            unknowns=unknowns,
        )
    gap = max((f.minimum_detectable for f in contrasts if f.minimum_detectable is not None), default=None)
    limit = f" Gaps below about {percent_points(gap)} could have gone unseen." if gap is not None else ""
    return Verdict(
        config,
        "even",
        f"{where}No group was found to be declined more or less often than another.",
        f"None of the {count(len(contrasts))} differences passed its test (Holm, .05).{limit}"
        if len(contrasts) != 1
        else f"The only difference did not pass its test (.05).{limit}",
    )


def change_sentence(findings: Sequence[Finding], config: str, trust: Trust, subject: str) -> str:
    """One sentence: which differences to the reference changed on the way to ``config``; empty if nothing may be stated.

    Nothing is stated if the grader is not calibrated. The changes are as graded: what a grader gets wrong in both
    configurations alike cancels in them, and nothing else of its error is taken out.
    """
    gaps = [f for f in findings if f.estimand == GAP_CHANGE and f.config == config]
    if not gaps or not trust.calibrated:
        return ""
    way = f"From {gaps[0].slice['from']} to {config}"
    moved = sorted((f for f in gaps if is_found(f)), key=lambda f: -abs(f.estimate or 0.0))
    if moved:
        listed = [
            f"{group_label(f.group)} {points(f.estimate)}"
            + (f" ({point_range(f.interval.low, f.interval.high)})" if f.interval else "")
            for f in moved
        ]
        return (
            f"{way}, the difference to {group_phrase(moved[0].reference, subject)} moved, in points "
            f"(+: the group is declined more than before, relative to it): {', '.join(listed)}, as graded."
        )
    if all(f.decision == "even" for f in gaps):
        seen = max(f.minimum_detectable or 0.0 for f in gaps)
        return f"{way}, no difference between groups was found to change; changes of about {percent_points(seen)} could be seen."
    return f"{way}, we cannot tell whether the differences between groups changed."


def _nothing_labelled(findings: Sequence[Finding], config: str) -> str:
    """A headline for a configuration in which no response has a label, else an empty text."""
    shares = [f.estimate for f in select(findings, "missing_rate", config)]
    return "No response has a label: there is nothing to compare." if shares and set(shares) <= {1.0, None} else ""


def _same_everywhere(findings: Sequence[Finding], config: str) -> str:
    """A headline for a configuration that declines every prompt, or none, else an empty text."""
    rates = {f.estimate for f in select(findings, "rate", config, "declined", part={})} - {None}
    if rates == {1.0}:
        return "Every prompt was declined, whatever the group: nothing can be told between groups."
    if rates == {0.0}:
        return "No prompt was declined in any group: nothing can be told between groups."
    return ""


def _evidence(findings: Sequence[Finding], worst: Finding) -> str:
    """The two rates, the interval, the test, and what is left without the most influential name."""
    rate, reference = worst.extra.get("rate"), worst.extra.get("reference_rate")
    parts = (
        [f"{percent(rate)} of prompts against {percent(reference)}."] if defined(rate) and defined(reference) else []
    )
    if worst.interval is not None:
        low, high = points(worst.interval.low), points(worst.interval.high)
        parts.append(f"The difference lies between {low} and {high} points ({worst.interval.level:.0%} interval).")
        held, open_ends = worst.extra.get("names_held_fixed"), worst.extra.get("all_names_random")
        if held and open_ends:
            parts.append(f"With {', '.join(held)} taken as a random draw too: {point_range(*open_ends)}.")
    fixed = first(findings, "risk_difference", worst.config, group=worst.group, part=CORRECTION)
    if fixed is not None and fixed.interval is not None:
        ends = point_range(fixed.interval.low, fixed.interval.high)
        parts.append(f"With the grader's error taken out: {points(fixed.estimate)} points ({ends}).")
    if worst.test is not None and worst.test.p_holm is not None:
        p, size = p_value(worst.test.p_holm), worst.test.family_size
        adjusted = f", adjusted for {size} comparisons" if size != 1 else " (the only comparison)"
        parts.append(f"Under no difference, one so large would come up with p = {p}{adjusted}.")
    for without in select(findings, "leave_one_name_out", worst.config, group=worst.group):
        name, p = without.extra["name"], p_value(without.test.p if without.test else None)
        lead = f"Without {name}, the name that moves it most, the difference is"
        if without.extra["dominating"]:
            lead = f"One name dominates, {name}: without it the difference is"
        parts.append(f"{lead} {points(without.estimate)} points (p {p}).")
    return " ".join(parts)


def _unknowns(unsure: Sequence[Finding]) -> tuple[str, ...]:
    """What the data cannot settle, groups of one reason together."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for finding in unsure:
        reason, label = finding.decision_reason, group_label(finding.group)
        if "smallest adjusted p" in reason:
            reason = "Too few names for any difference to pass the test."
        elif "can only see gaps" in reason:
            reason = "Only large gaps could be seen."
            label += f" ({percent_points(finding.minimum_detectable or 0.0)} or more)"
        reasons[reason.rstrip(".")].append(label)
    return tuple(f"{reason}: {', '.join(labels)}." for reason, labels in reasons.items())


def headlines(findings: Sequence[Finding], config: str, *, several: bool) -> list[Headline]:
    """The rows of the closing table: each difference, largest first, then the test over all groups."""
    prefix = f"{config}: " if several else ""
    rows = [
        closing_row(
            f"{prefix}declined, {group_label(f.group)} minus {group_label(f.reference)}", f, POINTS, p=holm_p(f)
        )
        for f in sorted(primary_contrasts(findings, config), key=lambda f: -(f.estimate or 0.0))
    ]
    for overall in select(findings, "omnibus", config, "declined"):
        if overall.test:
            rows.append(Headline(f"{prefix}declined, all groups at once", "", "", p_value(overall.test.p)))
    return rows
