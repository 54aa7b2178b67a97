"""Variance components of crossed random effects by restricted maximum likelihood (REML), complete or not.

    y = mean + sum over factors of u_f[level] + e,   u_f ~ N(0, v_f), e ~ N(0, v_residual)

Factors are whatever varied: item and rater for an intraclass correlation of an incomplete table, or item, paraphrase,
option order and profile for a model that is asked at temperature 0, where a plain repeat has no variance.
The published work names no such model; everything here is a chosen default. The likelihood is that of
Patterson and Thompson (1971), its terms come from Henderson's mixed model equations, with the largest factor
eliminated because its own block is diagonal. On balanced tables the estimates equal those of the analysis of variance
where these are positive.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, IntArray
from evenhand.statistics.clusters import finite_values
from evenhand.statistics.intervals import normal_quantile

LEAST_LEVELS = 5
"""With fewer levels (two option orders, four paraphrases) a variance has no interval worth printing. A chosen default."""

_STARTS = (1.0, 0.05, 20.0)
_BOUND = math.log(1e9)
_MOST_CELLS = 50_000_000
RESIDUAL_ZERO = "the values are an exact sum of the effects: no residual variation"
ONE_LEVEL = "one level"
NO_VARIATION = "every value is the same"
CONFOUNDED = "every row has its own level: cannot be told from the residual"


@dataclass(frozen=True, slots=True)
class Component:
    """The variance of one factor in the squared unit of the values, None with a reason where undefined.

    ``share`` is its part of the sum of all components. A variance of 0 lies on the boundary and has no interval.
    """

    factor: str
    levels: int
    variance: float | None
    share: float | None
    interval: Interval | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """The mean, one component a factor, in the order given, then the residual. ``reason`` says why nothing was fit."""

    rows: int
    mean: float | None
    factors: tuple[Component, ...]
    residual: Component
    reason: str = ""

    def of(self, factor: str) -> Component:
        """The component of one factor, or of ``"residual"``. Raises BadInput for another name."""
        for component in (*self.factors, self.residual):
            if component.factor == factor:
                return component
        raise BadInput(f"No variance component is called '{factor}'.")


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Ratios of variances to the residual, (factors,), the residual variance, the mean, and -2 log likelihood."""

    ratios: FloatArray
    residual: float
    mean: float
    deviance: float


class _Equations:
    """Cross products of the design, enough to evaluate the likelihood at any ratios; factor 0 is the largest."""

    def __init__(self, values: FloatArray, codes: Sequence[IntArray]):
        self.rows = values.size
        self.levels = [int(code.max()) + 1 for code in codes]
        self.shift = float(values.mean())
        y = values - self.shift
        self.squares = float(y @ y)
        width = 1 + sum(self.levels[1:])
        if width * max(width, self.levels[0]) > _MOST_CELLS:
            raise BadInput(
                f"Factors of {', '.join(map(str, self.levels))} levels need too much memory for an exact fit.",
                do="Take a sample of the items.",
            )
        starts = np.cumsum([1, *self.levels[1:]])
        self.slices = [slice(int(at), int(at) + size) for at, size in zip(starts, self.levels[1:], strict=False)]
        columns = [np.zeros(values.size, dtype=np.int64)]
        columns += [code + part.start for code, part in zip(codes[1:], self.slices, strict=True)]
        self.own = np.bincount(codes[0], minlength=self.levels[0]).astype(np.float64)
        self.own_sums = np.bincount(codes[0], weights=y, minlength=self.levels[0])
        self.cross = sum((_table(codes[0], column, self.levels[0], width) for column in columns), np.zeros(()))
        self.rest = sum((_table(a, b, width, width) for a in columns for b in columns), np.zeros(()))
        self.rest_sums = sum((np.bincount(a, weights=y, minlength=width) for a in columns), np.zeros(()))

    def solve(self, logs: FloatArray) -> tuple[float, float, FloatArray, FloatArray, float]:
        """At log ratios: log determinant, penalised squares, trace terms, squared effects (factors,), and the mean."""
        ratios = np.exp(logs)
        roots = np.sqrt(ratios)
        scale = np.concatenate([[1.0], *(np.full(n, r) for n, r in zip(self.levels[1:], roots[1:], strict=True))])
        diagonal = 1.0 + ratios[0] * self.own
        cross = roots[0] * self.cross * scale
        weighted = cross / diagonal[:, None]
        block = scale[:, None] * self.rest * scale - cross.T @ weighted
        block[np.arange(1, scale.size), np.arange(1, scale.size)] += 1.0
        factor = linalg.cho_factor(block, lower=True, check_finite=False)
        inverse = linalg.cho_solve(factor, np.eye(scale.size), check_finite=False)
        own, rest = roots[0] * self.own_sums, scale * self.rest_sums
        effects = inverse @ (rest - weighted.T @ own)
        own_effects = (own - cross @ effects) / diagonal
        squares = self.squares - float(own @ own_effects) - float(rest @ effects)
        log_determinant = float(np.log(diagonal).sum() + 2 * np.log(np.diag(factor[0])).sum())
        trace = float((1 / diagonal).sum() + (inverse * (weighted.T @ weighted)).sum())
        known = np.diag(inverse)
        lost = [
            self.levels[0] - trace,
            *(n - known[s].sum() for n, s in zip(self.levels[1:], self.slices, strict=True)),
        ]
        spent = [own_effects @ own_effects, *(effects[s] @ effects[s] for s in self.slices)]
        return log_determinant, squares, np.asarray(lost), np.asarray(spent), float(effects[0]) + self.shift

    def profiled(self, logs: FloatArray) -> tuple[float, FloatArray]:
        """-2 log restricted likelihood with the residual variance profiled out, up to a constant, and its gradient."""
        log_determinant, squares, lost, spent, _ = self.solve(logs)
        squares = max(squares, 1e-12 * self.squares)
        freedom = self.rows - 1
        return log_determinant + freedom * math.log(squares / freedom), lost - freedom * spent / squares


