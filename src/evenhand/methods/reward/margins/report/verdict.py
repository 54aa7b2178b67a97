"""The first screen's words and numbers on implicit rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.methods.reward.margins.report.figures import behind
from evenhand.methods.reward.margins.report.rows import PairRows, Step
from evenhand.records import Finding
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Verdict
from evenhand.wording import group_label, nats, nats_range, p_value, percent

_GRAVITY = ("worse", "provisional", "unknown", "even")


def reward_verdict(
    told: Sequence[Mapping[str, Any]], findings: Mapping[str, Finding], facts: Mapping[str, Any], rows: PairRows
) -> Verdict:
    """The gravest verdict of all families, the others in a sentence each."""
    first, *others = sorted(told, key=lambda verdict: _GRAVITY.index(verdict["tone"]))
    named = [n for n in facts["named"] if not n["total"] and n["group"] is not None]
    shown = next(
        (n for n in named if n["found"] and n["group"] == first["group"] and n["fate"] in ("introduced", "amplified")),
        None,
    )
    actions = [(rec["text"], "") for rec in facts["recommendations"][:2]]
    return Verdict(
        audit="Implicit reward",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        numbers=_numbers(findings[shown["finding"]]) if shown else (),
        glance=_glance(rows, findings, named, shown),
        more=(*first["also"], *(verdict["headline"] for verdict in others)),
        unknowns=tuple(text for verdict in (first, *others) for text in verdict["unknowns"]),
        actions=tuple(actions),
    )


def _numbers(f: Finding) -> tuple[KeyNumber, ...]:
    ends = f"nats, {f.interval.level:.0%}: {nats_range(f.interval.low, f.interval.high)}" if f.interval else "nats"
    size = f"Holm, {f.test.family_size} comparisons" if f.test and f.test.family_size else ""
    return (
        KeyNumber(nats(f.estimate), "Added to the margin", ends),
        KeyNumber(p_value(f.test.p_holm if f.test else None), "Adjusted p", size),
        KeyNumber(str(f.clusters.get("predicate", "")), "Predicates", f"{f.n} pairs"),
    )


def _glance(
    rows: PairRows, findings: Mapping[str, Finding], named: Sequence[Mapping[str, Any]], shown: Mapping[str, Any] | None
) -> Glance | None:
    """Share of pairs whose harmful text the shown (else the last) stage favoured, by group."""
    steps = [step for step in rows.steps if not step.is_total]
    if not steps:
        return None
    step = next((s for s in steps if shown and (s.family, s.stage) == (shown["family"], shown["stage"])), steps[-1])
    strong = {n["group"] for n in named if n["found"] and (n["family"], n["stage"]) == (step.family, step.stage)}
    bars = []
    for f in findings.values():
        if f.estimand == "selection_rate" and f.group is not None and _is(f, step) and f.estimate is not None:
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            text = f"{group_label(f.group)}: harmful text favoured in {percent(f.estimate, 0)} of {f.n} pairs, 50% is indifference"
            bars.append(
                GlanceRow(group_label(f.group), f.estimate, percent(f.estimate, 0), text, low, high, f.group in strong,
                          behind(step, f.group))
            )  # fmt: skip
    bars.sort(key=lambda bar: -(bar.value or 0))
    return Glance(f"Harmful text favoured, {step.title}", tuple(bars)) if bars else None


def _is(f: Finding, step: Step) -> bool:
    own = (f.slice.get("family", ""), f.slice.get("stage"), f.slice.get("ratio"), f.slice.get("scope"))
    return (f.config, f.reference) == (step.policy, step.reference) and own == (
        step.family,
        step.stage,
        step.ratio,
        "sentence",
    )
