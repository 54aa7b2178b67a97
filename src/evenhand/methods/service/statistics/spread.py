"""How far groups lie apart: gap, worst-to-best ratio, standard deviation between groups, share over a service
threshold.

Source: service_quality section 4 ("Spread"); the share over a threshold is ROBBIE's BiasScore as defined there. The
gap and the standard deviation are at least 0 and grow with noise alone, so each comes with its bootstrap bias;
whether groups differ at all is for the omnibus test to say, not for an interval that can never hold 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.resampling import percentile


@dataclass(frozen=True, slots=True)
class Statistic:
    """An estimate (None where undefined, with the reason), its percentile interval, and bootstrap mean minus
    estimate.
    """

    estimate: float | None
    interval: Interval | None
    bias: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Spread over groups: ``gap`` and ``deviation`` in the unit of the rate, ``ratio`` of largest to smallest rate."""

    gap: Statistic
    ratio: Statistic
    deviation: Statistic
    highest: int
    lowest: int


def _statistic(estimate: float | None, draws: FloatArray | None, level: float, reason: str = "") -> Statistic:
    if estimate is None or draws is None:
        return Statistic(estimate, None, None, reason)
    known = draws[np.isfinite(draws)]
    interval = percentile(draws, level)
    if interval is None:
        return Statistic(estimate, None, None, "over 5 % of the bootstrap draws are undefined")
    return Statistic(estimate, interval, float(known.mean()) - estimate, reason)


def spread(
    rates: Sequence[float], codes: Sequence[int], draws: FloatArray | None = None, level: float = 0.95
) -> Spread:
    """Spread of group rates.

    ``rates`` (groups,) with their ``codes``; ``draws`` (draws, groups) in the same order, from `crossed_bootstrap`.
    The ratio is None where the smallest rate is not above 0. The deviation divides by groups - 1.
    Raises BadInput with fewer than two groups.
    """
    value = np.asarray(rates, dtype=np.float64)
    if value.size < 2 or value.size != len(codes):
        raise BadInput("The spread needs the rates of at least two groups.")
    high, low = float(value.max()), float(value.min())
    tops, bottoms = (None, None) if draws is None else (draws.max(axis=1), draws.min(axis=1))
    gaps = None if tops is None or bottoms is None else tops - bottoms
    quotients = None if tops is None or bottoms is None else quotient(tops, bottoms, bottoms > 0)
    deviations = None if draws is None else draws.std(axis=1, ddof=1)
    return Spread(
        gap=_statistic(high - low, gaps, level),
        ratio=_statistic(high / low, quotients, level)
        if low > 0
        else Statistic(None, None, None, "the lowest rate is 0"),
        deviation=_statistic(float(value.std(ddof=1)), deviations, level),
        highest=int(codes[int(value.argmax())]),
        lowest=int(codes[int(value.argmin())]),
    )


def share_over_threshold(uppers: Sequence[float | None], threshold: float) -> float | None:
    """Share of groups whose upper interval end exceeds ``threshold``; groups without an interval are not counted.

    None where no group has one. Every group counts once (the published script evaluates only the last row).
    """
    known = [upper for upper in uppers if upper is not None]
    return sum(upper > threshold for upper in known) / len(known) if known else None
