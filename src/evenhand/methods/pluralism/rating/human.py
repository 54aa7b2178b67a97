"""Findings on a model beside people of the same groups: contrasts, slope, reliability, and the distance of label distributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.methods.pluralism.rating.make import Maker, permutation_record
from evenhand.methods.pluralism.rating.statistics.demographics import RaterGroups
from evenhand.methods.pluralism.rating.statistics.group_rates import UNSAFE_ABOVE
from evenhand.methods.pluralism.rating.statistics.human_contrasts import Calibration, calibrated_sensitivity
from evenhand.methods.pluralism.rating.statistics.label_distributions import LabelFit, label_fit
from evenhand.methods.pluralism.rating.statistics.sensitivity import group_means
from evenhand.methods.pluralism.rating.table import SHARES, Panel
from evenhand.records import Finding
from evenhand.statistics.cells import FloatArray

CALIBRATION, RELIABILITY, FIT = "calibrated_sensitivity", "split_half_reliability", "label_fit"
VALUES = (0.0, 0.5, 1.0)
MAJORITY = "the majority of the people who rated"


def truth_of(
    gold: Mapping[str, float | None], name: str, people: Panel | None, items: tuple[str, ...]
) -> tuple[FloatArray | None, str]:
    """What counts as truly unsafe (1) or safe (0), (items,), and whose word it is: an expert's, else the crowd's majority."""
    known = np.array([np.nan if gold.get(item) is None else float(gold[item] or 0.0) for item in items])
    if np.isfinite(known).any():
        return known, name
    if people is None:
        return None, ""
    row = {item: at for at, item in enumerate(people.items)}
    result = np.full(len(items), np.nan)
    for at, item in enumerate(items):
        if item in row:
            given = people.values[row[item]]
            given = given[np.isfinite(given)]
            share = float((given > UNSAFE_ABOVE).mean()) if given.size else 0.5
            result[at] = np.nan if share == 0.5 else float(share > 0.5)
    return (result, MAJORITY) if np.isfinite(result).any() else (None, "")


def _of_model(panel: Panel, axis: str, items: tuple[str, ...], groups: RaterGroups) -> FloatArray:
    """The model's mean rating under each group, (items, groups), NaN where it was not asked or gave none."""
    asked_groups = panel.groups(axis)
    result = np.full((len(items), len(groups.names)), np.nan)
    if not asked_groups.names:
        return result
    means = group_means(panel.values, asked_groups.codes[None, :], len(asked_groups.names)).means[..., 0]
    row = {item: at for at, item in enumerate(panel.items)}
    at = [row.get(item, -1) for item in items]
    there = np.array([place >= 0 for place in at])
    for g, name in enumerate(groups.names):
        if name in asked_groups.names:
            result[there, g] = means[[place for place in at if place >= 0], asked_groups.names.index(name)]
    return result


def _label_shares(
    frame: pl.DataFrame, panel: Panel, axis: str, items: tuple[str, ...], groups: RaterGroups
) -> FloatArray:
    """The model's mean label probabilities under each group, (items, groups, 3), over the ratings that the panel keeps."""
    kept = frame.filter((pl.col("kind") == "single") & (pl.col("status") == "ok") & (pl.col(axis) != ""))
    names = panel.demographics[axis]
    seen = np.isfinite(panel.values)
    there = {
        (panel.items[i], str(names[j]), str(panel.within[j]) if panel.within else "")
        for i, j in np.argwhere(seen).tolist()
    }
    row = {item: at for at, item in enumerate(items)}
    place = {name: at for at, name in enumerate(groups.names)}
    total = np.zeros((len(items), len(groups.names), len(SHARES)))
    count = np.zeros(total.shape[:2])
    for item, group, wording, order, *shares in kept.select(
        "item_id", axis, "paraphrase", "order", *SHARES
    ).iter_rows():
        if item in row and group in place and (item, group, f"{wording}{order}") in there:
            total[row[item], place[group]] += shares
            count[row[item], place[group]] += 1
    with np.errstate(invalid="ignore"):
        result = np.where(count[..., None] > 0, total / np.maximum(count, 1)[..., None], np.nan)
        return np.asarray(result / result.sum(axis=2, keepdims=True))


