"""The declaration of drift: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="drift",
    title="Harm drift",
    summary="did tuning make explanations more harmful",
    paper="dart",
    shown=("case", "group", "drift", "severity", "category", "delta", "baseline_view", "candidate_view"),
    section="evenhand.methods.dart.drift.page:drift_part",
    order=80,
)
