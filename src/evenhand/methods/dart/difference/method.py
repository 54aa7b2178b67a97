"""Difference awareness: the one place where the rest of the package learns of this method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenhand.registry import Entry, Method

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.load import LoadedRun

_CASES = "evenhand.methods.dart.difference.cases"

METHOD = Method(
    name="difference",
    title="Difference awareness",
    summary="does it know when groups differ, and when they do not",
    paper="dart",
    audit="evenhand.methods.dart.difference.audit:DifferenceAudit",
    rows="evenhand.methods.dart.difference.method:rows",
    settings="evenhand.methods.dart.config:DifferenceSettings",
    shown=("config", "form", "case", "gold", "tolerant", "strict", "option", "reason", "text"),
    filters={"group": "benchmark"},
    section="evenhand.methods.dart.difference.page:difference_part",
    sets={
        "difference-sets": (
            Entry("shipped", f"{_CASES}:shipped", "768 questions about made-up groups, shipped"),
            Entry(
                "benchmarks",
                f"{_CASES}:read_benchmarks",
                "the eight benchmarks of Wang et al. 2025; some of them by name: D1,N4",
            ),
        )
    },
    order=40,
)


def rows(loaded: LoadedRun) -> pl.DataFrame:
    """What was read from each answer, with the answer."""
    return loaded.with_texts("parsed")