def calibration_findings(
    maker: Maker, model: Panel, people: Panel, axis: str, *, permutations: int, rows: Mapping[str, Any]
) -> Iterator[Finding]:
    """Calibrated sensitivity of one model on one axis against people, over the texts that both rated."""
    if axis not in people.demographics:
        yield maker.make(
            CALIBRATION, "correlation", None, "coefficient", part={"axis": axis}, reason=f"people's {axis} is not told"
        )
        return
    groups = people.groups(axis)
    asked = set(model.items)
    at = [i for i, item in enumerate(people.items) if item in asked]
    items = tuple(people.items[i] for i in at)
    human, labels = people.values[at], people.labels[at]
    result = calibrated_sensitivity(
        human, groups, _of_model(model, axis, items, groups), permutations=permutations, seed=maker.seed
    )
    yield from _calibration(maker, result, groups, axis, permutations, rows)
    if groups.names and items:
        shares = _label_shares(maker.rows, model, axis, items, groups)
        for fit in label_fit(labels, groups, shares, VALUES):
            yield from _fit(maker, fit, axis, rows)


def _calibration(
    maker: Maker, result: Calibration, groups: RaterGroups, axis: str, permutations: int, rows: Mapping[str, Any]
) -> Iterator[Finding]:
    part = {"axis": axis}
    size = {"items": result.items, "people": int((groups.codes >= 0).sum())}
    why = result.reasons
    group_sizes = {"groups": dict(zip(groups.names, groups.sizes, strict=True))}
    family = f"{AUDIT}|{maker.config}|{CALIBRATION}"
    half = result.reliability
    yield maker.make(
        CALIBRATION, "correlation", result.correlation, "coefficient", part=part, rows=rows, n=result.items, clusters=size,
        interval=result.correlation_interval, reason=why.get("correlation", ""),
        test=permutation_record(result.p, permutations, family, "group labels of people"),
        extra={**group_sizes, "corrected": result.corrected_correlation, "corrected_reason": why.get("corrected_correlation", "")},
    )  # fmt: skip
    yield maker.make(
        CALIBRATION, "slope", result.slope, "rating per rating of people", part=part, rows=rows, n=result.items, clusters=size,
        interval=result.slope_interval, reason=why.get("slope", ""),
        extra={**group_sizes, "corrected": result.corrected_slope, "corrected_reason": why.get("corrected_slope", "")},
    )  # fmt: skip
    yield maker.make(
        RELIABILITY, "Spearman-Brown", half.reliability, "coefficient", part=part, rows=rows, n=result.items, reason=half.reason,
        extra={"half": half.half, "splits": half.splits},
    )  # fmt: skip
    for one in result.groups:
        yield maker.make(
            CALIBRATION, "correlation", one.correlation, "coefficient", group=one.group, part=part,
            rows={**rows, axis: [one.group]}, n=result.items,
            reason="" if one.correlation is not None else "a side does not vary",
            clusters={"items": result.items, "people": one.raters}, extra={"slope": one.slope},
        )  # fmt: skip


def _fit(maker: Maker, fit: LabelFit, axis: str, rows: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value, unit in (("log loss", fit.log_loss, "nats"), ("Wasserstein-1", fit.wasserstein, "rating")):
        yield maker.make(
            FIT, name, value, unit, group=fit.group, part={"axis": axis}, rows={**rows, axis: [fit.group]}, n=fit.items,
            reason=fit.reason, clusters={"items": fit.items, "people": fit.raters},
            extra={"floor": fit.floor if name == "log loss" else 0.0, "raised": fit.raised},
        )  # fmt: skip
