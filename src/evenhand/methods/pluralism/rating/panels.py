"""Tables of ratings, panels of items x raters with what is known about the raters, and the findings built on them.

A rater is a person, a column (profile, wording and order), or a profile; every panel states which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from evenhand.datasets.question_texts import FIELDS, OPTIONS
from evenhand.findings.builder import TableBuilder
from evenhand.methods.pluralism.data.items import RatedItem
from evenhand.methods.pluralism.data.rating_table import RatingTable
from evenhand.methods.pluralism.rating.answers import Rated
from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.methods.pluralism.rating.plan import FULL, SINGLE
from evenhand.methods.pluralism.rating.statistics.raters import (
    RaterGroups,
    intersect,
    intersection_name,
    rater_groups,
)
from evenhand.records import Finding, HypothesisTest
from evenhand.safe_text import json_safe
from evenhand.statistics.cells import FloatArray, IntArray

PEOPLE = "people"
"""The configuration of findings on ratings by people."""
MISSING_DOMAIN = "no domain"
_SCHEMA: dict[str, Any] = {
    "config": pl.String,
    "item_id": pl.String,
    "domain": pl.String,
    "rater_id": pl.String,
    "kind": pl.String,
    **dict.fromkeys(FIELDS, pl.String),
    "paraphrase": pl.Int32,
    "order": pl.String,
    "status": pl.String,
    "label": pl.String,
    "value": pl.Float64,
    **{f"p_{option}": pl.Float64 for option in OPTIONS},
    "mass": pl.Float64,
    "how": pl.String,
    "text": pl.String,
    "error": pl.String,
}
SHARES = tuple(f"p_{option}" for option in OPTIONS)
RATING = "rating (0 safe to 1 unsafe)"


def ratings_frame(rated: Sequence[Rated]) -> pl.DataFrame:
    """One row per rating of a model, sorted; a field that the profile lacks is empty, a missing rating null."""
    rows = [
        {
            "config": r.config, "item_id": r.item_id, "domain": one.domain or MISSING_DOMAIN, "rater_id": r.rater_id,
            "kind": one.kind, **{field: r.profile.get(field, "") for field in FIELDS}, "paraphrase": r.paraphrase,
            "order": r.order, "status": r.status, "label": r.label, "value": r.value,
            **dict(zip(SHARES, one.shares or (None,) * len(SHARES), strict=True)),
            "mass": r.mass, "how": one.how, "text": json_safe(one.text), "error": json_safe(r.error),
        }
        for one in rated
        for r in (one.rating,)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return frame.sort("config", "kind", "rater_id", "item_id", "paraphrase", "order")


def items_frame(items: Sequence[RatedItem]) -> pl.DataFrame:
    """One row per text, sorted by id."""
    rows = {
        "item_id": [item.id for item in items],
        "domain": [item.domain or MISSING_DOMAIN for item in items],
        "text": [json_safe(item.text) for item in items],
        "reply": [json_safe(item.reply) for item in items],
        "gold": [item.gold for item in items],
    }
    schema = {**dict.fromkeys(rows, pl.String), "gold": pl.Float64}
    return pl.DataFrame(rows, schema=schema).sort("item_id")


def items_of_people(table: RatingTable) -> dict[str, float | None]:
    """The expert's label of every item that people rated: 1 unsafe, 0 safe, None unknown."""
    ids = table.items["item_id"].to_list()
    gold = table.gold(ids)
    labels = (
        [None] * len(ids) if gold is None else [None if label != label else float(label) for label in gold.tolist()]
    )
    return dict(zip(ids, labels, strict=True))


