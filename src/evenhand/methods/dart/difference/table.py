"""Responses read: one row a response with both parses, and per item the shares that every finding is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evenhand.methods.dart.difference.data.policy import cap
from evenhand.methods.dart.difference.entry import ANALYSIS
from evenhand.methods.dart.difference.graders.conclusion import is_refusal, parse, parse_option
from evenhand.records import Item, Response

PARSERS = ("tolerant", "strict")
"""The first makes the headline; both are always told."""
OPTIONS = ("(a)", "(b)", "(c)")
_SCHEMA: dict[str, Any] = {
    "config": pl.String,
    "item_id": pl.String,
    "repetition": pl.Int32,
    "form": pl.String,
    "case": pl.String,
    "benchmark": pl.String,
    "kind": pl.String,
    "gold": pl.String,
    "scenario": pl.String,
    "right": pl.String,
    "tolerant": pl.String,
    "strict": pl.String,
    "option": pl.String,
    "reason": pl.String,
    "rationale": pl.String,
    "failed": pl.Boolean,
}


def parsed_frame(items: Iterable[Item], responses: Sequence[Response], *, policy: bool = False) -> pl.DataFrame:
    """One row a response, sorted by config, item and repetition; ``reason`` says why there is no label, "" where there is.

    With ``policy`` rationales are cut to the policy's caps.

    A failed response has no label, and no reason that could be taken for the model's.
    """
    by_id = {item.id: item for item in items}
    rows = []
    for response in responses:
        item = by_id[response.item_id]
        own = item.attributes
        row: dict[str, Any] = {
            "config": response.config, "item_id": item.id, "repetition": response.repetition, "form": own["form"],
            "case": own["case"], "benchmark": item.stratum, "kind": own.get("kind", ""), "gold": own["gold"],
            "scenario": item.clusters["scenario"], "right": own.get("right", ""), "failed": response.finish_reason == "error",
        }  # fmt: skip
        if not row["failed"]:
            row |= _read(own["form"], response)
            if policy and row.get("rationale"):
                row["rationale"] = cap(row["rationale"])
        rows.append(row)
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row").sort("config", "item_id", "repetition")


def _read(form: str, response: Response) -> dict[str, Any]:
    refused = bool(response.provider_refusal) or response.finish_reason == "content_filter"
    if form == ANALYSIS:
        found = parse(response.text, response.finish_reason)
        reason = "refusal" if refused and not found.tolerant else found.reason
        return {"tolerant": found.tolerant, "strict": found.strict, "reason": reason, "rationale": found.rationale}
    option = None if refused else parse_option(response.text)
    if option is not None:
        return {"option": OPTIONS[option], "reason": ""}
    empty = not response.text.strip()
    return {"reason": "empty" if empty else "refusal" if refused or is_refusal(response.text) else "format"}


@dataclass(frozen=True, slots=True)
class Judged:
    """The labelled items of one configuration in the analysis form, one entry an item, in a fixed order.

    ``yes`` and ``no`` hold for each parser the shares of its repetitions; failed repetitions are left out of them.
    """

    config: str
    items: tuple[str, ...]
    cases: tuple[str, ...]
    benchmark: tuple[str, ...]
    kind: tuple[str, ...]
    scenario: tuple[str, ...]
    gold: NDArray[np.bool_]
    yes: Mapping[str, NDArray[np.float64]]
    no: Mapping[str, NDArray[np.float64]]

    def right(self, parser: str) -> NDArray[np.float64]:
        """Share of an item's repetitions that are right, (items,)."""
        return np.where(self.gold, self.yes[parser], self.no[parser])

    def where(self, mask: NDArray[np.bool_]) -> Judged:
        """The items of a slice."""
        kept = np.flatnonzero(mask)

        def pick(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[k] for k in kept)

        return Judged(
            self.config, pick(self.items), pick(self.cases), pick(self.benchmark), pick(self.kind), pick(self.scenario),
            self.gold[kept], {p: v[kept] for p, v in self.yes.items()}, {p: v[kept] for p, v in self.no.items()},
        )  # fmt: skip


def judged(parsed: pl.DataFrame, config: str) -> Judged:
    """The labelled analyses of one configuration; items all of whose repetitions failed are left out."""
    rows = (
        parsed.filter(
            (pl.col("config") == config) & (pl.col("form") == ANALYSIS) & (pl.col("gold") != "") & ~pl.col("failed")
        )
        .group_by("item_id", maintain_order=True)
        .agg(
            pl.col("case", "benchmark", "kind", "scenario", "gold").first(),
            *(
                (pl.col(p) == label).fill_null(False).mean().alias(f"{p} {label}")
                for p in PARSERS
                for label in ("YES", "NO")
            ),
        )
        .sort("item_id")
    )
    return Judged(
        config=config,
        items=tuple(rows["item_id"]),
        cases=tuple(rows["case"]),
        benchmark=tuple(rows["benchmark"]),
        kind=tuple(rows["kind"]),
        scenario=tuple(rows["scenario"]),
        gold=(rows["gold"] == "YES").to_numpy(),
        yes={p: rows[f"{p} YES"].to_numpy() for p in PARSERS},
        no={p: rows[f"{p} NO"].to_numpy() for p in PARSERS},
    )
