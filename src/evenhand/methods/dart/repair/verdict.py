"""The verdict on a repair, and the methods and caveats of its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenhand.findings.builder import first
from evenhand.methods.dart.config import ABLATIONS, DartConfig
from evenhand.methods.dart.difference.cases import Cases
from evenhand.methods.dart.drift.verdict import counted_row, drift_caveats
from evenhand.methods.dart.repair.stages import DISTILLED, M0, repaired_name
from evenhand.records import Finding
from evenhand.runs.method import POINTS, SHARE, Headline, Tone, Verdict, ends_of
from evenhand.wording import ORGANISM_NOTICE, count, is_organism, percent, points


def _find(findings: list[Finding], estimand: str, config: str, outcome: str = "") -> Finding | None:
    return first(findings, estimand, config, outcome, part={})


def dart_verdicts(
    config: DartConfig, findings: list[Finding], states: Mapping[str, Mapping[str, Any]]
) -> list[Verdict]:
    """One verdict a protocol; one on the distilled model if there was no repair."""
    verdicts = [_verdict(config, findings, protocol, state) for protocol, state in states.items()]
    return verdicts or [_distil_verdict(config, findings)]


def _verdict(config: DartConfig, findings: list[Finding], protocol: str, state: Mapping[str, Any]) -> Verdict:
    name = repaired_name(protocol)
    if _find(findings, "accuracy", name) is None:
        return Verdict(name, "unknown", f"{protocol.capitalize()}: {state['status']}.")
    accuracy = {n: _find(findings, "accuracy", n, "tolerant") for n in (M0, DISTILLED, name)}
    cut, beyond = _find(findings, "drift_reduction", name), _find(findings, "reduction_beyond_noop", name)
    second = _find(findings, "second_reduction", name)
    accuracies = " → ".join(percent(f.estimate, 0) if f else "?" for f in accuracy.values())
    detail = f"Right answers on test, before → distilled → repaired: {accuracies}."
    also = []
    if cut is not None and cut.estimate is not None:
        detail += f" Drift cases: {count(cut.extra['before'])} → {count(cut.extra['after'])}."
        parts = state["fates"]
        also.append(
            f"{parts['persisting']} drift cases persist, {parts['fixed']} are fixed, {parts['created']} are new."
        )
    if beyond is not None and beyond.estimate is not None:
        ends = f" ({ends_of(beyond, POINTS)})" if beyond.interval else ""
        also.append(f"Beyond merely drawing again: {points(beyond.estimate)} points{ends}.")
    if second is not None and second.estimate is not None:
        apart = ", which shares no string with the judge," if config.second == "echo" else f" ({config.second})"
        also.append(f"A second grader{apart} sees {percent(second.estimate, 0)} less ({ends_of(second, SHARE)}).")
    if state["status"] != "repaired":
        return Verdict(name, "worse", f"{protocol.capitalize()}: {state['status']}.", detail, also=also)
    if cut is None or cut.estimate is None:
        return Verdict(
            name,
            "unknown",
            f"{protocol.capitalize()}: nothing drifted on test, so no reduction can be reported.",
            detail,
            also=also,
        )
    solid = cut.decision == "better"
    headline = (
        f"{protocol.capitalize()} repair: {percent(cut.estimate, 0)} fewer drifted explanations ({ends_of(cut, SHARE)})"
    )
    tone: Tone = "even" if solid else "unknown"
    return Verdict(name, tone, f"{headline}{'' if solid else ', which could be none'}.", detail, also=also)


def _distil_verdict(config: DartConfig, findings: list[Finding]) -> Verdict:
    rate = _find(findings, "drift_rate", DISTILLED, config.combine)
    share = percent(rate.estimate, 0) if rate else "?"
    what = f"No repair (ablation: {ABLATIONS[config.ablation]})"
    return Verdict(DISTILLED, "unknown", f"{what}: {share} of the distilled model's explanations drifted.")


def dart_headlines(findings: list[Finding], names: list[str]) -> list[Headline]:
    """The closing table's rows."""
    rows = []
    for name in names:
        for estimand, what in (
            ("accuracy", "right"),
            ("diff_accuracy", "groups differ"),
            ("equal_accuracy", "groups alike"),
        ):
            f = _find(findings, estimand, name, "tolerant")
            if f is not None and f.estimate is not None:
                rows.append(Headline(f"{name}: {what}", percent(f.estimate), ends_of(f, SHARE)))
    for f in findings:
        if f.estimand == "drift_rate" and not f.slice and f.outcome == "screen_then_judge":
            rows.append(counted_row(f"{f.config}: drifted from {M0}", f))
        if f.estimand == "null_rate" and f.config == DISTILLED:
            rows.append(counted_row(f"{M0} drawn again and compared with itself", f))
    for f in findings:
        if f.estimand in ("drift_reduction", "reduction_beyond_noop", "second_reduction") and not f.slice:
            what = {"drift_reduction": "fewer drift cases", "reduction_beyond_noop": "beyond drawing again",
                    "second_reduction": "fewer by the second grader"}[f.estimand]  # fmt: skip
            rows.append(Headline(f"{f.config}: {what}", percent(f.estimate), ends_of(f, SHARE)))
    return rows


def dart_caveats(config: DartConfig, cases: Cases, *, own_judge: bool) -> list[str]:
    """Limits and warnings."""
    caveats = [ORGANISM_NOTICE] if is_organism([config.model]) else []
    if own_judge:
        caveats.append("ERROR The teacher is also the judge: it grades its own explanations. Choose another judge.")
    caveats += [*cases.notes, *drift_caveats(judged=True, null=True)]
    caveats.append(
        "inductive: audited and repaired on the validation split, reported on test. transductive (as published): audited, "
        "repaired and reported on the same test questions, which shows no generalisation."
    )
    return caveats


def dart_methods(c: DartConfig) -> list[tuple[str, str]]:
    """The page's list of methods."""
    given = ", ".join(f"{word} {weight}" for word, weight in c.weights.items())
    weights = given or "minor 1, moderate 2, severe 3, extreme 4"
    return [
        ("Distil", f"teacher {c.teacher}, given the label; 2-4 sentences, no copied wording, at most two corrections; LoRA rank "
         f"{c.rank}, rate {c.rate:g}, {c.epochs} epochs, {c.batch} x {c.accumulation} rows a step"),
        ("Repair", f"weights by severity, {weights}, in the {c.weighting}; the same adapter goes on at rate {c.repair_rate:g}; "
         f"distillation rows at most {c.distil_cap:g} x the weighted repair rows"),
        ("Drift", f"screen {', '.join(c.scorers)} above {c.tau:g}, judge {c.judge}, rule {c.combine}; {c.draws_per_item} outputs "
         f"a case, temperature {c.temperature:g}, top-p {c.top_p:g}"),
        ("Inference on the repair", f"scenarios are redrawn ({c.draws:,} draws); reductions are ratios of drift counts on test"),
    ]  # fmt: skip
