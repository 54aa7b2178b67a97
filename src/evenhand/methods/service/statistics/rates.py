"""The rate of each group, and ratios of rates, with intervals that generalise to other names and stems.

Source: service_quality sections 4, 5.1 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evenhand.methods.service.statistics.variance import Part, Variance, cluster_variance, dominating_names
from evenhand.records import Interval
from evenhand.statistics.cells import Cells, group_rate
from evenhand.statistics.intervals import t_interval, wilson

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
    found = []
    for code in cells.codes.tolist():
        own = cells.shared(code)
        values, responses = own.cells.values, cells.responses(code)
        names, stems = values.shape
        rate = group_rate(values)
        if rate is None:
            found.append(GroupRate(code, None, responses, names, stems, None, None))
            continue
        place = own.position(code, held.get(code))
        rows = () if place is None else (held[code],)
        variance = cluster_variance([Part(1.0, values, place)])
        interval = cluster_interval(rate, variance, stems=stems, fixed=len(rows), level=level, bounds=bounds)
        within = wilson(_successes(rate, responses), responses, level) if cells.binary else None
        error, df = (None, None) if variance is None else (variance.standard_error, variance.df)
        found.append(GroupRate(code, rate, responses, names, stems, within, interval, error, df, rows))
    return tuple(found)


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
