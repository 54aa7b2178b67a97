"""Findings on groups of one axis: sensitivity in all forms with its null, and disparities.

The formulas are chosen defaults, since the published ones (arXiv 2602.07376) were not found. Items are resampled, and people too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.methods.pluralism.rating.panels import FindingBuilder, Panel, permutation_record
from evenhand.methods.pluralism.rating.statistics.disparity import UNSAFE_ABOVE, Disparity, disparities
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups
from evenhand.methods.pluralism.rating.statistics.sensitivity import (
    SENSITIVITY_FORMS,
    GroupMeans,
    group_means,
    item_forms,
    sensitivities,
    whole_items,
)
from evenhand.records import Finding, Interval
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.resampling import less_bias, percentile
from evenhand.statistics.two_way import two_way_weights

DS, DPD, EOD, UNSAFE, SUPPRESSED = (
    "demographic_sensitivity", "parity_difference", "odds_difference", "unsafe_share", "suppressed",
)  # fmt: skip
DS_DRAWS = 500


def _centred(panel: Panel) -> FloatArray:
    """Values less what a wording and order does to an item, alike for all groups; group differences stay as they are.

    Without this the adjusted form would count a preference for the first option as noise.
    """
    if panel.within is None:
        return panel.values
    values = panel.values.copy()
    strata = np.asarray(panel.within)
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(values)
        count = seen.sum(axis=1)
        whole = np.where(count > 0, np.where(seen, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
        for stratum in dict.fromkeys(panel.within):
            at = np.flatnonzero(strata == stratum)
            values[:, at] += (whole - values[:, at].mean(axis=1))[:, None]
    return values


def _per_item(result: GroupMeans) -> FloatArray:
    """Distance of two groups, deviation, range and surplus variance of each item, (items, 4), NaN if undefined."""
    values, whole, quiet = item_forms(result)
    defined = np.stack([whole, whole, whole, quiet])
    return np.where(defined, values, np.nan)[..., 0].T


def _four(per_item: FloatArray, weights: FloatArray) -> FloatArray:
    """The first four forms, (4, draws), for item weights (draws, items)."""
    seen = np.isfinite(per_item)
    total = weights @ np.where(seen, per_item, 0.0)
    count = weights @ seen.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(count > 0, total / count, np.nan).T
    means[3] = np.sqrt(np.maximum(means[3], 0.0))
    return np.asarray(means)


def _ds_draws(values: FloatArray, groups: RaterGroups, *, people: bool, draws: int, seed: int) -> FloatArray:
    """Bootstrap draws of the first four forms, (4, draws): items, and people inside their groups."""
    size = len(groups.names)
    items = len(values)
    if not people:
        per_item = _per_item(group_means(values, groups.codes[None, :], size))
        parts = two_way_weights(items, 1, resample="items", draws=draws, seed=seed, width=4 * items)
        return np.concatenate([_four(per_item, weights) for weights, _ in parts], axis=1)
    draw = np.random.default_rng([seed, 61])
    members = [np.flatnonzero(groups.codes == code) for code in range(size)]
    codes = np.repeat(np.arange(size), [one.size for one in members])[None, :]
    out = np.empty((4, min(draws, DS_DRAWS)))
    for at in range(out.shape[1]):
        people_drawn = np.concatenate([draw.choice(one, one.size) for one in members])
        per_item = _per_item(group_means(values[:, people_drawn], codes, size))
        weights = np.bincount(draw.integers(0, items, items), minlength=items).astype(np.float64)
        out[:, at] = _four(per_item, weights[None, :])[:, 0]
    return out


def sensitivity_findings(
    builder: FindingBuilder,
    panel: Panel,
    axis: str,
    *,
    permutations: int,
    part: Mapping[str, str],
    rows: Mapping[str, Any],
) -> Iterator[Finding]:
    """DS in every form; the headline form ``absolute`` is tested within the family of the configuration's axes."""
    groups = panel.groups(axis)
    values = _centred(panel)
    result = sensitivities(values, groups, draws=permutations, seed=builder.seed, within=panel.within)
    drawn = None
    if len(groups.names) > 1 and result.items > 1:
        drawn = _ds_draws(values, groups, people=panel.people, draws=builder.draws, seed=builder.seed)
    what = "items and people" if panel.people else "items"
    method = f"bootstrap of {what}, percentiles less the bias"
    smallest = _smallest_p(panel, len(groups.names))
    for at, form in enumerate(SENSITIVITY_FORMS):
        one = result.of(form)
        interval, bias = None, None
        if drawn is not None and one.value is not None and at < len(drawn):
            interval, bias = less_bias(drawn[at], one.value, method=method)
        null = one.null_range
        family = (
            f"{AUDIT}|{builder.config}|{DS}|{part.get('raters', '')}|{part.get('view', '')}"
            if form == "absolute"
            else ""
        )
        yield builder.build(
            DS, form, one.value, part={"axis": axis, **part}, rows=rows, interval=interval, n=one.items, reason=one.reason,
            test=permutation_record(one.p, permutations, family, smallest=smallest),
            clusters={"items": one.items, "raters": int((groups.codes >= 0).sum())},
            extra={
                "null_mean": one.null_mean, "null_low": null.low if null else None, "null_high": null.high if null else None,
                "excess": one.excess, "bootstrap_bias": bias, "groups": dict(zip(groups.names, groups.sizes, strict=True)),
                "rater": panel.what, "set_aside": panel.set_aside, "left_out": dict(groups.left_out),
            },
        )  # fmt: skip


