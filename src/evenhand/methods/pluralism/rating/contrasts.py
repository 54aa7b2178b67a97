"""Findings on contrasts: each group minus the mean of the groups, and whether a model's contrasts follow those of people.

Contrasts are reported over all texts and by domain, adjusted by Benjamini and Hochberg. The comparison with people adds slope,
reliability, and the distance between label distributions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import special

from evenhand.datasets.question_texts import ORDERS, values_of
from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.methods.pluralism.rating.panels import RATING, SHARES, FindingBuilder, Panel, permutation_record
from evenhand.methods.pluralism.rating.statistics.calibration import (
    Calibration,
    LabelFit,
    calibrated_sensitivity,
    contrasts,
    label_fit,
)
from evenhand.methods.pluralism.rating.statistics.disparity import UNSAFE_ABOVE
from evenhand.methods.pluralism.rating.statistics.grasp import two_sided_p
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups
from evenhand.methods.pluralism.rating.statistics.sensitivity import (
    GroupMeans,
    group_means,
    permutation_draws,
    whole_items,
)
from evenhand.records import Finding, HypothesisTest
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.intervals import t_interval

CONTRAST = "group_contrast"
ALL_DOMAINS, MACRO_DOMAINS = "all", "mean of the domains"
LEAST_RATINGS = 30
"""No claim is made about a cell with fewer ratings (chosen default)."""
CALIBRATION, RELIABILITY, FIT = "calibrated_sensitivity", "split_half_reliability", "label_fit"
MAJORITY = "the majority of the people who rated"


def contrast_findings(
    builder: FindingBuilder,
    panel: Panel,
    axis: str,
    *,
    permutations: int,
    part: Mapping[str, str],
    rows: Mapping[str, Any],
) -> Iterator[Finding]:
    """Each group minus the mean of the groups, over all items, the mean of the domains, and by domain.

    A model's contrast is tested by t over items and over wordings and orders; one of people, or of full profiles, by shuffled
    group labels. Cells by domain are one family for Benjamini and Hochberg over all axes.
    """
    groups = panel.groups(axis)
    size = len(groups.names)
    if size < 2:
        return
    means = group_means(panel.values, groups.codes[None, :], size).means
    whole = whole_items(means)[:, 0]
    domains = np.asarray(panel.domains)
    names = [name for name in dict.fromkeys(sorted(panel.domains)) if (whole & (domains == name)).any()]
    if not names:
        return
    masks = np.stack([whole, *(whole & (domains == name) for name in names)]).astype(np.float64)
    weights = masks / masks.sum(axis=1, keepdims=True)
    weights = np.vstack([weights[0], weights[1:].mean(axis=0), weights[1:]])
    cells = [ALL_DOMAINS, MACRO_DOMAINS, *names]
    kept = [at for at, name in enumerate(cells) if name != MACRO_DOMAINS or len(names) > 1]

    def statistic(given: GroupMeans) -> FloatArray:
        """(cells x groups, sets)"""
        c = np.where(whole[:, None, None], contrasts(given.means), 0.0)
        return np.asarray(np.einsum("di,igs->dgs", weights, np.nan_to_num(c))).reshape(len(cells) * size, -1)

    observed = statistic(GroupMeans(means, means))[:, 0].reshape(len(cells), size)
    drawn = None
    if permutations and panel.within is None and max(groups.sizes) > 1:
        drawn = permutation_draws(
            panel.values, groups, statistic, draws=permutations, seed=builder.seed
        ).reshape(len(cells), size, -1)  # fmt: skip
    where = part.get("raters", ""), part.get("view", "")
    for d in kept:
        error = _errors(panel, groups, means[..., 0], whole, weights[d])
        overall = cells[d] in (ALL_DOMAINS, MACRO_DOMAINS)
        family = "|".join([AUDIT, builder.config, CONTRAST, "all" if overall else "domains", *where])
        chosen = dict(rows) if overall else {**rows, "domain": [cells[d]]}
        items = int((weights[d] > 0).sum())
        for g, name in enumerate(groups.names):
            value, n = float(observed[d, g]), error.ratings[g]
            interval, se, test = None, None, None
            if error.standard is not None:
                se = float(error.standard[g])
                interval = t_interval(value, se, error.df, method=error.method)
            if panel.within is not None:
                test = _t_test(value, se, error, family)
            elif drawn is not None:
                test = permutation_record(two_sided_p(value, drawn[d, g]), permutations, family)
            yield builder.build(
                CONTRAST, "mean rating", value, RATING, group=name, against="mean of the groups",
                part={"axis": axis, "domain": cells[d], **part},
                rows=builder.group_rows(chosen, axis, name),
                interval=interval, n=n, clusters={"items": items, "raters": groups.sizes[g]}, standard_error=se,
                test=test if n >= LEAST_RATINGS else None,
                reason="" if n >= LEAST_RATINGS else f"fewer than {LEAST_RATINGS} ratings: nothing is claimed",
            )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Errors:
    """Standard errors of weighted mean contrasts, (groups,), None if unknown; what they are over; ratings by group."""

    standard: FloatArray | None
    df: int
    method: str
    ratings: Sequence[int]
    strata: int


def _errors(panel: Panel, groups: RaterGroups, means: FloatArray, whole: Any, weights: FloatArray) -> _Errors:
    """The variance over items, plus that over what else could have been: people or profiles inside their groups, or wordings
    and orders. What both share counts twice, so that intervals are rather too wide.
    """
    size = len(groups.names)
    cell = weights > 0
    seen = np.isfinite(panel.values)
    counts = [int(seen[np.ix_(cell & whole, groups.codes == g)].sum()) for g in range(size)]
    n = int(cell.sum())
    strata = len(set(panel.within)) if panel.within is not None else 0
    if n < 2:
        return _Errors(None, 0, "", counts, strata)
    c = contrasts(means[cell])
    w = weights[cell][:, None]
    variance = (w**2 * (c - (w * c).sum(axis=0)) ** 2).sum(axis=0) * n / (n - 1)
    df, method = n - 1, "t over items"
    if panel.within is not None:
        if strata > 1:
            variance = variance + _over_strata(panel, groups, cell, w)
            df, method = min(n, strata) - 1, "t over items, and over wordings and orders"
        return _Errors(np.sqrt(variance), df, method, counts, strata)
    of_rater = _rater_means(panel.values[cell], means[cell], w)
    spread = np.full(size, np.nan)
    for g in range(size):
        mine = of_rater[(groups.codes == g) & np.isfinite(of_rater)]
        spread[g] = mine.var(ddof=1) / mine.size if mine.size > 1 else np.nan
    if not np.isfinite(spread).all():
        return _Errors(None, 0, "", counts, strata)
    variance = variance + spread * (1 - 2 / size) + spread.sum() / size**2
    df = min(n, *groups.sizes) - 1
    return _Errors(np.sqrt(variance), df, "t over items and raters, variances added", counts, strata)


def _over_strata(panel: Panel, groups: RaterGroups, cell: Any, w: FloatArray) -> FloatArray:
    """Variance of the mean over wordings and orders of a contrast, (groups,)."""
    strata = np.asarray(panel.within)
    by_stratum = []
    for stratum in dict.fromkeys(panel.within or ()):
        at = np.flatnonzero(strata == stratum)
        mine = panel.values[cell][:, at[np.argsort(groups.codes[at])]]
        there = np.isfinite(mine).all(axis=1)
        if there.any():
            part = w[there] / w[there].sum()
            by_stratum.append((part * contrasts(mine[there])).sum(axis=0))
    table = np.stack(by_stratum)
    return np.asarray(table.var(axis=0, ddof=1) / len(table)) if len(table) > 1 else np.zeros(table.shape[1])


def _rater_means(values: FloatArray, means: FloatArray, w: FloatArray) -> FloatArray:
    """Each rater's weighted mean over the cell's items against the items' means, so that it does not matter which they rated."""
    there = np.isfinite(values)
    weight = np.where(there, w, 0.0)
    deviation = np.where(there, values - means.mean(axis=1)[:, None], 0.0)
    total = weight.sum(axis=0)
    return np.where(total > 0, (weight * deviation).sum(axis=0) / np.where(total > 0, total, 1.0), np.nan)


