"""The six intraclass correlations of Shrout and Fleiss (1979), with a two-way bootstrap.

Source: Shrout and Fleiss 1979 and McGraw and Wong 1996. Which form the published work
reports could not be found, and an average over many raters is near 1 whatever happens, so all six are given, with the
number of raters averaged over. A complete table uses mean squares. An incomplete one uses the two-way random model by
REML (`evenhand.statistics.variance_components`): no row is dropped, and a variance stops at 0, so that a coefficient
cannot be negative there. What a rater is (a person, a profile, a run) is for the caller to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.resampling import DRAWS, percentile
from evenhand.statistics.two_way import Resample, rating_table, resampled_indices, two_way_weights
from evenhand.statistics.variance_components import Fit, fit_reml

Form = Literal["ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)"]
FORMS: tuple[Form, ...] = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")
"""One-way, two-way random and two-way mixed, for a single rater and for the mean of k."""

REML_DRAWS = 500
"""Draws for an incomplete table, where each draw is a fit of its own. A chosen default."""


@dataclass(frozen=True, slots=True)
class IccForm:
    """One form: its coefficient (1 perfect, may be negative), None with a reason where undefined, and its interval.

    ``bias`` is the bootstrap mean minus the coefficient: with few raters it is large, and the interval no good.
    """

    form: Form
    coefficient: float | None
    interval: Interval | None
    averaged_over: float
    bias: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Icc:
    """All six forms of one table.

    ``item_variance``, ``rater_variance`` and ``residual_variance`` are in the squared unit of the ratings, None where
    undefined; those from mean squares keep a negative sign. ``unrated_items`` and ``idle_raters`` hold no rating at
    all and take no part.
    """

    forms: tuple[IccForm, ...]
    items: int
    raters: int
    ratings: int
    complete: bool
    item_variance: float | None
    rater_variance: float | None
    residual_variance: float | None
    method: str
    unrated_items: int = 0
    idle_raters: int = 0

    def of(self, form: Form) -> IccForm:
        """One of the six. Raises BadInput for another name."""
        for one in self.forms:
            if one.form == form:
                return one
        raise BadInput(f"No intraclass correlation is called '{form}'.", do=f"Known: {', '.join(FORMS)}.")


def spearman_brown(single: float, raters: float) -> float | None:
    """The coefficient of the mean of ``raters`` raters from that of one; None where the formula has no value."""
    below = 1 + (raters - 1) * single
    return raters * single / below if below > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Squares:
    """Mean squares of items, raters, residual and within items, each (draws,)."""

    items: FloatArray
    raters: FloatArray
    residual: FloatArray
    within: FloatArray


def _mean_squares(table: FloatArray, item_weights: FloatArray, rater_weights: FloatArray) -> _Squares:
    """Mean squares of the resampled tables; weights (draws, items) and (draws, raters). The grand mean is removed."""
    n, k = table.shape
    item_sums = table @ rater_weights.T
    rater_sums = item_weights @ table
    grand = (item_weights.T * item_sums).sum(axis=0)
    correction = grand**2 / (n * k)
    by_item = (item_weights.T * item_sums**2).sum(axis=0) / k - correction
    by_rater = (rater_weights * rater_sums**2).sum(axis=1) / n - correction
    total = ((item_weights @ table**2) * rater_weights).sum(axis=1) - correction
    # Differences of sums end a rounding error above or below 0 where nothing varies.
    rest = np.where(np.abs(total) * 1e-13 < np.abs(total - by_item - by_rater), total - by_item - by_rater, 0.0)
    return _Squares(
        by_item / (n - 1), by_rater / (k - 1), rest / ((n - 1) * (k - 1)), (total - by_item) / (n * (k - 1))
    )


def _forms(squares: _Squares, n: int, k: int) -> FloatArray:
    """The six coefficients, (6, draws), in the order of `FORMS`; NaN where a denominator is not positive."""
    r, c, e, w = squares.items, squares.raters, squares.residual, squares.within
    floor = 1e-12 * (r + c + np.abs(e) + np.abs(w))

    def over(top: FloatArray, bottom: FloatArray) -> FloatArray:
        return quotient(top, bottom, bottom > floor)

    return np.stack(
        [
            over(r - w, r + (k - 1) * w),
            over(r - e, r + (k - 1) * e + k * (c - e) / n),
            over(r - e, r + (k - 1) * e),
            over(r - w, r),
            over(r - e, r + (c - e) / n),
            over(r - e, r),
        ]
    )


def icc_draws(ratings: ArrayLike, *, resample: Resample = "both", draws: int = DRAWS, seed: int = 0) -> FloatArray:
    """Bootstrap draws of the six forms of a complete (items, raters) table, (6, draws), NaN where undefined.

    Items and raters are resampled with replacement, jointly by default. 10,000 draws of 350 x 123 take a fraction of a second.
    A rater who is drawn twice agrees with themselves, which lifts the draws by about (1 - ICC) / raters. Raises
    BadInput where a rating is missing or the table has fewer than 2 items or raters.
    """
    table = rating_table(ratings)
    n, k = table.shape
    if min(n, k) < 2 or not np.isfinite(table).all():
        raise BadInput("These draws need a complete table of at least 2 items and 2 raters.")
    centred = table - table.mean()
    parts = [
        _forms(_mean_squares(centred, *weights), n, k)
        for weights in two_way_weights(n, k, resample=resample, draws=draws, seed=seed, width=2 * (n + k))
    ]
    return np.concatenate(parts, axis=1)


def icc(
    ratings: ArrayLike,
    *,
    resample: Resample = "both",
    level: float = 0.95,
    draws: int = DRAWS,
    reml_draws: int = REML_DRAWS,
    seed: int = 0,
) -> Icc:
    """All six intraclass correlations of ``ratings`` (items, raters), NaN where missing, with percentile intervals.

    A table with a missing rating is fit by REML and bootstrapped with ``reml_draws``; the average forms then take the
    harmonic mean of the ratings an item has as k. Set ``draws`` or ``reml_draws`` to 0 for no interval. Coefficients
    are None, with a reason, with fewer than two items or raters and where the ratings do not vary. Raises BadInput for
    a table of another shape or an infinite rating.
    """
    given = rating_table(ratings)
    seen = np.isfinite(given)
    kept_items, kept_raters = seen.any(axis=1), seen.any(axis=0)
    table = given[np.ix_(kept_items, kept_raters)]
    idle = int((~kept_items).sum()), int((~kept_raters).sum())
    n, k = table.shape
    complete = bool(np.isfinite(table).all())
    reason = ""
    if min(n, k) < 2:
        reason = f"fewer than 2 {'items' if n < 2 else 'raters'}"
    elif np.nanmax(table) - np.nanmin(table) <= 1e-12 * max(1e-300, float(np.nanmax(np.abs(table)))):
        reason = "every rating is the same"
    elif complete:
        return _complete(table, resample, level, draws, seed, idle)
    else:
        return _incomplete(table, resample, level, reml_draws, seed, idle)
    forms = tuple(IccForm(form, None, None, float(k) if form.endswith("k)") else 1.0, reason=reason) for form in FORMS)
    return Icc(forms, n, k, int(seen.sum()), complete, None, None, None, "mean squares", *idle)


def _complete(table: FloatArray, resample: Resample, level: float, draws: int, seed: int, idle: tuple[int, int]) -> Icc:
    n, k = table.shape
    squares = _mean_squares(table - table.mean(), np.ones((1, n)), np.ones((1, k)))
    drawn = icc_draws(table, resample=resample, draws=draws, seed=seed) if draws else None
    forms = _rows(_forms(squares, n, k)[:, 0], drawn, float(k), level, resample)
    r, c, e = float(squares.items[0]), float(squares.raters[0]), float(squares.residual[0])
    return Icc(forms, n, k, table.size, True, (r - e) / k, (c - e) / n, e, "mean squares", *idle)


def _rows(
    values: FloatArray, drawn: FloatArray | None, k: float, level: float, resample: Resample
) -> tuple[IccForm, ...]:
    what = {"both": "two-way bootstrap", "items": "item bootstrap", "raters": "rater bootstrap"}[resample]
    rows = []
    for at, form in enumerate(FORMS):
        over = k if form.endswith("k)") else 1.0
        if not np.isfinite(values[at]):
            rows.append(
                IccForm(form, None, None, over, reason="items do not vary enough: the denominator is not positive")
            )
            continue
        interval = None if drawn is None else percentile(drawn[at], level, method=f"{what} percentile")
        bias = None if drawn is None or interval is None else float(np.nanmean(drawn[at]) - values[at])
        missing = drawn is not None and interval is None
        reason = "over 5 % of the bootstrap draws are undefined" if missing else ""
        rows.append(IccForm(form, float(values[at]), interval, over, bias, reason))
    return tuple(rows)


def _fits(table: FloatArray, start: tuple[FloatArray, FloatArray] | None = None) -> tuple[Fit | None, Fit | None]:
    """The one-way fit (items) and the two-way fit (items, raters) of an incomplete table; None where undefined."""
    item, rater = np.nonzero(np.isfinite(table))
    value = table[item, rater]
    item, rater = np.unique(item, return_inverse=True)[1], np.unique(rater, return_inverse=True)[1]
    if min(item.max(initial=0), rater.max(initial=0)) < 1 or value.size <= item.max() + 1:
        return None, None
    one, two = start or (None, None)
    return fit_reml(value, [item], one), fit_reml(value, [item, rater], two)


def _reml_forms(one: Fit | None, two: Fit | None, k: float) -> FloatArray:
    found = np.full(len(FORMS), np.nan)
    if one is not None:
        ratio = float(one.ratios[0])
        found[[0, 3]] = ratio / (ratio + 1), ratio / (ratio + 1 / k)
    if two is not None:
        items, raters = two.ratios.tolist()
        for at, extra in ((1, raters), (2, 0.0)):
            found[[at, at + 3]] = items / (items + extra + 1), items / (items + (extra + 1) / k)
    return found


def _harmonic(table: FloatArray) -> float:
    count = np.isfinite(table).sum(axis=1)
    return float(1 / np.mean(1 / count[count > 0]))


def _incomplete(
    table: FloatArray, resample: Resample, level: float, draws: int, seed: int, idle: tuple[int, int]
) -> Icc:
    n, raters = table.shape
    one, two = _fits(table)
    k = _harmonic(table)
    drawn = None
    if draws and one is not None and two is not None:
        drawn = np.full((len(FORMS), draws), np.nan)
        for at, (rows, columns) in enumerate(resampled_indices(n, raters, resample, draws, seed)):
            sample = table[np.ix_(rows, columns)]
            if np.isfinite(sample).any():
                drawn[:, at] = _reml_forms(*_fits(sample, (one.ratios, two.ratios)), _harmonic(sample))
    forms = _rows(_reml_forms(one, two, k), drawn, k, level, resample)
    count = int(np.isfinite(table).sum())
    parts: tuple[float | None, float | None, float | None] = (None, None, None)
    if two is not None:
        parts = (float(two.ratios[0]) * two.residual, float(two.ratios[1]) * two.residual, two.residual)
    return Icc(forms, n, raters, count, False, *parts, "REML, two-way random model", *idle)
