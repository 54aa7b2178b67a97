"""The first screen: what the service audit found, in plain words with its uncertainty."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from evenhand.audits.service_verdict import state_of
from evenhand.records import Finding
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Verdict
from evenhand.report.service.cells import capital
from evenhand.report.service.figures import leave_one_out
from evenhand.report.service.index import OUTCOMES, Index, mark_filter
from evenhand.report.words import clean
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

__all__ = ["service_verdict"]


def service_verdict(
    findings: Sequence[Finding],
    *,
    calibrated: bool,
    grader: str = "",
    run: str = "RUN",
    primary: str = "declined",
    subject: str = "names associated with",
    calibrate_command: str = "",
    texts: bool = True,
) -> Verdict:
    """The verdict on the primary outcome over all configurations.

    A grader that is not calibrated makes it provisional: no group is named as worse, and the first screen says how to
    calibrate (50 human labels). ``run`` is the run folder, for the commands that are shown;
    ``texts`` says whether it holds responses to read.
    """
    index = Index(findings)
    contrasts = [f for f in index.all("risk_difference", primary) if not f.slice]
    states = {id(f): state_of(f, index.corrected(primary, f.config).get(f.group)) for f in contrasts}
    found = [f for f in contrasts if states[id(f)][0] == "found"] if calibrated else []
    # The group declined the most comes first; groups declined less than the reference follow.
    found.sort(key=lambda f: ((f.estimate or 0.0) <= 0, -abs(f.estimate or 0.0)))
    unsure = [f for f in contrasts if states[id(f)][0] in ("unknown", "undefined")]
    said = _Words(index, primary, subject)
    shown = found[0] if found else max(contrasts, key=lambda f: abs(f.estimate or 0.0), default=None)
    config = shown.config if shown else (index.configs or [""])[0]
    verdict = Verdict(
        audit="Service quality",
        tone="unknown",
        headline="We cannot tell whether the groups are treated alike.",
        detail="The run holds no contrast between groups.",
        glance=_glance(index, config, primary, {f.group for f in found if f.config == config}),
        numbers=_spread_numbers(index, config, primary),
        unknowns=said.unknowns(unsure, states),
    )
    if not contrasts:
        return verdict
    folder = shlex.quote(clean(run))
    if not calibrated:
        return replace(
            verdict,
            tone="provisional",
            headline="No verdict yet: the grader is not calibrated for this use.",
            detail=f"The grader{f' ({grader})' if grader else ''} may err more often for some groups than for others, so "
            "the differences could be its own. They are shown for orientation, and no group is named as treated worse.",
            actions=(
                ("Label 50 responses by hand, then audit again with --calibration labels.csv:", calibrate_command),
                ("Read the responses meanwhile:", f"evenhand show {folder}"),
            ),
        )
    if found:
        worst = found[0]
        chosen = f"--group {shlex.quote(clean(worst.group or ''))} --label refusal"
        return replace(
            verdict,
            tone="worse",
            headline=said.headline(worst),
            detail=said.detail(worst),
            numbers=said.numbers(worst),
            more=said.more(found[1:], worst),
            actions=(("Read what was said:", f"evenhand show {folder} {chosen}"),) if texts else (),
        )
    if unsure:
        detail = (
            "No difference passed its test, but this run could not have seen every difference that matters. "
            "More names for each group help the most."
        )
        return replace(verdict, detail=detail)
    gap = max((f.minimum_detectable for f in contrasts if f.minimum_detectable is not None), default=None)
    limit = f" Gaps below about {percent_points(gap)} could have gone unseen." if gap is not None else ""
    return replace(
        verdict,
        tone="even",
        headline=f"No group was found to be {said.verb} more or less often than another.",
        detail=f"None of the {count(len(contrasts))} differences passed its test (Holm, .05).{limit}",
    )


class _Words:
    """Sentences about the contrasts of one outcome."""

    def __init__(self, index: Index, outcome: str, subject: str) -> None:
        self.index, self.outcome, self.subject = index, outcome, subject
        self.verb = OUTCOMES.get(outcome, (outcome, outcome))[0]
        self.several = len(index.configs) > 1

    def headline(self, f: Finding) -> str:
        """Who is treated differently from whom, and by how much."""
        assert f.estimate is not None
        size = percent_points(f.estimate).replace("points", "percentage points")
        way = "more" if f.estimate > 0 else "less"
        return (
            f"Prompts with {group_phrase(f.group, self.subject)} are {self.verb} {size} {way} often than with "
            f"{group_phrase(f.reference, self.subject)}."
        )

    def _rates(self, f: Finding) -> tuple[float | None, float | None]:
        rates = self.index.plain("rate", self.outcome, f.config)
        mine, theirs = rates.get(f.group or ""), rates.get(f.reference or "")
        return (mine.estimate if mine else None), (theirs.estimate if theirs else None)

    def detail(self, f: Finding) -> str:
        """The two rates, the interval, the test, and what is left without a dominating name."""
        mine, theirs = self._rates(f)
        text = f"In {f.config}: " if self.several else ""
        if defined(mine) and defined(theirs):
            text += f"{percent(mine)} of prompts against {percent(theirs)}. "
        if f.interval:
            low, high = points(f.interval.low), points(f.interval.high)
            text += f"The difference lies between {low} and {high} points ({f.interval.level:.0%} interval). "
        if f.test and f.test.p_holm is not None:
            family = f", adjusted for {f.test.family_size} comparisons" if f.test.family_size else ""
            text += f"Under no difference, one so large would come up with p = {p_value(f.test.p_holm)}{family}. "
        name, without = leave_one_out(self.index, f.config, self.outcome, f.group or "")
        return (text + (without if name else "")).strip()

    def numbers(self, f: Finding) -> tuple[KeyNumber, ...]:
        """The four numbers under the headline."""
        mine, theirs = self._rates(f)
        interval = (
            f"points, {f.interval.level:.0%}: {point_range(f.interval.low, f.interval.high)}"
            if f.interval
            else "points"
        )
        adjusted = f.test.p_holm if f.test else None
        family = f"Holm, {f.test.family_size} comparisons" if f.test and f.test.family_size else ""
        return (
            KeyNumber(points(f.estimate), "Difference", interval),
            KeyNumber(percent(mine), group_label(f.group), self.verb),
            KeyNumber(percent(theirs), group_label(f.reference), f"{self.verb}, reference"),
            KeyNumber(p_value(adjusted), "Adjusted p", family),
        )

    def more(self, others: Sequence[Finding], worst: Finding) -> tuple[str, ...]:
        """The other differences found, in one sentence a configuration."""
        lines = []
        for config in dict.fromkeys((worst.config, *(f.config for f in others))):
            here = [f for f in others if f.config == config]
            if not here:
                continue
            told = ", ".join(f"{group_label(f.group)} {points(f.estimate)} ({_interval(f)})" for f in here)
            same = "Also found" if config == worst.config else f"Found in {config}"
            lines.append(f"{same}, in points: {told}.")
        return tuple(lines)

    def unknowns(self, unsure: Sequence[Finding], states: Mapping[int, tuple[str, str]]) -> tuple[str, ...]:
        """What could not be told, grouped by reason."""
        reasons: dict[tuple[str, str], list[str]] = {}
        for f in unsure:
            _, reason = states[id(f)]
            label = group_label(f.group)
            if "smallest adjusted p" in reason:
                reason = "too few names for any difference to pass the test"
            elif "can only see gaps" in reason:
                reason, label = "only large gaps could be seen", _gap_label(f)
            reason = reason.removeprefix("We cannot tell: ")
            reasons.setdefault((f.config if self.several else "", reason.rstrip(".")), []).append(label)
        lines = []
        for (config, reason), labels in reasons.items():
            place = f" in {config}" if config else ""
            lines.append(f"{capital(reason)}{place}: {', '.join(labels)}.")
        return tuple(lines)


def _gap_label(f: Finding) -> str:
    gap = f.minimum_detectable
    return group_label(f.group) + (f" ({percent_points(gap)} or more)" if gap is not None else "")


def _interval(f: Finding) -> str:
    return point_range(f.interval.low, f.interval.high) if f.interval else "no interval"


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
