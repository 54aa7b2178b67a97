"""The first screen: what the service audit found, in plain words with its uncertainty."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.findings.decide import is_found
from evenhand.methods.service.compare import change_told
from evenhand.methods.service.graders import Trust
from evenhand.methods.service.report.index import OUTCOMES, Index, mark_filter
from evenhand.methods.service.verdict import NAMES, primary_contrasts, verdict
from evenhand.records import Finding
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Verdict
from evenhand.report.words import clean
from evenhand.runs.method import Verdict as Found
from evenhand.wording import count, defined, group_label, p_value, percent, point_range, points

_GRAVITY = ("worse", "provisional", "unknown", "even")
PRIMARY = "declined"


def service_verdict(
    findings: Sequence[Finding],
    *,
    calibrated: bool,
    stored: Sequence[Mapping[str, Any]] | None = None,
    how: str = "not checked against human labels",
    run: str = "RUN",
    subject: str = NAMES,
    calibrate_command: str = "",
    texts: bool = True,
) -> Verdict:
    """The gravest verdict of all configurations, the others in a sentence each.

    ``stored`` are the verdicts of the run; without them they are made from the stored decisions of the findings.
    ``how`` says what is known of the grader's error. ``run`` is the run folder, for the commands that are shown; ``texts`` says
    whether it holds responses to read.
    """
    index = Index(findings)
    configs = index.configs or [""]
    trust = Trust(calibrated, how)
    if stored is not None:
        told = {row["config"]: Found(**row) for row in stored}
        configs = list(told) or configs
    else:
        told = {c: verdict(findings, c, trust, several=len(configs) > 1, subject=subject) for c in configs}
    contrasts = {c: {f.group: f for f in primary_contrasts(findings, c)} for c in configs}

    def gravity(config: str) -> tuple[int, float]:
        found = told[config]
        largest = max((abs(f.estimate or 0.0) for f in contrasts[config].values()), default=0.0)
        named = contrasts[config][found.group].estimate if found.group is not None else largest
        return _GRAVITY.index(found.tone), -abs(named or 0.0)

    config, *others = sorted(configs, key=gravity)
    chosen = told[config]
    worst = contrasts[config].get(chosen.group) if chosen.group is not None else None
    strong = {group for group, f in contrasts[config].items() if calibrated and is_found(f)}
    return Verdict(
        audit="Service quality",
        tone=chosen.tone,
        headline=chosen.headline,
        detail=chosen.detail,
        numbers=_contrast_numbers(index, worst) if worst else _spread_numbers(index, config, PRIMARY),
        glance=_glance(index, config, PRIMARY, strong),
        more=(
            *chosen.also,
            *(told[c].headline for c in others),
            *(t for c in configs if (t := change_told(findings, c, trust, subject)) and t not in chosen.also),
        ),
        unknowns=tuple(
            f"{c}: {text}" if len(configs) > 1 else text for c in (config, *others) for text in told[c].unknowns
        ),
        actions=_actions(chosen, shlex.quote(clean(run)), calibrate_command, texts, several=len(configs) > 1),
    )


def _actions(
    chosen: Found, folder: str, calibrate_command: str, texts: bool, *, several: bool
) -> tuple[tuple[str, str], ...]:
    if chosen.tone == "provisional":
        return ((chosen.advice, calibrate_command), ("Read the responses meanwhile:", f"evenhand show {folder}"))
    if chosen.group is None or not texts:
        return ()
    part = f" --config {shlex.quote(clean(chosen.config))}" if several else ""
    chosen_rows = f"--group {shlex.quote(clean(chosen.group))} --label refusal{part}"
    return (("Read what was said:", f"evenhand show {folder} {chosen_rows}"),)


def _contrast_numbers(index: Index, f: Finding) -> tuple[KeyNumber, ...]:
    """The four numbers under the headline."""
    rates = index.plain("rate", PRIMARY, f.config)
    mine, theirs = (rates[g].estimate if g in rates else None for g in (f.group or "", f.reference or ""))
    ends = f"points, {f.interval.level:.0%}: {point_range(f.interval.low, f.interval.high)}" if f.interval else "points"
    adjusted = f.test.p_holm if f.test else None
    size = f.test.family_size if f.test else None
    family = "the only comparison" if size == 1 else f"Holm, {size} comparisons" if size else ""
    return (
        KeyNumber(points(f.estimate), "Difference", ends),
        KeyNumber(percent(mine), group_label(f.group), PRIMARY),
        KeyNumber(percent(theirs), group_label(f.reference), f"{PRIMARY}, reference"),
        KeyNumber(p_value(adjusted), "Adjusted p", family),
    )


def _spread_numbers(index: Index, config: str, outcome: str) -> tuple[KeyNumber, ...]:
    rates = [f for f in index.plain("rate", outcome, config).values() if defined(f.estimate)]
    if not rates:
        return ()
    values = [f.estimate for f in rates if f.estimate is not None]
    verb = OUTCOMES.get(outcome, (outcome, outcome))[0]
    omnibus = index.one("omnibus", outcome, config, None)
    numbers = [
        KeyNumber(
            f"{percent(min(values))} to {percent(max(values))}",
            f"{verb.capitalize()}, by group",
            f"{len(values)} groups",
        )
    ]
    if omnibus is not None and omnibus.test is not None and omnibus.test.p is not None:
        numbers.append(KeyNumber(p_value(omnibus.test.p), "All groups at once", "permutation of names, p"))
    return tuple(numbers)


def _glance(index: Index, config: str, outcome: str, strong: set[str | None]) -> Glance | None:
    rates = index.plain("rate", outcome, config)
    if not rates:
        return None
    verb = OUTCOMES.get(outcome, (outcome, outcome))[0]
    reference = index.reference()
    rows = []
    for group in sorted(rates, key=lambda g: (-(rates[g].estimate or 0.0), g)):
        f = rates[group]
        value = min(1.0, max(0.0, f.estimate)) if f.estimate is not None and defined(f.estimate) else None
        note = ", the reference group" if group == reference else ""
        rows.append(
            GlanceRow(
                title=group_label(group),
                value=value,
                text=percent(f.estimate),
                label=f"{group_label(group)}: {verb} {percent(f.estimate)} of {count(f.n)}{note}",
                low=f.interval.low if f.interval else None,
                high=f.interval.high if f.interval else None,
                strong=group in strong,
                evidence=mark_filter(config, group=group, outcome=outcome),
            )
        )
    where = f", {config}" if len(index.configs) > 1 else ""
    return Glance(f"{verb.capitalize()}, by group{where}", tuple(rows))
