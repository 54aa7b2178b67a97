"""Intervals in closed form: Wilson for a rate, Wald for a difference, t from a standard error.

Wilson (1927) and Wald treat every response as independent, so both are "within-sample": they ignore that responses
share names and stems. They are shown alongside the intervals of
`evenhand.methods.service.statistics.rates`, never in their place (docs/statistics.md).
"""

from __future__ import annotations

import math

from scipy import special

from evenhand.errors import BadInput
from evenhand.records import Interval


def normal_quantile(probability: float) -> float:
    """The standard normal quantile."""
    return float(special.ndtri(probability))


def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t; ``df`` may be fractional or infinite."""
    return normal_quantile(probability) if math.isinf(df) else float(special.stdtrit(df, probability))


def wilson(successes: float, total: int, level: float = 0.95) -> Interval | None:
    """Wilson's interval for a rate, from ``successes`` of ``total`` responses; None without responses.

    ``successes`` may be fractional: an equal-weight rate times its number of responses. Source: Wilson 1927, eq.
    without continuity correction.
    """
    if total <= 0:
        return None
    if not 0 <= successes <= total:
        raise BadInput(f"{successes:g} successes out of {total} responses are impossible.")
    z2 = normal_quantile(0.5 + level / 2) ** 2
    rate = successes / total
    centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (rate * (1 - rate) / total + z2 / (4 * total * total))) / (1 + z2 / total)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Interval(low, high, level, "Wilson, within-sample")


def wald_difference(
    rate: float, n: int, reference_rate: float, reference_n: int, level: float = 0.95
) -> Interval | None:
    """The naive interval for a difference of two rates, every response taken as independent. None without responses."""
    if n <= 0 or reference_n <= 0:
        return None
    half = normal_quantile(0.5 + level / 2) * math.sqrt(
        rate * (1 - rate) / n + reference_rate * (1 - reference_rate) / reference_n
    )
    gap = rate - reference_rate
    return Interval(gap - half, gap + half, level, "Wald, within-sample")


def t_interval(
    estimate: float,
    standard_error: float,
    df: float,
    level: float = 0.95,
    *,
    method: str = "t",
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """``estimate`` plus and minus a t quantile times ``standard_error``, cut at ``bounds`` (a probability stays in 0
    to 1).
    """
    half = t_quantile(0.5 + level / 2, df) * standard_error
    return Interval(max(bounds[0], estimate - half), min(bounds[1], estimate + half), level, method)


def minimum_detectable(standard_error: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at ``alpha`` finds with ``power``, in the unit of the error.

    (t_{1 - alpha/2, df} + t_{power, df}) x standard error, the usual approximation; pass alpha / family size for a
    Bonferroni-like view of a family.
    """
    return (t_quantile(1 - alpha / 2, df) + t_quantile(power, df)) * standard_error
