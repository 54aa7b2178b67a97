"""The declaration of dart: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="dart",
    title="DART repair",
    summary="distil, audit and repair explanations: accuracy and drift step by step",
    paper="dart",
    shown=("config", "case", "drift", "severity", "category", "delta", "baseline_view", "candidate_view"),
    section="evenhand.methods.dart.repair.page:dart_part",
    order=90,
)
