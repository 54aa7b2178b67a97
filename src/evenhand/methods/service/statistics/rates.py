"""Rates of groups: standard errors over names and stems, intervals, ratios, and correction for the grader's error.

**The standard error** behind the default interval lets names and stems both vary and counts neither twice. For a weighted sum
of group rates (a difference has weights +1 and -1) on a names x stems matrix:

    V = V_names + V_stems - V_cells

V_names is the variance of the mean over names in each group, V_stems that of the per-stem sums (stems are shared by the groups,
so their common effect cancels), and V_cells, the residual of the two-way table, is what both of them hold. This is two-way
cluster-robust variance (Cameron, Gelbach and Miller 2011; Miglioretti and Heagerty 2007) with the moment estimates of a two-way
analysis of variance; V is not let below the larger of its first two parts. Degrees of freedom after Satterthwaite (1946).

**A dominating name.** A list of names may hold one that is treated unlike all others of its group, always. Such a name is not a
random draw, as the largest town is not in a survey of towns: it is a self-representing (certainty) unit, kept in the estimate at
its own weight, with only the other names drawn (Cochran 1977; the rule for finding it is our choice).

**Grader error** is carried into a rate by the group's own sensitivity and specificity (Rogan and Gladen 1978):
p = (observed + specificity - 1) / (sensitivity + specificity - 1), cut to 0..1. Our choices: the validation sample is resampled
by drawing from Beta(successes + 1/2, failures + 1/2), the Jeffreys form, because a plain resample of a perfect small sample would
claim a perfect grader; and a sample stratified by the grader's own label is corrected by predictive values, since sensitivity
cannot be read off such a sample directly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import Cells, FloatArray, group_rate, name_values, quotient
from evenhand.statistics.intervals import t_interval, t_quantile, wilson
from evenhand.statistics.resampling import percentile

DOMINATION_ALPHA = 0.01
"""Level of the outlier test that finds a dominating name, over the names of one group. A chosen default."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One term of the sum: the weight of a group's rate, its (names, stems) cells, and the row held fixed, if any."""

    weight: float
    values: FloatArray
    fixed: int | None = None


@dataclass(frozen=True, slots=True)
class Variance:
    """A variance with its three components and degrees of freedom; its square root has the unit of the estimate."""

    names: float
    stems: float
    cells: float
    total: float
    df: float

    @property
    def standard_error(self) -> float:
        """Square root of the total."""
        return math.sqrt(self.total)


@dataclass(frozen=True, slots=True)
class _Within:
    names: float
    cells: float
    name_df: int


def _within(values: FloatArray, fixed: int | None) -> _Within:
    """Name and cell variance of one group's rate; ``fixed`` takes no part as a draw."""
    seen = np.isfinite(values)
    stems = values.shape[1]
    per_stem = np.maximum(seen.sum(axis=0), 1)
    share = seen / (per_stem * stems)
    drawn = np.ones(len(values), dtype=bool)
    if fixed is not None:
        drawn[fixed] = False
    n = int(drawn.sum())
    if n < 2:
        return _Within(0.0, 0.0, 0)
    block, block_seen, block_share = values[drawn], seen[drawn], share[drawn]
    level = name_values(block)
    weight = block_share.sum(axis=1)
    names = float((weight**2 * (level - level.mean()) ** 2).sum() * n / (n - 1))
    df_cells = int(block_seen.sum()) - n - int(block_seen.any(axis=0).sum()) + 1
    if stems < 2 or df_cells < 1:
        return _Within(names, 0.0, n - 1)
    count = block_seen.sum(axis=0)
    stem_mean = np.where(block_seen, block, 0.0).sum(axis=0) / np.maximum(count, 1)
    residual = np.where(block_seen, block - level[:, None] - stem_mean + level.mean(), 0.0)
    mean_square = float((residual**2).sum()) / df_cells
    return _Within(names, mean_square * float((block_share**2).sum()), n - 1)


