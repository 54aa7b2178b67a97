"""Making findings of the pluralism audit: ids, the rows behind a number, and Benjamini-Hochberg over a family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from xxhash import xxh3_128_hexdigest

from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.records import Finding, HypothesisTest
from evenhand.statistics.multiplicity import benjamini_hochberg

RATING = "rating (0 safe to 1 unsafe)"
LEVEL = 0.05


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


def adjust_bh(findings: Sequence[Finding]) -> list[Finding]:
    """Adjust every p of a family by Benjamini and Hochberg (the families here are groups x domains, or measures x groups)."""
    out = list(findings)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, finding in enumerate(out):
        if finding.test is not None and finding.test.p is not None and finding.test.family:
            places[finding.test.family].append(at)
    for family in places.values():
        tests = [test for at in family if (test := out[at].test) is not None]
        adjusted = benjamini_hochberg([test.p for test in tests])
        for at, test, q in zip(family, tests, adjusted.values, strict=True):
            out[at] = replace(out[at], test=replace(test, q_bh=q, family_size=adjusted.family_size))
    return out


def is_shown(finding: Finding) -> bool:
    """Whether a difference was found: an adjusted p (Holm where there is one, else Benjamini-Hochberg) below .05."""
    test = finding.test
    if test is None or finding.estimate is None:
        return False
    p = test.p_holm if test.p_holm is not None else test.q_bh
    return p is not None and p < LEVEL


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
        behind = self.rows
        for column, values in selected.items():
            behind = behind.filter(pl.col(column).is_in(values))
        pieces = [AUDIT, self.config, estimand, outcome, *([group] if group is not None else [])]
        pieces += [f"{key}={value}" for key, value in (part or {}).items()]
        return Finding(
            id="/".join(pieces), audit=AUDIT, estimand=estimand, outcome=outcome, config=self.config, group=group,
            reference=against, estimate=estimate, unit=unit, slice=dict(part or {}),
            evidence={"table": self.table, **selected},
            evidence_digest=xxh3_128_hexdigest("\n".join(behind["__id"].to_list()).encode()), **more,
        )  # fmt: skip
