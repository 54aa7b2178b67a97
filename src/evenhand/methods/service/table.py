"""Graded rows as coded arrays, and the builder of findings on them: the randomised unit, shared stems, rows behind a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from evenhand.findings.builder import build, digest_of, ids_of, rows_where
from evenhand.methods.service.items import AUDIT
from evenhand.methods.service.statistics.contrasts import Contrast
from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, SERVED_LENIENT, UNSERVED, Finding, Interval
from evenhand.statistics.cells import Cells, FloatArray, IntArray, cells_from_rows

COLLAPSES: dict[str, frozenset[str]] = {
    "declined": DECLINED,
    "harmful": HARMFUL,
    "served": SERVED,
    "served_lenient": SERVED_LENIENT,
    "unserved": UNSERVED,
}
"""Outcome -> the labels that count as 1 (docs/service_quality.md)."""

NO_STEM = "all"


@dataclass(frozen=True, slots=True)
class Units:
    """What was randomised: the column of the unit, and the column of the shared stem (empty where none is shared)."""

    unit: str
    stem: str

    @property
    def sentence(self) -> str:
        """The unit of inference, for the methods box."""
        if self.unit != "name" and self.stem:
            return (
                "prompts within the stems that groups share. Repetitions are averaged in their cell and never count as "
                "independent."
            )
        unit = "first names (or phrases), each of which meets every stem" if self.unit == "name" else "prompts"
        stems = ", and stems, which all groups share" if self.stem else "; no stem is shared by two groups"
        return f"{unit}{stems}. Repetitions are averaged in their cell and never count as independent."


def find_units(rows: pl.DataFrame) -> Units:
    """Names where every row has one, else items; stems where at least one is met by two groups."""
    named = "name" in rows.columns and rows["name"].null_count() == 0
    shared = False
    if "stem" in rows.columns and rows["stem"].null_count() == 0:
        groups_of_stem = rows.group_by("stem").agg(pl.col("group").n_unique())["group"].max()
        shared = isinstance(groups_of_stem, int) and groups_of_stem > 1
    return Units("name" if named else "item_id", "stem" if shared else "")


@dataclass(frozen=True)
class ServiceTable:
    """The labelled rows of one configuration and one grader, coded.

    ``groups`` lists group keys, the reference first; code 0 is the reference. Rows without a label are left out of every rate and
    counted in ``missing``.
    """

    config: str
    rows: pl.DataFrame
    groups: Sequence[str]
    units: Units
    _digests: dict[tuple[Any, ...], tuple[int, str]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """Rows with a label, sorted by item and repetition."""
        return self.rows.filter(pl.col("label").is_not_null()).sort("item_id", "repetition")

    @cached_property
    def unit_names(self) -> list[str]:
        """The randomised units, sorted."""
        return sorted(self.labelled[self.units.unit].unique().to_list())

    @cached_property
    def stems(self) -> list[str]:
        """The stems, sorted; one entry where none is shared."""
        return sorted(self.labelled[self.units.stem].unique().to_list()) if self.units.stem else [NO_STEM]

    @cached_property
    def unit_rows(self) -> pl.DataFrame:
        """One row a unit, in the order of ``unit_names``, with its group and attributes."""
        return self.labelled.unique(subset=[self.units.unit], keep="first", maintain_order=True).sort(self.units.unit)

    @cached_property
    def unit_codes(self) -> IntArray:
        """(rows,) code of each labelled row's unit."""
        return self._codes(self.units.unit, self.unit_names)

    @cached_property
    def stem_codes(self) -> IntArray:
        """(rows,) code of each labelled row's stem."""
        if not self.units.stem:
            return np.zeros(self.labelled.height, dtype=np.int64)
        return self._codes(self.units.stem, self.stems)

    @cached_property
    def unit_groups(self) -> IntArray:
        """(units,) group code of each unit."""
        return np.array([self.groups.index(group) for group in self.unit_rows["group"].to_list()], dtype=np.int64)

    def _codes(self, column: str, values: Sequence[str]) -> IntArray:
        coded = self.labelled[column].cast(pl.Enum(list(values))).to_physical().cast(pl.Int64).to_numpy()
        return np.asarray(coded, dtype=np.int64)

    def outcome(self, labels: frozenset[str]) -> FloatArray:
        """(rows,) 1 where the label is one of ``labels``, else 0."""
        return np.asarray(self.labelled["label"].is_in(list(labels)).cast(pl.Float64).to_numpy(), dtype=np.float64)

    def cells(self, labels: frozenset[str]) -> Cells:
        """Cell means of an outcome: (units, stems)."""
        return self.cells_of(self.outcome(labels), binary=True)

    def cells_of(self, values: FloatArray, *, binary: bool) -> Cells:
        """Cell means of any measure over the labelled rows, NaN left out."""
        return cells_from_rows(
            self.unit_codes, self.stem_codes, values, self.unit_groups, n_stems=len(self.stems), binary=binary
        )

    @cached_property
    def prompt_matrix(self) -> tuple[IntArray, list[str]]:
        """Label codes (items, repetitions), -1 where missing, and the item of each row."""
        labelled = self.labelled
        items = labelled["item_id"].unique(maintain_order=True).to_list()
        row = self._codes("item_id", items)
        turn = (
            labelled.select(pl.col("repetition").rank("ordinal").over("item_id") - 1)
            .to_series()
            .cast(pl.Int64)
            .to_numpy()
        )
        matrix = np.full((len(items), int(turn.max(initial=-1)) + 1), -1, dtype=np.int64)
        codes = np.array([LABELS.index(label) for label in labelled["label"].to_list()], dtype=np.int64)
        matrix[row, turn] = codes
        return matrix, items

    def behind(self, **selected: str | Sequence[str]) -> tuple[int, str]:
        """How many labelled rows a selection holds, and the xxh3-128 of their sorted ids."""
        key = tuple(
            sorted(
                (column, tuple(value) if not isinstance(value, str) else value) for column, value in selected.items()
            )
        )
        if key not in self._digests:
            ids = ids_of(rows_where(self.labelled, selected), ("item_id", "repetition"))
            self._digests[key] = (len(ids), digest_of(ids))
        return self._digests[key]

    def attribute(self, column: str) -> list[str | None]:
        """(units,) an attribute of each unit; all None where there is no such column."""
        if column not in self.unit_rows.columns:
            return [None] * len(self.unit_names)
        values: list[str | None] = self.unit_rows[column].to_list()
        return values

    @cached_property
    def stem_facts(self) -> Mapping[str, tuple[str, str]]:
        """Stem id -> (its class, its text if the rows hold it)."""
        if not self.units.stem:
            return {}
        columns = [pl.col("stratum").first()]
        columns.append(
            pl.col("stem_text").first() if "stem_text" in self.labelled.columns else pl.lit("").alias("stem_text")
        )
        facts = self.labelled.group_by(self.units.stem).agg(columns)
        return {
            row[self.units.stem]: (row["stratum"] or "", row["stem_text"] or "") for row in facts.iter_rows(named=True)
        }