def cluster_variance(parts: Sequence[Part]) -> Variance | None:
    """The variance of the weighted sum of group rates; None when neither names nor stems vary enough to estimate it.

    Every part has the same stems in its columns. With one stem only names count; a group of one name adds no name
    variance (the caller says so). Zero variance (an outcome that is the same everywhere) gives total 0 and infinite
    df.
    """
    stems = parts[0].values.shape[1]
    within = [_within(part.values, part.fixed) for part in parts]
    names = [part.weight**2 * piece.names for part, piece in zip(parts, within, strict=True)]
    cells = sum(part.weight**2 * piece.cells for part, piece in zip(parts, within, strict=True))
    by_stem = 0.0
    if stems >= 2:
        sums = np.zeros(stems)
        for part in parts:
            seen = np.isfinite(part.values)
            means = np.where(seen, part.values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
            sums += part.weight * means
        by_stem = float(sums.var(ddof=1)) / stems
    elif all(piece.name_df == 0 for piece in within):
        return None
    by_name = sum(names)
    total = max(by_name + by_stem - cells, by_name, by_stem)
    if total <= 1e-24:
        return Variance(by_name, by_stem, cells, 0.0, math.inf)
    spent = sum(v * v / piece.name_df for v, piece in zip(names, within, strict=True) if piece.name_df)
    spent += by_stem**2 / (stems - 1) if stems >= 2 else 0.0
    return Variance(by_name, by_stem, cells, total, total * total / spent)


def _extreme(level: FloatArray) -> tuple[int, FloatArray]:
    at = int(np.argmax(np.abs(level - np.median(level))))
    return at, np.delete(level, at)


def dominating_names(cells: Cells, alpha: float = DOMINATION_ALPHA) -> dict[int, int]:
    """The name, if any, that dominates each group: ``{group code: row of cells}``.

    In each group of at least four names the name farthest from the median is compared with the others by an externally
    studentised t (Grubbs 1950), Bonferroni over the names of the group. The scale is the largest of the spread of the
    others, the same spread pooled over all groups, and the cell noise of a name's mean, so that a trifle in a very even
    group is not called dominating.
    """
    levels: dict[int, FloatArray] = {}
    rows: dict[int, np.ndarray[tuple[int], np.dtype[np.intp]]] = {}
    for code in cells.codes.tolist():
        index = np.flatnonzero((cells.groups == code) & np.isfinite(cells.values).any(axis=1))
        if index.size >= 4:
            levels[code], rows[code] = name_values(cells.values[index]), index
    if not levels:
        return {}
    trimmed = {code: _extreme(level) for code, level in levels.items()}
    spent = sum(others.size - 1 for _, others in trimmed.values())
    pooled = sum(float(others.var(ddof=1)) * (others.size - 1) for _, others in trimmed.values()) / spent
    dominating: dict[int, int] = {}
    for code, (at, others) in trimmed.items():
        noise = _within(cells.values[rows[code]], None).cells * levels[code].size
        scale = math.sqrt(max(float(others.var(ddof=1)), pooled, noise))
        distance = abs(float(levels[code][at]) - float(others.mean()))
        limit = t_quantile(1 - alpha / (2 * levels[code].size), others.size - 1)
        if distance > 1e-12 and distance > limit * scale * math.sqrt(1 + 1 / others.size):
            dominating[code] = int(rows[code][at])
    return dominating


NO_CELLS = "no cell on a stem that both groups have"
NOT_BINARY = "the outcome is a measure, not 0 or 1"
REFERENCE_ZERO = "the reference rate is 0"
REFERENCE_NEGATIVE = "a ratio needs positive rates"
GROUP_ZERO = "the group rate is 0, so its logarithm is undefined"
ALL_SAME = "every response has the same outcome"
ZERO_COUNT = "a count is 0: 0.5 was added to all four counts, which gives no interval"


@dataclass(frozen=True, slots=True)
class GroupRate:
    """The rate of one group: equal weights over stems, then names. ``wilson`` is within-sample, None for a measure.

    ``interval`` generalises to other names and stems; ``fixed`` are rows of the cells held fixed in it.
    ``standard_error`` and ``df`` belong to it.
    """

    group: int
    rate: float | None
    responses: int
    names: int
    stems: int
    wilson: Interval | None
    interval: Interval | None
    standard_error: float | None = None
    df: float | None = None
    fixed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ratios:
    """Risk ratio and odds ratio, None where undefined; ``reasons`` says why, by field name."""

    ratio: float | None
    ratio_interval: Interval | None
    odds_ratio: float | None
    odds_ratio_interval: Interval | None
    reasons: dict[str, str]


def cluster_interval(
    estimate: float, variance: Variance | None, *, stems: int, fixed: int, level: float, bounds: tuple[float, float]
) -> Interval | None:
    """The t interval of a cluster variance, named after what varied; None without variance to speak of."""
    if variance is None or variance.total == 0:
        return None
    method = "two-way cluster t" if stems >= 2 else "t over names"
    if fixed:
        method += f", {fixed} dominating name{'s' * (fixed > 1)} held fixed"
    return t_interval(estimate, variance.standard_error, variance.df, level, method=method, bounds=bounds)


def group_rates(cells: Cells, *, level: float = 0.95, fixed: dict[int, int] | None = None) -> tuple[GroupRate, ...]:
    """Every group's rate with its intervals, in the order of ``cells.codes``.

    ``fixed`` maps a group to the row of its dominating name (default: found by `dominating_names`).
    """
    held = dominating_names(cells) if fixed is None else fixed
    bounds = (0.0, 1.0) if cells.binary else (-math.inf, math.inf)
    rates = []
    for code in cells.codes.tolist():
        group_cells = cells.shared(code)
        values, responses = group_cells.cells.values, cells.responses(code)
        names, stems = values.shape
        rate = group_rate(values)
        if rate is None:
            rates.append(GroupRate(code, None, responses, names, stems, None, None))
            continue
        place = group_cells.position(code, held.get(code))
        rows = () if place is None else (held[code],)
        variance = cluster_variance([Part(1.0, values, place)])
        interval = cluster_interval(rate, variance, stems=stems, fixed=len(rows), level=level, bounds=bounds)
        within = wilson(_successes(rate, responses), responses, level) if cells.binary else None
        error, df = (None, None) if variance is None else (variance.standard_error, variance.df)
        rates.append(GroupRate(code, rate, responses, names, stems, within, interval, error, df, rows))
    return tuple(rates)


def _successes(rate: float, responses: int) -> float:
    """Successes behind an equal-weight rate, a whole number wherever rounding error alone keeps it from being one."""
    raw = rate * responses
    return float(round(raw)) if abs(raw - round(raw)) < 1e-6 else raw


def odds_ratio(cells: Cells, group: int, reference: int) -> tuple[float | None, str]:
    """Odds ratio and a note. 0.5 is added to all four counts when one is 0; None when the outcome never varies.

    Counts are responses; without a zero the equal-weight rates are used.
    """
    if not cells.binary:
        return None, NOT_BINARY
    p, q = group_rate(cells.of(group)), group_rate(cells.of(reference))
    if p is None or q is None:
        return None, NO_CELLS
    if (p == 0 and q == 0) or (p == 1 and q == 1):
        return None, ALL_SAME
    if 0 < p < 1 and 0 < q < 1:
        return p * (1 - q) / (q * (1 - p)), ""
    n, m = cells.responses(group), cells.responses(reference)
    a, b, c, d = p * n + 0.5, (1 - p) * n + 0.5, q * m + 0.5, (1 - q) * m + 0.5
    return a * d / (b * c), ZERO_COUNT


def _log_interval(
    estimate: float, parts: Sequence[Part], slopes: Sequence[float], stems: int, level: float
) -> Interval | None:
    """A t interval on the log scale by the delta method: the same clusters, each rate weighted by its log slope."""
    scaled = [
        Part(math.copysign(slope, part.weight), part.values, part.fixed)
        for part, slope in zip(parts, slopes, strict=True)
    ]
    fixed = sum(part.fixed is not None for part in parts)
    variance = cluster_variance(scaled)
    log = cluster_interval(math.log(estimate), variance, stems=stems, fixed=fixed, level=level, bounds=(-700.0, 700.0))
    return None if log is None else Interval(math.exp(log.low), math.exp(log.high), level, log.method + ", log scale")


def ratios(cells: Cells, group: int, reference: int, parts: Sequence[Part], level: float) -> Ratios:
    """Risk ratio and odds ratio of two groups on shared stems; ``parts`` are the group (+1) and the reference (-1)."""
    reasons: dict[str, str] = {}
    p, q = group_rate(cells.of(group)), group_rate(cells.of(reference))
    stems = cells.values.shape[1]
    if p is None or q is None:
        return Ratios(None, None, None, None, {"ratio": NO_CELLS, "odds_ratio": NO_CELLS})
    ratio, ratio_interval, odds_interval = None, None, None
    if q == 0:
        reasons["ratio"] = REFERENCE_ZERO
    elif p < 0 or q < 0:
        reasons["ratio"] = REFERENCE_NEGATIVE
    else:
        ratio = p / q
        if p == 0:
            reasons["ratio_interval"] = GROUP_ZERO
        else:
            ratio_interval = _log_interval(ratio, parts, (1 / p, 1 / q), stems, level)
    odds, note = odds_ratio(cells, group, reference)
    if note:
        reasons["odds_ratio" if odds is None else "odds_ratio_interval"] = note
    elif odds is not None:
        odds_interval = _log_interval(odds, parts, (1 / (p * (1 - p)), 1 / (q * (1 - q))), stems, level)
    return Ratios(ratio, ratio_interval, odds, odds_interval, reasons)


Design = Literal["random", "by_label"]

_LEAST_YOUDEN = 0.05
NO_POSITIVE = "no human-labelled positive in this group: sensitivity unknown"
NO_NEGATIVE = "no human-labelled negative in this group: specificity unknown"
NO_LABELLED = "no human label for one of the grader's classes in this group"
NO_BETTER = "sensitivity + specificity is not above 1: the grader tells nothing in this group"
UNCERTAIN = "over 5 % of the draws leave the grader no better than chance: too few human labels for an interval"


@dataclass(frozen=True, slots=True)
class Validation:
    """Human labels against the grader in one group: true and false positives, true and false negatives (counts).

    ``design`` is ``"random"`` when the rows were drawn regardless of the grader's label (or by the human one),
    ``"by_label"`` when they were drawn in fixed numbers from each of the grader's classes.
    """

    tp: int
    fn: int
    tn: int
    fp: int
    design: Design = "random"

    def __post_init__(self) -> None:
        if min(self.tp, self.fn, self.tn, self.fp) < 0:
            raise BadInput("A validation count is negative.")

    @property
    def sensitivity(self) -> float | None:
        """tp / (tp + fn), for a random design; None without a positive."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn and self.design == "random" else None

    @property
    def specificity(self) -> float | None:
        """tn / (tn + fp), for a random design; None without a negative."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp and self.design == "random" else None


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """A corrected rate or difference, None where undefined with the reason; ``draws`` (draws,) carry both sources of
    error.
    """

    estimate: float | None
    interval: Interval | None
    draws: FloatArray | None
    reason: str = ""


def _rogan_gladen(observed: FloatArray, sensitivity: FloatArray, specificity: FloatArray) -> FloatArray:
    youden = sensitivity + specificity - 1
    return np.clip(quotient(observed + specificity - 1, youden, youden > _LEAST_YOUDEN), 0.0, 1.0)


def _beta(successes: int, failures: int, size: int, generator: np.random.Generator) -> FloatArray:
    return np.asarray(generator.beta(successes + 0.5, failures + 0.5, size=size), dtype=np.float64)


def correct_rate(
    observed: float, draws: FloatArray, validation: Validation, *, level: float = 0.95, seed: int = 0, stream: int = 0
) -> Corrected:
    """Correct one group's observed rate for its grader's error.

    ``draws`` (draws,) are draws of the observed rate, from `crossed_bootstrap` or `calibrate`; ``stream`` is the
    group's code, so that groups get independent validation draws. With a class that no human labelled the estimate is
    None.
    """
    if not 0 <= observed <= 1:
        raise BadInput(f"A rate of {observed:g} is not between 0 and 1.")
    generator = np.random.default_rng([seed, 3, stream])
    v = validation
    if v.design == "by_label":
        if v.tp + v.fp == 0 or v.tn + v.fn == 0:
            return Corrected(None, None, None, NO_LABELLED)
        estimate = observed * v.tp / (v.tp + v.fp) + (1 - observed) * v.fn / (v.tn + v.fn)
        kept = np.clip(draws, 0.0, 1.0)
        positive, missed = _beta(v.tp, v.fp, draws.size, generator), _beta(v.fn, v.tn, draws.size, generator)
        drawn = kept * positive + (1 - kept) * missed
    else:
        if v.sensitivity is None or v.specificity is None:
            return Corrected(None, None, None, NO_POSITIVE if v.sensitivity is None else NO_NEGATIVE)
        if v.sensitivity + v.specificity - 1 <= _LEAST_YOUDEN:
            return Corrected(None, None, None, NO_BETTER)
        estimate = float(_rogan_gladen(*(np.array([x]) for x in (observed, v.sensitivity, v.specificity)))[0])
        drawn = _rogan_gladen(draws, _beta(v.tp, v.fn, draws.size, generator), _beta(v.tn, v.fp, draws.size, generator))
    interval = percentile(drawn, level, method="bootstrap of the sample and of the human labels")
    return Corrected(estimate, interval, drawn, "" if interval else UNCERTAIN)


def corrected_difference(group: Corrected, reference: Corrected, *, level: float = 0.95) -> Corrected:
    """The difference of two corrected rates; pass rates whose draws share their stems."""
    for part in (group, reference):
        if part.estimate is None or part.draws is None:
            return Corrected(None, None, None, part.reason)
    assert group.estimate is not None
    assert reference.estimate is not None
    assert group.draws is not None
    assert reference.draws is not None
    drawn = group.draws - reference.draws
    interval = percentile(drawn, level, method="bootstrap of the sample and of the human labels")
    estimate = group.estimate - reference.estimate
    return Corrected(estimate, interval, drawn, "" if interval else UNCERTAIN)