def people_frame(table: RatingTable) -> pl.DataFrame:
    """One row per rating by a person, sorted, with the domain of its item."""
    domain = (
        table.items.select("item_id", pl.col("domain").fill_null("").replace("", MISSING_DOMAIN))
        if "domain" in table.items.columns
        else table.items.select("item_id", domain=pl.lit(MISSING_DOMAIN))
    )
    frame = table.frame.join(domain, on="item_id", how="left", maintain_order="left")
    return frame.with_columns(config=pl.lit(PEOPLE)).sort("item_id", "rater_id")


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Ratings (items, raters), 0 safe to 1 unsafe, NaN where missing, and their labels (codes of safe, unsure, unsafe; -1).

    ``what`` says what a rater is. ``demographics`` is axis to one value per rater, None if unknown. ``within`` (raters,) are
    the wording and order of a column: labels are shuffled only inside them, and group means are taken over the same ones
    for all groups. ``least`` is the smallest group that is shown. ``people`` says that raters are a sample of persons.
    ``set_aside`` counts ratings that were left out because another group lacks the same wording and order.
    """

    what: str
    values: FloatArray
    labels: IntArray
    items: tuple[str, ...]
    raters: tuple[str, ...]
    domains: tuple[str, ...]
    demographics: Mapping[str, Sequence[str | None]]
    within: tuple[str, ...] | None = None
    least: int = 1
    people: bool = False
    set_aside: int = 0

    def groups(self, axis: str) -> RaterGroups:
        """The groups of an axis; small ones are suppressed, ``Other`` and missing values left out of contrasts."""
        return rater_groups(self.demographics[axis], least=self.least)


def _grid(frame: pl.DataFrame, items: Sequence[str], columns: Sequence[str]) -> tuple[FloatArray, IntArray]:
    """Values and label codes of ``frame`` (item_id, column), (items, columns)."""
    row = {item: at for at, item in enumerate(items)}
    place = {column: at for at, column in enumerate(columns)}
    values = np.full((len(items), len(columns)), np.nan)
    labels = np.full(values.shape, -1, dtype=np.int64)
    code = {option: at for at, option in enumerate(OPTIONS)}
    kept = frame.filter(pl.col("value").is_not_null())
    for item, column, value, label in kept.select("item_id", "column", "value", "label").iter_rows():
        values[row[item], place[column]] = value
        labels[row[item], place[column]] = code[label]
    return values, labels


def _items(frame: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    once = frame.select("item_id", "domain").unique("item_id", keep="first", maintain_order=True).sort("item_id")
    return tuple(once["item_id"]), tuple(once["domain"])


def axis_panel(frame: pl.DataFrame, axis: str) -> Panel | None:
    """One axis of one model: a column is (value, wording, order) of its single-field profiles. None if it was not asked.

    A wording and order that lacks the rating of any group of an item is excluded from that item for every group: otherwise a
    refusal in one order would turn a preference for the first option into a difference between groups.
    """
    ratings = frame.filter((pl.col("kind") == SINGLE) & (pl.col(axis) != ""))
    if ratings.is_empty():
        return None
    items, domains = _items(ratings)
    keys = ratings.select(axis, "paraphrase", "order").unique().sort("paraphrase", "order", axis)
    groups = keys[axis].to_list()
    strata = [f"{p}{o}" for p, o in keys.select("paraphrase", "order").iter_rows()]
    columns = [f"{group}\x1f{stratum}" for group, stratum in zip(groups, strata, strict=True)]
    named = ratings.with_columns(
        column=pl.concat_str(axis, pl.lit("\x1f"), pl.col("paraphrase").cast(pl.String), "order")
    )
    values, labels = _grid(named, items, columns)
    aside = 0
    for stratum in dict.fromkeys(strata):
        at = np.flatnonzero([one == stratum for one in strata])
        torn = ~np.isfinite(values[:, at]).all(axis=1)
        aside += int(np.isfinite(values[np.ix_(torn, at)]).sum())
        values[np.ix_(torn, at)], labels[np.ix_(torn, at)] = np.nan, -1
    return Panel(
        f"a {axis}, asked in one wording and order", values, labels, items, tuple(columns), domains, {axis: groups},
        tuple(strata), set_aside=aside,
    )  # fmt: skip


def profile_panel(frame: pl.DataFrame, kind: str) -> Panel | None:
    """One model's profiles as raters: the mean over wordings and orders, labels by the mean letter probabilities.

    Where ratings are missing, the mean effect of each wording and order is taken off first, so that a profile does not move by
    which of them it lacks. None with fewer than two profiles.
    """
    ratings = frame.filter((pl.col("kind") == kind) & (pl.col("status") == "ok"))
    every = frame.filter(pl.col("kind") == kind)
    raters = tuple(every["rater_id"].unique().sort())
    if len(raters) < 2:
        return None
    items, domains = _items(every)
    if ratings.height < every.height and not ratings.is_empty():
        whole = ratings["value"].mean()
        effect = pl.col("value").mean().over("paraphrase", "order") - pl.lit(whole)
        ratings = ratings.with_columns(value=pl.col("value") - effect)
    means = ratings.group_by("item_id", "rater_id").agg(
        pl.col("value").mean(), *(pl.col(name).mean() for name in SHARES)
    )
    most = pl.max_horizontal(*SHARES)
    label = pl.when(pl.col(SHARES[2]) == most).then(pl.lit(OPTIONS[2]))
    label = label.when(pl.col(SHARES[1]) == most).then(pl.lit(OPTIONS[1])).otherwise(pl.lit(OPTIONS[0]))  # type: ignore[assignment]
    values, labels = _grid(means.with_columns(label=label, column=pl.col("rater_id")), items, raters)
    profiles = every.unique("rater_id", keep="first").sort("rater_id")
    demographics: dict[str, Sequence[str | None]] = {
        axis: [value or None for value in profiles[axis]] for axis in FIELDS if (profiles[axis] != "").any()
    }
    if kind == FULL and {"race", "gender"} <= set(demographics):
        demographics[intersection_name(("race", "gender"))] = intersect(demographics, ("race", "gender"))
    return Panel(
        "a profile, its ratings averaged over wordings and orders", values, labels, items, raters, domains, demographics
    )


def people_panel(table: RatingTable, frame: pl.DataFrame, view: pl.DataFrame | None, least: int) -> Panel:
    """People as raters; ``frame`` is `people_frame`, ``view`` some of the rows of the table."""
    values, items, raters = table.matrix(view)
    labels, _, _ = table.codes(view)
    of_item = dict(frame.select("item_id", "domain").unique("item_id").iter_rows())
    of_axis = table.demographics(raters) if table.identified else {}
    demographics: dict[str, Sequence[str | None]] = {
        axis: [value or None for value in values_] for axis, values_ in of_axis.items()
    }
    if {"race", "gender"} <= set(demographics):
        demographics[intersection_name(("race", "gender"))] = intersect(demographics, ("race", "gender"))
    domains = tuple(of_item[item] for item in items)
    return Panel("a person", values, labels, items, raters, domains, demographics, None, least, people=True)


def permutation_record(
    p: float | None, draws: int, family: str = "", what: str = "group labels", smallest: float = 0.0
) -> HypothesisTest | None:
    """A permutation p as a record, not adjusted without a family; ``smallest`` is the least p that the arrangements allow."""
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
class FindingBuilder:
    """Builds the findings of one configuration on its rows of one table."""

    config: str
    on_rows: TableBuilder
    draws: int
    seed: int

    @classmethod
    def for_config(cls, frame: pl.DataFrame, table: str, config: str, *, draws: int, seed: int) -> FindingBuilder:
        """A builder on the rows of ``config`` in ``frame``, which the run keeps as ``table``."""
        keys = [c for c in ("config", "item_id", "rater_id", "paraphrase", "order") if c in frame.columns]
        # Each id is joined once, not once per finding.
        row_id = pl.concat_str(*(pl.col(key).cast(pl.String) for key in keys), separator="#")
        rows = frame.filter(pl.col("config") == config).with_columns(__id=row_id).sort("__id")
        return cls(config, TableBuilder(AUDIT, table, rows, ("__id",)), draws, seed)

    @property
    def rows(self) -> pl.DataFrame:
        """The rows of the configuration, sorted by id."""
        return self.on_rows.rows

    def group_rows(self, rows: Mapping[str, Any], axis: str, group: str) -> dict[str, Any]:
        """``rows`` of one group of an axis, or of an intersection ("race x gender": "White, Man"), selected by its parts."""
        parts, values = axis.split(" x "), group.split(", ")
        # A value may hold the separator itself: the last part is the last axis.
        values = [", ".join(values[: len(values) - len(parts) + 1]), *values[len(values) - len(parts) + 1 :]]
        chosen = {name: [value] for name, value in zip(parts, values, strict=True) if name in self.rows.columns}
        return {**rows, **chosen}

    def build(
        self, estimand: str, outcome: str, estimate: float | None, unit: str = RATING, *, n: int = 0,
        rows: Mapping[str, Sequence[str]] | None = None, against: str | None = None, **more: Any,
    ) -> Finding:  # fmt: skip
        """A finding with its id, the selector of its rows (``rows``: column to values) and their digest.

        ``against`` is what the estimate is compared with; ``more`` are further fields of `Finding`.
        """
        selected = {"config": [self.config], **{name: list(values) for name, values in (rows or {}).items()}}
        return self.on_rows.build(
            estimand, outcome, self.config, estimate, unit, selected=selected, n=n, reference=against, **more
        )
