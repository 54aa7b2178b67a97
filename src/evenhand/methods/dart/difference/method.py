"""The declaration of difference: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="difference",
    title="Difference awareness",
    summary="does it know when groups differ, and when they do not",
    paper="dart",
    audit="evenhand.methods.dart.difference.audit:DifferenceAudit",
    shown=("config", "form", "case", "gold", "tolerant", "strict", "option", "reason", "text"),
    section="evenhand.methods.dart.difference.page:difference_part",
    order=40,
)
