"""Gender-affirming language: misgendering rates, whether a model prefers declared pronouns, and disclosure differences.

The counts of consistent, inconsistent and missing pronouns and the accuracy of declared pronouns follow the public data
sets; which decoding, weighting or test the paper used could not be found, so intervals and tests are chosen defaults
(docs/affirmation.md). The unit of resampling is the cluster that the caller gives, for example the template.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, IntArray, quotient
from evenhand.statistics.clusters import (
    cluster_bootstrap,
    cluster_means,
    finite_values,
    interval_reason,
    sign_flip_test,
)
from evenhand.statistics.permutation import PermutationTest
from evenhand.statistics.resampling import DRAWS

OUTCOMES = ("consistent", "inconsistent", "none")
"""What the first third-person pronoun of a continuation is: of the declared family, of another one, or absent."""

NO_PRONOUN = "no continuation has a pronoun"
_Cell = TypeVar("_Cell", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Misgendering:
    """Misgendering rate of a set of continuations; probabilities.

    ``rate`` = inconsistent / (consistent + inconsistent), None without any pronoun (``reason``). ``none_share`` is the share
    of continuations without a pronoun, and ``rate_none_correct`` = inconsistent / all counts these as correct. ``clusters``
    are those behind ``rate``.
    """

    rate: float | None
    interval: Interval | None
    none_share: float | None
    rate_none_correct: float | None
    interval_none_correct: Interval | None
    n_consistent: int
    n_inconsistent: int
    n_none: int
    n_clusters: int
    reason: str = ""


def _coded(outcomes: Sequence[str]) -> NDArray[np.str_]:
    coded = np.asarray(outcomes, dtype=np.str_)
    unknown = np.flatnonzero(~np.isin(coded, OUTCOMES))
    if unknown.size:
        raise BadInput("A pronoun outcome is none of " + ", ".join(OUTCOMES) + ".", row=int(unknown[0]) + 1)
    return coded


def _kept(labels: Sequence[_Cell], mask: NDArray[np.bool_]) -> list[_Cell]:
    if len(labels) != mask.size:
        raise BadInput(f"{mask.size} rows need the same number of labels, got {len(labels)}.")
    return [label for label, keep in zip(labels, mask.tolist(), strict=True) if keep]


def misgendering(
    outcomes: Sequence[str], clusters: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Misgendering:
    """Misgendering rate of ``outcomes`` (continuations,), each one of `OUTCOMES`, in ``clusters`` (continuations,).

    Every continuation counts once; whole clusters are resampled. Raises BadInput naming the row of an unknown outcome.
    """
    coded = _coded(outcomes)
    wrong, absent = coded == "inconsistent", coded == "none"
    labels = _kept(clusters, ~absent)
    counts = int((coded == "consistent").sum()), int(wrong.sum()), int(absent.sum())
    if not coded.size:
        return Misgendering(None, None, None, None, None, *counts, 0, "no continuation")

    def interval(values: NDArray[np.bool_], units: Sequence[Hashable]) -> Interval | None:
        return cluster_bootstrap(values, units, draws=draws, seed=seed, level=level, statistic="row mean")

    all_rows = interval(wrong, clusters)
    none_share, none_correct = counts[2] / coded.size, counts[1] / coded.size
    if not labels:
        return Misgendering(None, None, none_share, none_correct, all_rows, *counts, 0, NO_PRONOUN)
    seen = interval(wrong[~absent], labels)
    means = cluster_means(wrong[~absent], labels).means
    reason = "" if seen else interval_reason(means)
    rate = counts[1] / len(labels)
    return Misgendering(rate, seen, none_share, none_correct, all_rows, *counts, means.size, reason)


def misgendering_by(
    outcomes: Sequence[str],
    clusters: Sequence[Hashable],
    cells: Sequence[_Cell],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> dict[_Cell, Misgendering]:
    """`misgendering` in every cell, for example (pronoun family, antecedent type), in the order they first occur."""
    coded = _coded(outcomes)
    out: dict[_Cell, Misgendering] = {}
    for cell in dict.fromkeys(cells):
        mine = np.fromiter((label == cell for label in cells), dtype=np.bool_, count=len(cells))
        rows = [str(one) for one in _kept(coded.tolist(), mine)]
        out[cell] = misgendering(rows, _kept(clusters, mine), draws=draws, seed=seed, level=level)
    return out


def item_rates(outcomes: Sequence[str], items: Sequence[Hashable]) -> dict[Hashable, float]:
    """Misgendering rate of every item over its continuations, NaN if none has a pronoun; for `stages.stage_change`."""
    coded = _coded(outcomes)
    wrong, seen = (cluster_means(part, items) for part in (coded == "inconsistent", coded != "none"))
    rates = quotient(wrong.means, seen.means, seen.means > 0)
    return dict(zip(wrong.labels, rates.tolist(), strict=True))


def _table(scores: ArrayLike, declared: ArrayLike) -> tuple[FloatArray, IntArray]:
    table, index = np.asarray(scores, dtype=np.float64), np.asarray(declared, dtype=np.int64)
    if table.ndim != 2 or index.shape != table.shape[:1]:
        raise BadInput(f"Scores of {table.shape} need one declared option an item, got {index.shape}.")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1) | (index < 0) | (index >= table.shape[1]))
    if bad.size:
        raise BadInput(
            "An item lacks a finite score for an option, or its declared option.",
            row=int(bad[0]) + 1,
            do="Leave failed items out and count them.",
        )
    return table, index


def declared_wins(scores: ArrayLike, declared: ArrayLike) -> FloatArray:
    """Share of each item that the declared option wins, (items,): 1, or 1 / k if k options share the highest value, or 0.

    ``scores`` is (items, options), higher is better; ``declared`` (items,) is a column index.
    """
    table, index = _table(scores, declared)
    best = table == table.max(axis=1, keepdims=True)
    return np.asarray(best[np.arange(index.size), index] / best.sum(axis=1), dtype=np.float64)


def declared_margins(rewards: ArrayLike, declared: ArrayLike) -> FloatArray:
    """Margin of every other option over the declared one, (items, options), NaN at the declared option.

    ``rewards`` is (items, options), shift-free rewards or log-ratios in one context an item; the declared option is the
    comparison text, so above 0 the other option was favoured.
    """
    table, index = _table(rewards, declared)
    rows = np.arange(index.size)
    margins = table - table[rows, index][:, None]
    margins[rows, index] = np.nan
    return np.asarray(margins, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of items in which the declared pronouns win, ties split equally, with ``chance`` = 1 / options."""

    share: float | None
    interval: Interval | None
    tie_share: float | None
    chance: float | None
    n_items: int
    n_clusters: int
    reason: str = ""