def _t_test(value: float, error: float | None, of: _Errors, family: str) -> HypothesisTest | None:
    """Two-sided t; a contrast that is the same everywhere is tested by its sign over wordings and orders."""
    if error is None or of.df < 1:
        return None
    if error <= 1e-12:
        smallest = min(1.0, 2.0 ** (1 - of.strata))
        p = 1.0 if abs(value) <= 1e-12 else smallest
        return HypothesisTest(p, "sign over wordings and orders", smallest, family=family)
    return HypothesisTest(float(2 * special.stdtr(of.df, -abs(value) / error)), of.method, family=family)


def truth_of(
    gold: Mapping[str, float | None], name: str, people: Panel | None, items: tuple[str, ...]
) -> tuple[FloatArray | None, str]:
    """Truly unsafe (1) or safe (0), (items,), and who says so: an expert, else the majority of the crowd."""
    expert = np.array([np.nan if gold.get(item) is None else float(gold[item] or 0.0) for item in items])
    if np.isfinite(expert).any():
        return expert, name
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
    """The model's mean rating under each group, (items, groups), NaN if it was not asked or gave none."""
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
    builder: FindingBuilder, model: Panel, people: Panel, axis: str, *, permutations: int, rows: Mapping[str, Any]
) -> Iterator[Finding]:
    """Calibrated sensitivity of one model on one axis against people, over the texts that both rated."""
    if axis not in people.demographics:
        yield builder.build(
            CALIBRATION,
            "correlation",
            None,
            "coefficient",
            part={"axis": axis},
            reason=f"the {axis} of these people is not known",
        )
        return
    groups = people.groups(axis)
    asked = set(model.items)
    at = [i for i, item in enumerate(people.items) if item in asked]
    items = tuple(people.items[i] for i in at)
    human, labels = people.values[at], people.labels[at]
    result = calibrated_sensitivity(
        human, groups, _of_model(model, axis, items, groups), permutations=permutations, seed=builder.seed
    )
    yield from _calibration(builder, result, groups, axis, permutations, rows)
    if groups.names and items:
        shares = _label_shares(builder.rows, model, axis, items, groups)
        for fit in label_fit(labels, groups, shares, values_of(ORDERS[0])):
            yield from _fit(builder, fit, axis, rows)