def ends_of(interval: Interval | None) -> list[float] | None:
    """Both ends of an interval, as a finding's ``extra`` holds them."""
    return None if interval is None else [interval.low, interval.high]


def contrast_fields(contrast: Contrast, groups: Sequence[str]) -> dict[str, Any]:
    """The fields that every finding on a contrast has: its groups, and the clusters behind it."""
    return {
        "group": groups[contrast.group],
        "reference": groups[contrast.reference],
        "clusters": {
            "names": contrast.names[0],
            "reference names": contrast.names[1],
            "stems": contrast.stems,
            "stems dropped": contrast.stems_dropped,
        },
    }


def why_undefined(contrast: Contrast) -> str:
    """Why the difference, its interval or its test is undefined, or an empty text."""
    reasons = contrast.reasons or {}
    return "; ".join(
        dict.fromkeys(reasons[key] for key in ("difference", "interval", "test", "names") if key in reasons)
    )


@dataclass(frozen=True, slots=True)
class FindingBuilder:
    """Makes findings of one configuration and one grader, each with the rows behind it."""

    table: ServiceTable
    grader: str
    labels: frozenset[str]
    seed: int
    draws: int
    within: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column values that all rows of the table share, part of the evidence of every finding."""

    def undefined_outcome(self, outcome: str) -> str:
        """Why an outcome is not defined by this grader's labels, or an empty text."""
        if outcome == "declined" or self.labels >= frozenset(LABELS):
            return ""
        return f"the grader '{self.grader}' gives only {', '.join(sorted(self.labels))}"

    def build(
        self,
        estimand: str,
        outcome: str,
        estimate: float | None,
        unit: str,
        *,
        group: str | None = None,
        reference: str | None = None,
        rows: Mapping[str, str | Sequence[str]] | None = None,
        part: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Finding:
        """A finding with its id, its evidence and the number of rows and units behind it."""
        selected: dict[str, str | Sequence[str]] = {**self.within, **(rows or {})}
        if group is not None and "group" not in selected:
            selected["group"] = group if reference is None else (group, reference)
        n, digest = self.table.behind(**selected)
        config = self.table.config
        return build(
            AUDIT,
            estimand,
            outcome,
            config,
            estimate,
            unit,
            lead=(config, self.grader),
            group=group,
            reference=reference,
            part=part,
            n=more.pop("n", n),
            grader=self.grader,
            evidence={"config": config, "grader": self.grader, **selected},
            evidence_digest=digest,
            **more,
        )
