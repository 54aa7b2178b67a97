"""Harm drift: the one place where the rest of the package learns of this method."""

from __future__ import annotations

from evenhand.registry import Entry, Method

METHOD = Method(
    name="drift",
    title="Harm drift",
    summary="did tuning make explanations more harmful",
    paper="dart",
    rows="pairs",
    shown=("case", "group", "drift", "severity", "category", "delta", "baseline_view", "candidate_view"),
    filters={"config": "case"},
    section="evenhand.methods.dart.drift.page:drift_part",
    classifiers=(
        Entry(
            "harm-lexicon",
            "evenhand.methods.dart.drift.harm:HarmLexicon",
            "a small word list: mild insults and generalising phrases, 0 to 1",
        ),
    ),
    commands="evenhand.methods.dart.commands:add_drift",
    order=80,
)
