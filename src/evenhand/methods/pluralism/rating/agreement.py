"""Findings on agreement: the six ICC forms, alpha, rho, GRASP, pooled intersections, polarity. Each states what a rater is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from evenhand.datasets.question_texts import OPTIONS, ORDERS, values_of
from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.methods.pluralism.rating.panels import RATING, FindingBuilder, Panel, permutation_record
from evenhand.methods.pluralism.rating.statistics.grasp import GroupMeasure, grasp
from evenhand.methods.pluralism.rating.statistics.grasp_measures import tied_items
from evenhand.methods.pluralism.rating.statistics.raters import partial_pooling, polarity
from evenhand.records import Finding, Interval
from evenhand.statistics.agreement import RHO_DRAWS, mean_spearman
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.icc import icc
from evenhand.statistics.intervals import normal_quantile
from evenhand.statistics.krippendorff import krippendorff

ICC, ALPHA, RHO, GRASP, ASSOCIATION, POOLED, POLARITY = (
    "icc", "krippendorff_alpha", "rater_correlation", "grasp", "association_index", "pooled_mean", "polarity",
)  # fmt: skip
COEFFICIENT = "coefficient"
BOOTSTRAP_CELLS = 60_000
"""Above this number of cells (items x raters) alpha is bootstrapped with `FEW_DRAWS`."""
FEW_DRAWS = 1_000


def agreement_findings(
    builder: FindingBuilder, panel: Panel, *, part: Mapping[str, str], rows: Mapping[str, Any], reml_draws: int
) -> Iterator[Finding]:
    """ICC in six forms (items and raters resampled), Krippendorff's alpha (nominal, and of the squared difference), rho."""
    raters_part = dict(part)
    result = icc(panel.values, draws=builder.draws, reml_draws=reml_draws, seed=builder.seed)
    size = {"items": result.items, "raters": result.raters}
    for one in result.forms:
        yield builder.build(
            ICC, one.form, one.coefficient, COEFFICIENT, part=raters_part, rows=rows, interval=one.interval, n=result.ratings,
            reason=one.reason, clusters=size,
            extra={
                "k": one.averaged_over, "bootstrap_bias": one.bias, "method": result.method, "complete": result.complete,
                "item_variance": result.item_variance, "rater_variance": result.rater_variance,
                "residual_variance": result.residual_variance, "unrated_items": result.unrated_items,
                "idle_raters": result.idle_raters, "rater": panel.what,
            },
        )  # fmt: skip
    few = panel.labels.size > BOOTSTRAP_CELLS
    for name, distance in (("nominal", "nominal"), ("squared difference", "interval")):
        alpha = krippendorff(
            panel.labels, count=len(OPTIONS), distance=distance, values=values_of(ORDERS[0]),  # type: ignore[arg-type]
            draws=min(builder.draws, FEW_DRAWS) if few else builder.draws, seed=builder.seed,
        )  # fmt: skip
        yield builder.build(
            ALPHA, name, alpha.coefficient, COEFFICIENT, part=raters_part, rows=rows, interval=alpha.interval, n=alpha.ratings,
            reason=alpha.reason, clusters={"items": alpha.items, "raters": panel.values.shape[1]},
            extra={
                "observed": alpha.observed, "expected": alpha.expected, "bootstrap_bias": alpha.bias, "rater": panel.what,
                "tied_items": int(tied_items(panel.labels, len(OPTIONS)).size),
            },
        )  # fmt: skip
    if panel.values.shape[1] < 2:
        yield builder.build(
            RHO, "Spearman", None, COEFFICIENT, part=raters_part, rows=rows, reason="fewer than 2 raters"
        )
        return
    rho = mean_spearman(panel.values, draws=min(builder.draws, RHO_DRAWS), seed=builder.seed)
    yield builder.build(
        RHO, "Spearman", rho.rho, COEFFICIENT, part=raters_part, rows=rows, interval=rho.interval, n=rho.pairs, reason=rho.reason,
        clusters={"raters": rho.raters, "pairs": rho.pairs},
        extra={"undefined_pairs": rho.undefined_pairs, "rater": panel.what},
    )  # fmt: skip


