"""Stored decisions as the figures show them."""

from __future__ import annotations

from typing import Literal

from evenhand.findings.decide import is_found
from evenhand.records import Finding

State = Literal["found", "not found", "unknown", "undefined"]


def state_of(finding: Finding) -> State:
    """How a comparison is drawn, by its stored decision; one without a decision cannot be told."""
    if finding.estimate is None:
        return "undefined"
    if is_found(finding):
        return "found"
    return "not found" if finding.decision == "even" else "unknown"