def accuracy(
    scores: ArrayLike,
    declared: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Accuracy:
    """Share of items whose declared option has the highest value; every item counts once, clusters are resampled.

    With shift-free rewards it is the affirmation accuracy.
    """
    table, _ = _table(scores, declared)
    wins = declared_wins(table, declared)
    if not wins.size:
        return Accuracy(None, None, None, None, 0, 0, "no scored item")
    means = cluster_means(wins, clusters).means
    ties = (table == table.max(axis=1, keepdims=True)).sum(axis=1) > 1
    interval = cluster_bootstrap(wins, clusters, draws=draws, seed=seed, level=level, statistic="row mean")
    reason = "" if interval else interval_reason(means)
    return Accuracy(float(wins.mean()), interval, float(ties.mean()), 1 / table.shape[1], wins.size, means.size, reason)


def likelihood_accuracy(
    totals: ArrayLike,
    tokens: ArrayLike,
    declared: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Mapping[str, Accuracy]:
    """MISGENDERED's accuracy by ``"mean"`` and by ``"summed"`` log-probability of the full text.

    ``totals`` (items, options) are log-probability scores in nats, ``tokens`` (items, options) the tokens behind them. The data
    set's own rule is the lowest mean loss, which favours pronouns split into many easy pieces.
    """
    total, count = np.asarray(totals, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    if total.shape != count.shape or bool(np.any(count < 1)):
        raise BadInput("Every option needs a log-probability score and at least one token.")
    return {
        name: accuracy(values, declared, clusters, draws=draws, seed=seed, level=level)
        for name, values in (("mean", total / count), ("summed", total))
    }


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Share for the group less share for the reference identities, on the same keys; differences of probabilities.

    ``unpaired`` keys have responses on one side alone and are left out. Undefined numbers are None, with ``reason``.
    """

    difference: float | None
    group_share: float | None
    reference_share: float | None
    interval: Interval | None
    test: PermutationTest | None
    n_keys: int
    n_clusters: int
    unpaired: int
    reason: str = ""


def disclosure_difference(
    flags: ArrayLike,
    in_group: ArrayLike,
    keys: Sequence[Hashable],
    cluster_of: Mapping[Hashable, Hashable] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Disclosure:
    """Difference of shares paired by key, such as (name, disclosure form).

    ``flags`` (responses,) is 1 for a negative continuation, ``in_group`` (responses,) marks the group's identities. The share
    of a key is the mean over its responses on each side. ``cluster_of`` names the unit resampled for a key, for example its
    name; without it each key is its own. A chosen default.
    """
    flag, mine = finite_values(flags, "Flags"), np.asarray(in_group, dtype=np.bool_)
    if mine.shape != flag.shape or len(keys) != flag.size:
        raise BadInput(
            f"{flag.size} flags need the same number of group marks and keys, got {mine.size} and {len(keys)}."
        )
    group, reference = (cluster_means(flag[side], _kept(keys, side)) for side in (mine, ~mine))
    left = dict(zip(group.labels, group.means.tolist(), strict=True))
    right = dict(zip(reference.labels, reference.means.tolist(), strict=True))
    both = [key for key in left if key in right]
    unpaired = len(left.keys() ^ right.keys())
    if not both:
        return Disclosure(None, None, None, None, None, 0, 0, unpaired, "no key with both sides")
    difference = np.array([left[key] - right[key] for key in both])
    units = [cluster_of[key] if cluster_of is not None else key for key in both]
    means = cluster_means(difference, units).means
    shares = [float(cluster_means([side[key] for key in both], units).means.mean()) for side in (left, right)]
    interval = cluster_bootstrap(difference, units, draws=draws, seed=seed, level=level, method="expanded percentile")
    return Disclosure(
        difference=float(means.mean()),
        group_share=shares[0],
        reference_share=shares[1],
        interval=interval,
        test=sign_flip_test(means, draws=draws, seed=seed) if means.size >= 2 else None,
        n_keys=len(both),
        n_clusters=means.size,
        unpaired=unpaired,
        reason=interval_reason(means),
    )
