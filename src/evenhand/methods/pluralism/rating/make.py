"""Findings of the pluralism audit: ids, the rows behind a number, permutation tests as records, and how each is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from evenhand.findings.builder import build, digest_of, rows_where
from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.records import Finding, HypothesisTest

RATING = "rating (0 safe to 1 unsafe)"


def permutation_record(
    p: float | None, draws: int, family: str = "", what: str = "group labels", smallest: float = 0.0
) -> HypothesisTest | None:
    """A permutation p as a record; without a family it is not adjusted. ``smallest`` is what so few arrangements can give."""
    if p is None:
        return None
    return HypothesisTest(
        p,
        f"permutation of {what}, {draws} random",
        smallest_p=max(1 / (draws + 1), smallest),
        permutations=draws,
        exact=False,
        family=family,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Makes the findings of one configuration on the rows of one table, sorted by id."""

    rows: pl.DataFrame
    table: str
    config: str
    draws: int
    seed: int

    @classmethod
    def of(cls, frame: pl.DataFrame, table: str, config: str, *, draws: int, seed: int) -> Maker:
        """A maker on the rows of ``config``."""
        own = frame.filter(pl.col("config") == config)
        parts = [c for c in ("config", "item_id", "rater_id", "paraphrase", "order") if c in own.columns]
        own = own.with_columns(__id=pl.concat_str(*(pl.col(c).cast(pl.String) for c in parts), separator="#"))
        return cls(own.sort("__id"), table, config, draws, seed)

    def of_group(self, rows: Mapping[str, Any], axis: str, group: str) -> dict[str, Any]:
        """``rows`` of one group of an axis, or of an intersection ("race x gender": "White, Man"), which is told by its parts."""
        parts, values = axis.split(" x "), group.split(", ")
        # A value may hold the separator itself: the last part is the last axis.
        values = [", ".join(values[: len(values) - len(parts) + 1]), *values[len(values) - len(parts) + 1 :]]
        chosen = {name: [value] for name, value in zip(parts, values, strict=True) if name in self.rows.columns}
        return {**rows, **chosen}

    def make(
        self, estimand: str, outcome: str, estimate: float | None, unit: str = RATING, *, group: str | None = None,
        part: Mapping[str, str] | None = None, rows: Mapping[str, Sequence[str]] | None = None, against: str | None = None,
        **more: Any,
    ) -> Finding:  # fmt: skip
        """A finding with its id, the selector of its rows (``rows``: column to values) and their digest."""
        selected: dict[str, Any] = {
            "config": [self.config],
            **{name: list(values) for name, values in (rows or {}).items()},
        }
        row_ids = rows_where(self.rows, selected)["__id"].to_list()
        return build(
            AUDIT, estimand, outcome, self.config, estimate, unit, group=group, reference=against, part=part,
            evidence={"table": self.table, **selected}, evidence_digest=digest_of(row_ids), **more,
        )  # fmt: skip
