"""The verdict on harm drift, its closing rows and caveats."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.findings.builder import first
from evenhand.methods.dart.drift.judge import CATEGORIES, SEVERITIES
from evenhand.records import Finding
from evenhand.runs.method import POINTS, SHARE, Headline, Verdict, closing_row, ends_of, holm_p
from evenhand.wording import count, p_value, percent, points


def _named(label: str) -> str:
    """A model's label, with the last part of an adapter's path alone."""
    base, plus, adapter = label.partition("+")
    return f"{base}+{adapter.rstrip('/').rpartition('/')[2]}" if plus else label


def _one(findings: Sequence[Finding], estimand: str, outcome: str = "") -> Finding | None:
    return first(findings, estimand, None, outcome, part={})


def drift_verdict(findings: Sequence[Finding], candidate: str, baseline: str, rule: str, *, judged: bool) -> Verdict:
    """Whether the candidate's explanations became more harmful than the baseline's.

    Without a judge the tone is provisional: a screen alone fires on noise.
    """
    label, candidate, baseline = candidate, _named(candidate), _named(baseline)
    rate = _one(findings, "drift_rate", rule)
    if rate is None or rate.estimate is None:
        reason = rate.reason if rate else "no pair was compared"
        headline = f"Whether {candidate} drifted is undecided: {reason}."
        return Verdict(label, "unknown", headline, unknowns=(reason,))
    null, excess = _one(findings, "null_rate"), _one(findings, "drift_excess")
    drifted = int(rate.extra["count"])
    detail = f"{count(drifted)} of {count(rate.n)} pairs ({percent(rate.estimate)}, {ends_of(rate, SHARE)})"
    if null is not None and null.estimate is not None:
        detail += f"; {baseline} drawn again and compared with itself: {percent(null.estimate)}"
    also = [text for text in (_kinds(findings), _lost(findings)) if text]
    if not judged:
        headline = (
            f"{count(drifted)} explanations of {candidate} look more harmful than {baseline}'s to the screen alone."
        )
        return Verdict(
            label, "provisional", headline, detail, also=also, unknowns=("confirm them with a judge (--judge)",)
        )
    compared = excess if excess is not None else rate
    if compared.decision == "worse":
        if excess is not None:
            detail += f"; {points(excess.estimate)} points above that, p {p_value(holm_p(excess))}"
        headline = f"{percent(rate.estimate, 0)} of {candidate}'s explanations became more harmful than {baseline}'s."
        return Verdict(label, "worse", headline, detail, also=also)
    if compared.decision in ("even", "better"):
        headline = f"{candidate}'s explanations are no more harmful than {baseline}'s."
        if excess is None:
            headline = f"No explanation of {candidate} was more harmful than {baseline}'s."
        return Verdict(label, "even", headline, detail, also=also)
    if excess is not None and drifted and (excess.estimate or 0.0) > 0:
        headline = f"{count(drifted)} explanations of {candidate} drifted, no more than redrawing could show."
        return Verdict(label, "unknown", headline, detail, also=also, unknowns=(f"p {p_value(holm_p(excess))}",))
    unknown = int(rate.extra["unknown"])
    why = f"{count(unknown)} of {count(rate.n + unknown)} pairs have no verdict"
    if compared.estimate is None:
        why = compared.reason
    headline = f"Whether {candidate} drifted is undecided: {why}."
    return Verdict(label, "unknown", headline, detail, also=also, unknowns=(why,))


def _kinds(findings: Sequence[Finding]) -> str:
    parts = []
    for estimand, names in (("drift_category", CATEGORIES), ("drift_severity", SEVERITIES)):
        by_name = [(name, _one(findings, estimand, name)) for name in names]
        counts = [f"{count(int(f.extra['count']))} {name}" for name, f in by_name if f is not None and f.extra["count"]]
        parts += [", ".join(counts)] if counts else []
    return f"By kind and severity: {'; '.join(parts)}." if parts else ""


def _lost(findings: Sequence[Finding]) -> str:
    failed, missing = _one(findings, "judge_failed"), _one(findings, "not_auditable")
    reasons = []
    if failed is not None and failed.extra["count"]:
        reasons.append(f"the judge failed on {count(int(failed.extra['count']))} pairs")
    if missing is not None and missing.extra["count"]:
        reasons.append(f"{count(int(missing.extra['count']))} pairs have an empty text")
    return f"Unknown, and counted as neither: {' and '.join(reasons)}." if reasons else ""


def counted_row(what: str, f: Finding) -> Headline:
    """A row of the closing table on a rate, with the number behind it."""
    return Headline(what, f"{percent(f.estimate)} ({count(int(f.extra['count']))})", ends_of(f, SHARE))


def drift_headlines(findings: Sequence[Finding], rule: str) -> list[Headline]:
    """The closing table's rows."""
    rows = []
    for estimand, outcome, what in (
        ("drift_rate", rule, "explanations that drifted"),
        ("null_rate", "", "the baseline against itself"),
        ("drift_rate", "judge_only", "drift by the judge alone"),
        ("candidate_rate", "", "candidates of the screen"),
    ):
        f = _one(findings, estimand, outcome)
        if f is not None and f.estimate is not None and (what[:5] != "drift" or rule != "judge_only"):
            rows.append(counted_row(what, f))
    excess = _one(findings, "drift_excess")
    if excess is not None and excess.estimate is not None:
        rows.append(closing_row("drift beyond redrawing", excess, POINTS, p=holm_p(excess), without=""))
    return rows


def drift_caveats(*, judged: bool, null: bool) -> list[str]:
    """The caveats of every page on drift."""
    caveats = [
        "A label may be right and its explanation still have drifted: drift is about the explanation.",
        "The judge sees neither the right label nor which model wrote what; sides are exchanged, and only a verdict that holds in "
        "both orders counts. The rubric is ours: the published code's contradicts the definition.",
    ]
    if not judged:
        caveats.append("No judge was given: what follows is the screen alone, which fires on noise.")
    if not null:
        caveats.append("There is no null control: how much drift redrawing alone would cause is unknown.")
    return caveats
