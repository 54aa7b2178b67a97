"""The service audit in plain words: who is declined more, by how much, how sure, and what could not be told."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.records import Finding

__all__ = ["ALPHA", "headlines", "points", "verdict"]

ALPHA = 0.05


def points(value: float | None, *, signed: bool = True) -> str:
    """A difference of probabilities as percentage points: ``+31.2 points``."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f} points" if signed else f"{100 * value:.1f} points"


def p_text(p: float | None) -> str:
    """A p value with two figures, never as zero."""
    if p is None:
        return "–"
    return "p < .0001" if p < 0.0001 else f"p = {p:.2g}"


def _between(finding: Finding) -> str:
    if finding.interval is None:
        return ""
    low, high = 100 * finding.interval.low, 100 * finding.interval.high
    return f"{finding.interval.level:.0%} interval {low:+.1f} to {high:+.1f}"


def _named(group: str | None) -> str:
    from evenhand.report.words import group_label

    return f"names associated with {group_label(group or '')}"


def contrasts(findings: Sequence[Finding], config: str, outcome: str = "declined") -> list[Finding]:
    """The primary family: every group against the reference, on all stems."""
    return [
        finding
        for finding in findings
        if finding.estimand == "risk_difference"
        and finding.outcome == outcome
        and finding.config == config
        and not finding.slice
    ]