def _calibration(
    builder: FindingBuilder,
    result: Calibration,
    groups: RaterGroups,
    axis: str,
    permutations: int,
    rows: Mapping[str, Any],
) -> Iterator[Finding]:
    part = {"axis": axis}
    size = {"items": result.items, "people": int((groups.codes >= 0).sum())}
    why = result.reasons
    group_sizes = {"groups": dict(zip(groups.names, groups.sizes, strict=True))}
    family = f"{AUDIT}|{builder.config}|{CALIBRATION}"
    half = result.reliability
    yield builder.build(
        CALIBRATION, "correlation", result.correlation, "coefficient", part=part, rows=rows, n=result.items, clusters=size,
        interval=result.correlation_interval, reason=why.get("correlation", ""),
        test=permutation_record(result.p, permutations, family, "group labels of people"),
        extra={**group_sizes, "corrected": result.corrected_correlation, "corrected_reason": why.get("corrected_correlation", "")},
    )  # fmt: skip
    yield builder.build(
        CALIBRATION, "slope", result.slope, "rating per rating of people", part=part, rows=rows, n=result.items, clusters=size,
        interval=result.slope_interval, reason=why.get("slope", ""),
        extra={**group_sizes, "corrected": result.corrected_slope, "corrected_reason": why.get("corrected_slope", "")},
    )  # fmt: skip
    yield builder.build(
        RELIABILITY, "Spearman-Brown", half.reliability, "coefficient", part=part, rows=rows, n=result.items, reason=half.reason,
        extra={"half": half.half, "splits": half.splits},
    )  # fmt: skip
    for one in result.groups:
        yield builder.build(
            CALIBRATION, "correlation", one.correlation, "coefficient", group=one.group, part=part,
            rows={**rows, axis: [one.group]}, n=result.items,
            reason="" if one.correlation is not None else "a side does not vary",
            clusters={"items": result.items, "people": one.raters}, extra={"slope": one.slope},
        )  # fmt: skip


def _fit(builder: FindingBuilder, fit: LabelFit, axis: str, rows: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value, unit in (("log loss", fit.log_loss, "nats"), ("Wasserstein-1", fit.wasserstein, "rating")):
        yield builder.build(
            FIT, name, value, unit, group=fit.group, part={"axis": axis}, rows={**rows, axis: [fit.group]}, n=fit.items,
            reason=fit.reason, clusters={"items": fit.items, "people": fit.raters},
            extra={"floor": fit.floor if name == "log loss" else 0.0, "raised": fit.raised},
        )  # fmt: skip
