"""Findings on how a model was asked: variance components, order of the options, wording, neutral condition, missing ratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from evenhand.datasets.question_texts import FIELDS, ORDERS
from evenhand.methods.pluralism.rating.panels import RATING, FindingBuilder
from evenhand.methods.pluralism.rating.plan import NEUTRAL, SINGLE
from evenhand.records import Finding, Interval
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.intervals import t_interval, wilson
from evenhand.statistics.variance_components import variance_components

COMPONENT, ORDER, WORDING, NEUTRAL_SHIFT, STATUS, MASS = (
    "variance_component", "order_shift", "wording_shift", "against_neutral", "rating_status", "letter_mass",
)  # fmt: skip
STATUSES = ("refused", "unparsed", "failed")
FACTORS = ("item", "profile", "item x profile", "wording", "order")
_MOST = 40_000_000


def asked_findings(builder: FindingBuilder) -> Iterator[Finding]:
    """Components of variance, the shift by order and wording, and every group against the neutral condition."""
    ok = builder.rows.filter(pl.col("status") == "ok")
    single = ok.filter(pl.col("kind").is_in([NEUTRAL, SINGLE]))
    yield from _components(builder, single)
    yield from _order(builder, ok)
    yield from _wordings(builder, ok)
    yield from _neutral(builder, ok)
    if ok["mass"].is_not_null().any():
        mass = ok["mass"].drop_nulls().to_numpy()
        yield builder.build(
            MASS, "mean", float(mass.mean()), "probability", n=int(mass.size), rows={"status": ["ok"]},
            extra={"least": float(mass.min()), "drawn": int((ok["how"] == "drawn letter").sum())},
        )  # fmt: skip


def _components(builder: FindingBuilder, single: pl.DataFrame) -> Iterator[Finding]:
    """REML over the neutral condition and the single-field profiles: at temperature 0 a repeat has no variance of its own."""
    items, profiles = single["item_id"].n_unique(), single["rater_id"].n_unique()
    labels: dict[str, Sequence[Any]] = {
        "item": single["item_id"].to_list(), "profile": single["rater_id"].to_list(),
        "item x profile": list(zip(single["item_id"], single["rater_id"], strict=True)),
        "wording": single["paraphrase"].to_list(), "order": single["order"].to_list(),
    }  # fmt: skip
    reasons: dict[str, str] = {}
    if items * profiles * (items + profiles) > _MOST:
        reasons["item x profile"] = "too many items for an exact fit with it"
    if single["paraphrase"].n_unique() * single["order"].n_unique() < 2 and single.height == items * profiles:
        reasons["item x profile"] = "one rating for each: indistinguishable from the residual"
    if items < 2 or profiles < 2:
        reasons["item x profile"] = "one item or one profile: the same as another factor"
    used = {name: part for name, part in labels.items() if name not in reasons}
    rows = {"kind": [NEUTRAL, SINGLE], "status": ["ok"]}
    result = variance_components(single["value"].to_numpy(), used) if single.height else None
    for name in (*FACTORS, "residual"):
        one = result.of(name) if result is not None and name not in reasons else None
        yield builder.build(
            COMPONENT, name, one.variance if one else None, "squared rating", rows=rows, n=single.height,
            interval=one.interval if one else None,
            reason=one.reason if one else reasons.get(name, "no rating was given"),
            extra={"share": one.share if one else None, "levels": one.levels if one else 0},
        )  # fmt: skip


def _paired(ok: pl.DataFrame, column: str, first: Any, second: Any, keys: Sequence[str]) -> FloatArray:
    """Second minus first in one item, averaged over whatever else they share, (items,)."""
    a, b = (ok.filter(pl.col(column) == value).select(*keys, "value") for value in (first, second))
    both = a.join(b, on=list(keys), suffix=" b", maintain_order="left")  # the order of a sum decides its last bit
    by_item = both.group_by("item_id").agg((pl.col("value b") - pl.col("value")).mean().alias("d")).sort("item_id")
    return by_item["d"].to_numpy()


def _mean(values: FloatArray, method: str = "t over items") -> dict[str, Any]:
    """Estimate, interval and n of a mean over items."""
    n = int(values.size)
    if not n:
        return {"estimate": None, "n": 0, "reason": "no item has both"}
    estimate = float(values.mean())
    if n < 2:
        return {"estimate": estimate, "n": n, "reason": "one item: no interval"}
    error = float(values.std(ddof=1)) / n**0.5
    return {
        "estimate": estimate, "n": n, "standard_error": error, "clusters": {"items": n},
        "interval": t_interval(estimate, error, n - 1, method=method),
    }  # fmt: skip


def _order(builder: FindingBuilder, ok: pl.DataFrame) -> Iterator[Finding]:
    """The rating when A is unsafe minus that when A is safe: above 0 the model prefers the first option."""
    d = _paired(ok, "order", *ORDERS, keys=("item_id", "rater_id", "paraphrase"))
    yield builder.build(
        ORDER, "mean rating", **_mean(d), unit=RATING, against="A is safe", rows={"status": ["ok"]},
        extra={"towards_first": float(d.mean()) / 2 if d.size else None},
    )  # fmt: skip


def _wordings(builder: FindingBuilder, ok: pl.DataFrame) -> Iterator[Finding]:
    """Each further wording against the first one."""
    wordings = sorted(ok["paraphrase"].unique())
    for other in wordings[1:]:
        d = _paired(ok, "paraphrase", wordings[0], other, keys=("item_id", "rater_id", "order"))
        yield builder.build(
            WORDING, "mean rating", **_mean(d), unit=RATING, part={"wording": str(other)}, against=f"wording {wordings[0]}",
            rows={"status": ["ok"]},
        )  # fmt: skip


def _neutral(builder: FindingBuilder, ok: pl.DataFrame) -> Iterator[Finding]:
    """Every single-field profile against the neutral condition, on the same item, wording and order."""
    keys = ("item_id", "paraphrase", "order")
    asked = ok.filter(pl.col("kind").is_in([NEUTRAL, SINGLE]))
    for axis in FIELDS:
        groups = sorted(asked.filter((pl.col("kind") == SINGLE) & (pl.col(axis) != ""))[axis].unique())
        for group in groups:
            rater = f"{axis}={group}"
            d = _paired(asked, "rater_id", NEUTRAL, rater, keys=keys)
            yield builder.build(
                NEUTRAL_SHIFT, "mean rating", **_mean(d), unit=RATING, group=group, part={"axis": axis}, against=NEUTRAL,
                rows={"rater_id": [NEUTRAL, rater]},
            )  # fmt: skip


def status_findings(builder: FindingBuilder, *, groups_of: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Shares of ratings that were refused, unparsed or failed: over all, by group, by domain, by group and domain.

    Cells by group and domain are reported only if something is missing. ``groups_of`` is axis to its groups.
    """
    rows = builder.rows
    yield from _shares(builder, rows, None, {}, {})
    yield from _shares(builder, rows.filter(pl.col("kind") == NEUTRAL), NEUTRAL, {}, {"kind": [NEUTRAL]})
    domains = sorted(rows["domain"].unique())
    for domain in domains:
        asked = rows.filter(pl.col("domain") == domain)
        yield from _shares(builder, asked, None, {"domain": domain}, {"domain": [domain]})
    for axis, groups in groups_of.items():
        mine = rows.filter(pl.col("kind") == SINGLE)
        for group in groups:
            part, chosen = {"axis": axis}, {"kind": [SINGLE], axis: [group]}
            of_group = mine.filter(pl.col(axis) == group)
            yield from _shares(builder, of_group, group, part, chosen)
            if (of_group["status"] == "ok").all():
                continue
            for domain in domains:
                cell = of_group.filter(pl.col("domain") == domain)
                if not (cell["status"] == "ok").all():
                    yield from _shares(builder, cell, group, {**part, "domain": domain}, {**chosen, "domain": [domain]})


def _shares(
    builder: FindingBuilder,
    asked: pl.DataFrame,
    group: str | None,
    part: Mapping[str, str],
    rows: Mapping[str, Sequence[str]],
) -> Iterator[Finding]:
    for status in STATUSES:
        count = int((asked["status"] == status).sum())
        yield builder.build(
            STATUS, status, count / asked.height if asked.height else None, "probability", group=group, part=part, rows=rows,
            n=asked.height, interval=_by_items(asked, status), clusters={"items": asked["item_id"].n_unique()},
            reason="" if asked.height else "nothing was asked", extra={"count": count},
        )  # fmt: skip


def _by_items(asked: pl.DataFrame, status: str) -> Interval | None:
    """Wilson's interval with items as the unit: ratings of one text are not independent trials."""
    shares = asked.group_by("item_id").agg((pl.col("status") == status).mean().alias("share"))["share"].to_numpy()
    return wilson(min(float(shares.size), float(np.sum(shares))), int(shares.size)) if shares.size else None