def _table(a: IntArray, b: IntArray, rows: int, columns: int) -> FloatArray:
    return np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns).astype(np.float64)


def fit_reml(values: FloatArray, codes: Sequence[IntArray], start: FloatArray | None = None) -> Fit | None:
    """The restricted maximum; ``codes`` are (rows,) arrays of levels from 0 without gaps, one a factor.

    ``start`` are ratios to begin with (default: several starts, the best end taken). None where the residual vanishes.
    A ratio is exactly 0 where the likelihood is no lower there.
    """
    order = sorted(range(len(codes)), key=lambda at: -int(codes[at].max()))
    equations = _Equations(values, [codes[at] for at in order])
    if equations.squares <= 1e-24 * values.size * max(1.0, equations.shift**2):
        return None
    if start is None:
        starts: list[FloatArray] = [np.full(len(codes), math.log(ratio)) for ratio in _STARTS]
    else:
        starts = [np.asarray(np.log(np.maximum(start[order], min(_STARTS))))]
    bounds = [(-_BOUND, _BOUND)] * len(codes)
    found = [
        optimize.minimize(
            equations.profiled,
            at,
            method="L-BFGS-B",
            jac=True,
            bounds=bounds,
            options={"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500},
        )
        for at in starts
    ]
    best = min(found, key=lambda result: float(result.fun))
    logs, deviance = np.asarray(best.x, dtype=np.float64), float(best.fun)
    for at in np.flatnonzero(logs < math.log(1e-3)):
        trial = logs.copy()
        trial[at] = -np.inf
        at_zero = equations.profiled(trial)[0]
        if at_zero <= deviance + 1e-9 * max(1.0, abs(deviance)):
            logs, deviance = trial, at_zero
    _, squares, _, _, mean = equations.solve(logs)
    if squares <= 1e-9 * equations.squares or bool((logs >= _BOUND).any()):
        return None
    ratios = np.empty(len(codes))
    ratios[order] = np.exp(logs)
    return Fit(ratios, squares / (values.size - 1), mean, deviance)


def _log_errors(values: FloatArray, codes: Sequence[IntArray], fit: Fit) -> FloatArray | None:
    """Standard errors of the log variances of the factors, then of the residual; a factor at 0 is left out.

    From the observed information: the Hessian of -2 log likelihood in the log ratios and the log residual variance, by
    central differences of its exact gradient.
    """
    equations = _Equations(values, codes)
    logs = np.append(np.log(fit.ratios), math.log(fit.residual))

    def gradient(at: FloatArray) -> FloatArray:
        _, squares, lost, spent, _ = equations.solve(at[:-1])
        residual = math.exp(at[-1])
        return np.append(lost - spent / residual, values.size - 1 - squares / residual)

    step, size = 1e-4, logs.size
    hessian = np.empty((size, size))
    for at in range(size):
        shift = np.zeros(size)
        shift[at] = step
        hessian[at] = (gradient(logs + shift) - gradient(logs - shift)) / (2 * step)
    try:
        covariance = 2 * np.linalg.inv((hessian + hessian.T) / 2)
    except np.linalg.LinAlgError:
        return None
    to_logs = np.eye(size)
    to_logs[:-1, -1] = 1.0
    variances = np.diag(to_logs @ covariance @ to_logs.T)
    return np.sqrt(variances) if bool((variances > 0).all()) else None


def variance_components(
    values: ArrayLike, factors: Mapping[str, Sequence[Hashable]], *, level: float = 0.95
) -> VarianceComponents:
    """REML variance components of ``values`` (rows,), with ``factors`` name -> (rows,) labels, all crossed or nested.

    An interaction is a factor whose labels are pairs. Intervals are normal on the logarithm of the variance, from the
    observed information, for factors with at least 5 levels. A factor with one level, or with one row for each level,
    is left out with a reason. Raises BadInput where lengths differ, a value is not finite, two factors sort the rows
    in the same way, or the tables would not fit in memory.
    """
    value = finite_values(values)
    if not factors or "residual" in factors:
        raise BadInput("Variance components need named factors, none of them called 'residual'.")
    codes: dict[str, IntArray] = {}
    reasons: dict[str, str] = {}
    for name, labels in factors.items():
        if len(labels) != value.size:
            raise BadInput(f"Factor '{name}' has {len(labels)} labels for {value.size} values.")
        known: dict[Hashable, int] = {}
        codes[name] = np.fromiter((known.setdefault(x, len(known)) for x in labels), np.int64, count=value.size)
        reasons[name] = ONE_LEVEL if len(known) < 2 else CONFOUNDED if len(known) == value.size else ""
    kept = [name for name in factors if not reasons[name]]
    for at, name in enumerate(kept):
        twins = [other for other in kept[:at] if np.array_equal(codes[name], codes[other])]
        if twins:
            raise BadInput(f"Factors '{twins[0]}' and '{name}' sort the rows in the same way.", do="Leave one out.")
    levels = {name: int(code.max(initial=-1)) + 1 for name, code in codes.items()}
    flat = value.size < 2 or float(np.ptp(value)) <= 1e-12 * max(1e-300, float(np.abs(value).max()))
    fit = None if flat or not kept else fit_reml(value, [codes[name] for name in kept])
    if fit is None:
        why = NO_VARIATION if flat else RESIDUAL_ZERO if kept else "no factor has several levels and repeated rows"
        empty = tuple(Component(name, levels[name], None, None, None, reasons[name] or why) for name in factors)
        mean = float(value.mean()) if value.size else None
        return VarianceComponents(
            value.size, mean, empty, Component("residual", value.size, None, None, None, why), why
        )
    positive = [at for at in range(len(kept)) if fit.ratios[at] > 0]
    errors = None
    if positive:
        inner = sorted(positive, key=lambda at: -levels[kept[at]])
        part = Fit(fit.ratios[inner], fit.residual, fit.mean, fit.deviance)
        errors = _log_errors(value, [codes[kept[at]] for at in inner], part)
    total = fit.residual * (1 + float(fit.ratios.sum()))
    quantile = normal_quantile(0.5 + level / 2)

    def component(name: str, variance: float, error: float | None, count: int) -> Component:
        if variance == 0:
            return Component(name, count, 0.0, 0.0, None, "at the boundary 0: no interval")
        if error is None or count < LEAST_LEVELS:
            why = f"fewer than {LEAST_LEVELS} levels: no interval" if count < LEAST_LEVELS else "no standard error"
            return Component(name, count, variance, variance / total, None, why)
        factor = math.exp(min(700.0, quantile * error))
        interval = Interval(variance / factor, variance * factor, level, "REML, normal on the log variance")
        return Component(name, count, variance, variance / total, interval)

    made: dict[str, Component] = {}
    for at, name in enumerate(kept):
        error = float(errors[inner.index(at)]) if errors is not None and at in positive else None
        made[name] = component(name, fit.residual * float(fit.ratios[at]), error, levels[name])
    for name in factors:
        made.setdefault(name, Component(name, levels[name], None, None, None, reasons[name]))
    residual_error = None if errors is None else float(errors[-1])
    if not positive:
        residual_error = math.sqrt(2 / (value.size - 1))
    residual = component("residual", fit.residual, residual_error, value.size)
    return VarianceComponents(value.size, fit.mean, tuple(made[name] for name in factors), residual)