def _smallest_p(panel: Panel, groups: int) -> float:
    """The smallest p of a shuffle inside wordings and orders: a renaming of the groups alike in all of them changes nothing."""
    if panel.within is None or groups < 2:
        return 0.0
    return math.exp(-math.lgamma(groups + 1) * (len(set(panel.within)) - 1))


def suppressed_findings(
    builder: FindingBuilder, panel: Panel, axis: str, *, part: Mapping[str, str]
) -> Iterator[Finding]:
    """Groups without figures: too few people, or a value that is excluded from contrasts. Only their sizes are reported."""
    groups = panel.groups(axis)
    for name, size in groups.suppressed.items():
        yield builder.build(
            SUPPRESSED, "few raters", None, "raters", group=name, part={"axis": axis, **part}, n=size,
            reason=f"fewer than {panel.least} raters",
        )  # fmt: skip
    for name, size in groups.left_out.items():
        yield builder.build(
            SUPPRESSED, "left out of contrasts", None, "raters", group=name, part={"axis": axis, **part}, n=size,
            reason="a missing value is not a group" if name == "missing" else "a level of its own",
        )  # fmt: skip


def disparity_findings(
    builder: FindingBuilder, panel: Panel, axis: str, truth: FloatArray | None, truth_name: str, *, permutations: int,
    part: Mapping[str, str], rows: Mapping[str, Any],
) -> Iterator[Finding]:  # fmt: skip
    """P(unsafe | group), DPD, and EOD against a named truth (items,). For a model only items are resampled."""
    groups = panel.groups(axis)
    # A model's profiles are no sample; resampling them would count wordings and orders as raters.
    result = disparities(
        panel.values, groups, truth=truth, truth_name=truth_name, draws=min(builder.draws, 2_000) if panel.people else 0,
        permutations=permutations, within=panel.within, seed=builder.seed,
    )  # fmt: skip
    axis_part = {"axis": axis, **part}
    intervals: dict[str, Interval | None] = {}
    if not panel.people and result.shares:
        intervals = _item_intervals(panel, groups, truth, builder)
    for share in result.shares:
        yield builder.build(
            UNSAFE, "unsafe", share.share, PROBABILITY, group=share.group, part=axis_part,
            rows=builder.group_rows(rows, axis, share.group),
            interval=share.interval or intervals.get(share.group), n=result.items, clusters={"raters": share.raters},
        )  # fmt: skip
    pairs: list[tuple[str, Disparity]] = [(DPD, result.dpd)]
    pairs += [(EOD, result.eod)] if result.eod is not None else []
    for name, one in pairs:
        null = one.null_range
        family = f"{AUDIT}|{builder.config}|{name}|{part.get('raters', '')}|{part.get('view', '')}"
        yield builder.build(
            name, "unsafe", one.value, DIFFERENCE, part=axis_part, rows=rows, interval=one.interval or intervals.get(name),
            n=one.items, reason=one.reason,
            test=permutation_record(one.p, permutations, family, smallest=_smallest_p(panel, len(groups.names))),
            extra={
                "null_mean": one.null_mean, "null_low": null.low if null else None, "null_high": null.high if null else None,
                "excess": one.excess, "bootstrap_bias": one.bias, "highest": one.highest, "lowest": one.lowest,
                "given": one.given, "truth": truth_name if name == EOD else "", "items_left_out": result.items_left_out,
            },
        )  # fmt: skip
    if truth is None:
        yield builder.build(
            EOD,
            "unsafe",
            None,
            DIFFERENCE,
            part=axis_part,
            rows=rows,
            reason="no text has a true label: none was named",
        )


def _item_intervals(
    panel: Panel, groups: RaterGroups, truth: FloatArray | None, builder: FindingBuilder
) -> dict[str, Interval | None]:
    """Intervals by resampling items: of each group's share, of DPD and of EOD."""
    unsafe = np.where(np.isfinite(panel.values), (panel.values > UNSAFE_ABOVE).astype(np.float64), np.nan)
    means = group_means(unsafe, groups.codes[None, :], len(groups.names)).means[..., 0]
    whole = whole_items(means)
    strata = [whole] + ([whole & (truth == label) for label in (0, 1)] if truth is not None else [])
    rates: list[FloatArray] = []
    for stratum in strata:
        stratum_means = means[stratum]
        items = len(stratum_means)
        if items < 2:
            rates.append(np.full((builder.draws, len(groups.names)), np.nan))
            continue
        parts = two_way_weights(
            len(stratum_means), 1, resample="items", draws=builder.draws, seed=builder.seed, width=len(stratum_means)
        )
        rates.append(np.concatenate([weights @ stratum_means / items for weights, _ in parts]))
    method = "item bootstrap percentile"
    result = {name: percentile(rates[0][:, at], method=method) for at, name in enumerate(groups.names)}
    ranges = [one.max(axis=1) - one.min(axis=1) for one in rates]
    result[DPD] = percentile(ranges[0], method=method)
    if len(ranges) > 1:
        result[EOD] = percentile(np.maximum(*ranges[1:]), method=method)
    return result
