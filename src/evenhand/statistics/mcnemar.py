"""Paired yes/no outcomes of the same prompts under two configurations: McNemar's test, and the difference of the two rates.

The prompt is the unit: where it was answered several times, its answers are averaged first.
Sources: McNemar 1947; Fagerland, Lydersen and Laake 2013 (mid-p); Newcombe 1998 (paired difference, method 10).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.intervals import t_interval, wilson

MONTE_CARLO = 19_999
_MOST_STEPS = 400_000
"""Largest sum of scaled differences for which the sign-flip distribution is listed whole."""
_LARGEST_UNIT = 5_040


@dataclass(frozen=True, slots=True)
class McNemar:
    """The paired 2 x 2 table and its tests.

    ``gained`` pairs are 0 in the first and 1 in the second configuration, ``lost`` the reverse. ``p`` is exact and two-sided,
    ``mid_p`` its less conservative form, ``smallest_p`` what these many discordant pairs could reach at best. ``missing`` pairs
    lack an answer and are in none of the four counts. None where there is no pair, and ``reason`` says so.
    """

    both: int
    gained: int
    lost: int
    neither: int
    missing: int
    p: float | None
    mid_p: float | None
    smallest_p: float | None
    reason: str = ""

    @property
    def pairs(self) -> int:
        """Pairs in the table."""
        return self.both + self.gained + self.lost + self.neither


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The second rate minus the first (probability), over ``prompts`` that both configurations answered.

    ``first`` and ``second`` are the rates over the same prompts. ``p`` is two-sided, of ``test``. Where a value is None,
    ``reason`` says why. ``missing`` prompts lack an answer under one of the two.
    """

    estimate: float | None
    interval: Interval | None
    first: float | None
    second: float | None
    p: float | None
    test: str
    prompts: int
    missing: int
    reason: str = ""


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's exact test of two configurations, one yes/no answer (1, 0, NaN for missing) a prompt each, both (prompts,).

    The exact p is 2 P(X <= min(gained, lost)), at most 1, with X binomial(gained + lost, 1/2); the mid-p takes half of the
    probability of the observed table off each side. Without a discordant pair both are 1: nothing changed. Raises BadInput for
    unequal lengths and other values.
    """
    a, b = _binary(first, "first"), _binary(second, "second")
    _same_length(a, b)
    seen = np.isfinite(a) & np.isfinite(b)
    x, y = a[seen] == 1, b[seen] == 1
    both, gained, lost = int((x & y).sum()), int((~x & y).sum()), int((x & ~y).sum())
    counts = (both, gained, lost, int(x.size) - both - gained - lost, int((~seen).sum()))
    if not x.size:
        return McNemar(*counts, None, None, None, "no prompt was answered under both")
    discordant, fewer = gained + lost, min(gained, lost)
    p = min(1.0, 2 * float(stats.binom.cdf(fewer, discordant, 0.5)))
    mass = float(stats.binom.pmf(fewer, discordant, 0.5))
    if not discordant:
        mid_p = 1.0
    else:
        mid_p = 1 - mass / 2 if gained == lost else p - mass
    return McNemar(*counts, p, mid_p, min(1.0, 2.0 ** (1 - discordant)))


def newcombe_paired(both: int, gained: int, lost: int, neither: int, level: float = 0.95) -> Interval | None:
    """Newcombe's square-and-add interval for a paired difference, (gained - lost) / n; None without pairs.

    Joins the Wilson intervals of both rates by their correlation phi, whose numerator is cut by n / 2 and not below 0 where it is
    positive; phi is 0 where a margin is empty. Source: Newcombe 1998, Statistics in Medicine 17, 2635, method 10. Raises
    BadInput for a negative count.
    """
    if min(both, gained, lost, neither) < 0:
        raise BadInput("A count of pairs is negative.")
    n = both + gained + lost + neither
    if n == 0:
        return None
    one, two = both + lost, both + gained
    low_one, high_one = _wilson(one, n, level)
    low_two, high_two = _wilson(two, n, level)
    margins = float(one) * (n - one) * two * (n - two)
    top = float(both) * neither - float(gained) * lost
    phi = (max(top - n / 2, 0.0) if top > 0 else top) / math.sqrt(margins) if margins else 0.0
    p1, p2, gap = one / n, two / n, (gained - lost) / n

    def reach(up: float, down: float) -> float:
        return math.sqrt(max(0.0, up * up - 2 * phi * up * down + down * down))

    low = gap - reach(p2 - low_two, high_one - p1)
    high = gap + reach(high_two - p2, p1 - low_one)
    return Interval(max(-1.0, low), min(1.0, high), level, "Newcombe square-and-add, paired")


def sign_flip(differences: ArrayLike, *, unit: int = 0, draws: int = MONTE_CARLO, seed: int = 0) -> tuple[float, str]:
    """Two-sided p of the mean of paired differences, (prompts,), when each sign could as well be the other; and the test's name.

    With ``unit`` every difference is a multiple of 1 / ``unit``, and the distribution over all sign patterns is listed
    exactly by convolution; for single yes/no answers that is McNemar's exact test. Else random signs, (k + 1) / (draws + 1).
    Raises BadInput for a NaN.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or not np.isfinite(d).all():
        raise BadInput("Differences must be one finite number a prompt.")
    moved = d[np.abs(d) > 1e-12]
    if not moved.size:
        return 1.0, "sign flip, exact"
    steps = np.rint(np.abs(moved) * unit).astype(np.int64) if unit else np.zeros(0, dtype=np.int64)
    fits = bool(unit) and bool(np.allclose(np.abs(moved) * unit, steps, rtol=0, atol=1e-6))
    if fits and int(steps.sum()) <= _MOST_STEPS:
        observed = abs(int((np.sign(moved).astype(np.int64) * steps).sum()))
        chances = np.ones(1)
        for step in np.sort(steps).tolist():  # entry k is P(sum of the flipped steps = k)
            grown = np.zeros(chances.size + step)
            grown[: chances.size] += chances / 2
            grown[step:] += chances / 2
            chances = grown
        sums = 2 * np.arange(chances.size) - int(steps.sum())
        return min(1.0, float(chances[np.abs(sums) >= observed].sum())), "sign flip, exact"
    reached = abs(float(moved.sum())) - 1e-9 * float(np.abs(moved).sum())
    generator = np.random.default_rng([seed, 11])
    count, left = 0, draws
    while left:
        size = min(left, max(1, 2_000_000 // moved.size))
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(size, moved.size))
        count += int((np.abs(signs @ moved) >= reached).sum())
        left -= size
    return (count + 1) / (draws + 1), f"sign flip, {draws} random patterns"


def paired_difference(first: ArrayLike, second: ArrayLike, *, level: float = 0.95, seed: int = 0) -> PairedDifference:
    """The second rate minus the first with interval and test; (prompts,) or (prompts, answers) each, NaN for missing answers.

    Values lie in 0 to 1. Answers are averaged in their prompt, then over prompts, so a prompt counts once however often it was
    answered. One yes/no answer a prompt: Newcombe's interval and McNemar's exact test. Several: the paired t interval over
    prompts and a sign-flip test, since answers of one prompt are not independent; with fewer than two prompts, or where every
    prompt changed by the same amount, there is no spread and so no t interval. Raises BadInput for unequal numbers of prompts
    and for values beyond 0 to 1.
    """
    a, b = _cells(first, "first"), _cells(second, "second")
    _same_length(a, b)
    counts_a, counts_b = np.isfinite(a).sum(axis=1), np.isfinite(b).sum(axis=1)
    seen = (counts_a > 0) & (counts_b > 0)
    n, missing = int(seen.sum()), int((~seen).sum())
    if not n:
        return PairedDifference(
            None, None, None, None, None, "none", 0, missing, "no prompt was answered under both"
        )  # fmt: skip
    one, two = _means(a)[seen], _means(b)[seen]
    gaps = two - one
    estimate, rates = float(gaps.mean()), (float(one.mean()), float(two.mean()))
    yes_no = _is_binary(a) and _is_binary(b)
    if yes_no and int(counts_a[seen].max()) == int(counts_b[seen].max()) == 1:
        table = mcnemar(one, two)
        interval = newcombe_paired(table.both, table.gained, table.lost, table.neither, level)
        return PairedDifference(estimate, interval, *rates, table.p, "McNemar, exact", n, missing)
    unit = math.lcm(*{int(c) for c in (*counts_a[seen], *counts_b[seen])}) if yes_no else 0
    p, test = sign_flip(gaps, unit=unit if unit <= _LARGEST_UNIT else 0, seed=seed)
    spread = float(gaps.std(ddof=1)) if n > 1 else 0.0
    if spread <= 1e-12:
        reason = (
            "fewer than 2 prompts: no interval" if n < 2 else "every prompt changed by the same amount: no interval"
        )
        return PairedDifference(estimate, None, *rates, p, test, n, missing, reason)
    interval = t_interval(
        estimate, spread / math.sqrt(n), n - 1, level, method="paired t over prompts", bounds=(-1.0, 1.0)
    )  # fmt: skip
    return PairedDifference(estimate, interval, *rates, p, test, n, missing)


def _wilson(successes: int, n: int, level: float) -> tuple[float, float]:
    interval = wilson(successes, n, level)
    assert interval is not None
    return interval.low, interval.high


def _is_binary(values: FloatArray) -> bool:
    return bool((np.isnan(values) | (values == 0) | (values == 1)).all())


def _binary(values: ArrayLike, which: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not _is_binary(array):
        raise BadInput(f"The {which} configuration must be one 0, 1 or NaN a prompt.")
    return array


def _cells(values: ArrayLike, which: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise BadInput(f"The {which} configuration must be (prompts,) or (prompts, answers).")
    if not (np.isnan(array) | ((array >= 0) & (array <= 1))).all():
        raise BadInput(f"The {which} configuration holds a value that is no probability.")
    return array


def _same_length(first: FloatArray, second: FloatArray) -> None:
    if len(first) != len(second):
        raise BadInput(
            f"The configurations have {len(first)} and {len(second)} prompts.",
            do="Give the same prompts in the same order.",
        )


def _means(values: FloatArray) -> FloatArray:
    seen = np.isfinite(values)
    count = seen.sum(axis=1)
    return quotient(np.where(seen, values, 0.0).sum(axis=1), count.astype(np.float64), count > 0)