def grasp_findings(
    builder: FindingBuilder, panel: Panel, *, permutations: int, part: Mapping[str, str], rows: Mapping[str, Any]
) -> Iterator[Finding]:
    """GRASP for people: every measure of every group of every axis and of race x gender, adjusted over all of them."""
    if not panel.demographics:
        return
    result = grasp(
        panel.labels, panel.demographics, count=len(OPTIONS), least=panel.least, draws=permutations, seed=builder.seed
    )
    family = f"{AUDIT}|{builder.config}|{GRASP}|{part.get('view', '')}"
    for row in result.rows:
        yield builder.build(
            GRASP, row.measure, row.value, "nats" if "negentropy" in row.measure else COEFFICIENT, group=row.group,
            part={"axis": row.axis, **part}, rows=builder.group_rows(rows, row.axis, row.group), n=row.raters, reason=row.reason,
            test=permutation_record(row.p, permutations, family, "rater profiles"),
            extra={
                "others": row.others, "null_median": row.null_median, "p_one_sided": row.p_one_sided,
                **({"tied_items": _ties(panel, row)} if row.measure == "voting_agreement" and not row.reason else {}),
            },
        )  # fmt: skip
    for axis in result.axes:
        yield builder.build(
            ASSOCIATION, "largest GAI", axis.index, "ratio", group=axis.group, part={"axis": axis.axis, **part}, rows=rows,
            n=result.raters, reason=axis.reason, test=permutation_record(axis.p, permutations, "", "rater profiles"),
            extra={
                "null_median": axis.null_median, "left_out": dict(axis.left_out), "suppressed": dict(axis.suppressed),
            },
        )  # fmt: skip


def _ties(panel: Panel, row: GroupMeasure) -> int:
    """Items on which two labels are equally common in a group: the more unsafe one counts as its plurality label."""
    groups = panel.groups(row.axis)
    mine = panel.labels[:, groups.codes == groups.names.index(row.group)]
    return int(tied_items(mine, len(OPTIONS)).size)


def pooled_findings(
    builder: FindingBuilder, panel: Panel, axis: str, *, part: Mapping[str, str], rows: Mapping[str, Any]
) -> Iterator[Finding]:
    """Mean deviation from the item's mean of each group of an intersection, drawn towards the common mean where it is noisy.

    A rater's number is the mean over their items of rating minus the mean of all raters of that item.
    """
    groups = panel.groups(axis)
    deviation = _deviations(panel.values)
    rated = np.isfinite(deviation)
    silent = int((~rated[groups.codes >= 0]).sum())
    if silent:
        for name, size in zip(groups.names, groups.sizes, strict=True):
            yield builder.build(
                POOLED, "mean rating", None, RATING, group=name, against="all raters of an item", part={"axis": axis, **part},
                rows=builder.group_rows(rows, axis, name), n=size, reason=f"raters without any rating: {silent}",
            )  # fmt: skip
        return
    if not groups.names:
        return
    result = partial_pooling(deviation, groups)
    for one in result.groups:
        interval = None
        if one.pooled is not None and one.error is not None:
            half = normal_quantile(0.975) * one.error
            interval = Interval(one.pooled - half, one.pooled + half, 0.95, "normal, variances taken as known")
        yield builder.build(
            POOLED, "mean rating", one.pooled, RATING, group=one.group, against="all raters of an item",
            part={"axis": axis, **part}, rows=builder.group_rows(rows, axis, one.group), interval=interval,
            standard_error=one.error, n=one.raters, reason=result.reason,
            extra={
                "plain": one.mean, "weight": one.weight, "common_mean": result.mean, "between": result.between,
                "within": result.within, "rater": panel.what,
            },
        )  # fmt: skip


def _deviations(values: FloatArray) -> FloatArray:
    """Mean over a rater's items of rating minus item mean, (raters,), NaN for a rater without ratings."""
    seen = np.isfinite(values)
    count = seen.sum(axis=1)
    mean = np.where(seen, values, 0.0).sum(axis=1) / np.maximum(count, 1)
    total = np.where(seen, values - mean[:, None], 0.0).sum(axis=0)
    ratings = seen.sum(axis=0)
    return np.where(ratings > 0, total / np.maximum(ratings, 1), np.nan)


def polarity_finding(
    builder: FindingBuilder,
    panel: Panel,
    truth: FloatArray,
    truth_name: str,
    *,
    part: Mapping[str, str],
    rows: Mapping[str, Any],
) -> Finding:
    """How often an unsafe item, by the named truth, is rated higher than a safe one; below .5 the labels point the other way."""
    result = polarity(panel.values, truth)
    return builder.build(
        POLARITY, "area under the curve", result.auc, "probability", part=dict(part), rows=rows,
        n=result.unsafe_items + result.safe_items, reason=result.reason,
        extra={
            "unsafe_items": result.unsafe_items, "safe_items": result.safe_items, "flipped": result.flipped, "flipped_p": result.p,
            "truth": truth_name,
        },
    )  # fmt: skip
