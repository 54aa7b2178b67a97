"""Agreement inside a group of raters and across its border: cross-replication reliability (xRR) and the GRASP measures.

xRR after Wong, Paritosh and Bollacker 2021, the other measures after GRASP (arXiv 2311.05074). Labels are codes in the order of
severity (safe, unsure, unsafe), -1 where missing. Chosen defaults, not published: the more severe label wins a tie for the
plurality, and a label that the other side never gave counts with 0.5 added to every label. All functions take sets of tallies at
once, so that a permutation test is a matrix product (`evenhand.methods.pluralism.rating.statistics.grasp`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray, IntArray, quotient
from evenhand.statistics.krippendorff import Distance, alpha_of_tallies, distances, tally
from evenhand.statistics.two_way import label_table

Measure = Literal["irr", "plurality_size", "negentropy", "xrr", "voting_agreement", "cross_negentropy", "gai"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""Three of the group, three across its border, and the group association index irr / xrr; negentropies are in nats."""

Ties = Literal["severe", "mild"]
"""Which of the most common labels of an item is its plurality label: the largest code, or the smallest."""

ZeroTerms = Literal["smooth", "drop"]
"""What becomes of a label that the other side never gave: 0.5 added to every count, or the term left out.

Leaving it out, as a public implementation does, makes the cross-negentropy too large; it is there to compare with it.
"""

SMOOTHING = 0.5


@dataclass(frozen=True, slots=True)
class CrossReliability:
    """xRR of two sets of raters: ``coefficient`` = 1 - d_o / d_e, and over the root of the product of both alphas.

    Each is None with a reason where undefined. ``items`` are those that both sides rated.
    """

    coefficient: float | None
    normalised: float | None
    observed: float | None
    expected: float | None
    items: int
    reasons: dict[str, str]


def xrr_of_tallies(
    ours: FloatArray, theirs: FloatArray, distance: Distance = "nominal", values: Sequence[float] | None = None
) -> tuple[FloatArray, FloatArray]:
    """d_o and d_e, each (sets,), from two tallies (items, labels, sets); only items that both sides rated count.

    d_o is the mean distance of a rating of ours and one of theirs on the same item, items weighted by their ratings on
    both sides; d_e that of any rating of ours and any of theirs, from the two label histograms. The ordinal distance
    ranks labels in both sides together.
    """
    r, s = ours.sum(axis=1), theirs.sum(axis=1)
    both = (r > 0) & (s > 0)
    weight = np.where(both, r + s, 0.0)
    x, y = (np.where(both[:, None], side, 0.0) for side in (ours, theirs))
    share_x, share_y = (quotient(side.sum(axis=0), side.sum(axis=(0, 1)), side.sum(axis=(0, 1)) > 0) for side in (x, y))
    if distance == "nominal":
        mean = 1 - quotient((x * y).sum(axis=1), r * s, both)
        expected = 1 - (share_x * share_y).sum(axis=0)
    else:
        table = distances(x.sum(axis=0) + y.sum(axis=0), distance, values)
        mean = quotient(np.einsum("ias,abs,ibs->is", x, table, y, optimize=True), r * s, both)
        expected = np.einsum("as,abs,bs->s", share_x, table, share_y)
    size = weight.sum(axis=0)
    return quotient(np.where(both, weight * mean, 0.0).sum(axis=0), size, size > 0), expected


def cross_reliability(
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    count: int | None = None,
    distance: Distance = "nominal",
    values: Sequence[float] | None = None,
) -> CrossReliability:
    """xRR of ``ours`` (items, raters) and ``theirs`` (items, other raters), codes from 0 and -1 where missing.

    Raises BadInput if the two tables have different items.
    """
    if count is None:
        count = 1 + max(int(np.max(side, initial=-1)) for side in (np.asarray(ours), np.asarray(theirs)))
    x, y = (label_table(side, count)[0] for side in (ours, theirs))
    if len(x) != len(y):
        raise BadInput(f"xRR needs two tables of the same items, got {len(x)} and {len(y)}.")
    a, b = tally(x, count)[:, :, None], tally(y, count)[:, :, None]
    items = int(((a.sum(axis=1) > 0) & (b.sum(axis=1) > 0)).sum())
    observed, expected = (float(part[0]) for part in xrr_of_tallies(a, b, distance, values))
    if not items:
        why = "no item is rated on both sides"
        return CrossReliability(None, None, None, None, 0, {"coefficient": why, "normalised": why})
    if not expected > 1e-12:
        why = "both sides gave one and the same label to everything"
        return CrossReliability(None, None, observed, expected, items, {"coefficient": why, "normalised": why})
    value = 1 - observed / expected
    product = float(alpha_of_tallies(a, distance, values)[0] * alpha_of_tallies(b, distance, values)[0])
    if product > 0:
        return CrossReliability(value, value / math.sqrt(product), observed, expected, items, {})
    reasons = {"normalised": "the product of the two alphas is not positive"}
    return CrossReliability(value, None, observed, expected, items, reasons)


def plurality(tallies: FloatArray, ties: Ties = "severe") -> NDArray[np.int16]:
    """The most common label of each item, (items, sets), -1 where it has no rating."""
    if ties not in ("severe", "mild"):
        raise BadInput(f"Unknown rule for ties '{ties}'.", do="Known: severe, mild.")
    most, codes = tallies.max(axis=1, initial=0), range(tallies.shape[1])
    winner = np.full(most.shape, -1, dtype=np.int16)
    for label in codes if ties == "severe" else reversed(codes):
        np.putmask(winner, tallies[:, label] == most, label)
    np.putmask(winner, most == 0, -1)
    return winner


def tied_items(labels: ArrayLike, count: int | None = None) -> IntArray:
    """Rows, from 0, of the items whose most common label is not the only one; ``labels`` (items, raters)."""
    counts = tally(*label_table(labels, count))
    most = counts.max(axis=1, initial=0)
    return np.flatnonzero(((counts == most[:, None]).sum(axis=1) > 1) & (most > 0)).astype(np.int64)


def _nominal_alpha(within: FloatArray, totals: FloatArray) -> FloatArray:
    """Alpha, (sets,), from the summed within / (ratings - 1) of all items and the label totals (labels, sets)."""
    size = totals.sum(axis=0)
    between = size**2 - (totals**2).sum(axis=0)
    return 1 - quotient(within * (size - 1), between, between > 0)


def measures_of_tallies(
    ours: FloatArray, theirs: FloatArray, *, ties: Ties = "severe", zero_terms: ZeroTerms = "smooth"
) -> FloatArray:
    """The seven `MEASURES` of each set, (7, sets), from two tallies (items, labels, sets); NaN if undefined.

    The cross-negentropy of ours given theirs is ln(labels) plus the mean over items of sum p ln q, p being our shares
    and q theirs. The association index is undefined where xRR is not positive. Every measure is a mean over the items
    that have what it needs.

    This is the inner loop of a permutation test: alpha and xRR are those of `alpha_of_tallies` and `xrr_of_tallies` with
    the sums over items and labels written as products.
    """
    if zero_terms not in ("smooth", "drop"):
        raise BadInput(f"Unknown rule for zero terms '{zero_terms}'.", do="Known: smooth, drop.")
    labels = ours.shape[1]
    log_labels = math.log(labels) if labels else 0.0
    r, s = (np.einsum("ils->is", side) for side in (ours, theirs))
    rated, both = r > 0, (r > 0) & (s > 0)
    items, shared = rated.sum(axis=0), both.sum(axis=0)
    share, other = 1 / np.maximum(r, 1.0), np.maximum(s, 1.0)
    logs = np.log(np.maximum(ours, 1.0))
    own_side = np.einsum("ils,ils->is", ours, logs) * share - np.log(np.maximum(r, 1.0))
    extra = SMOOTHING if zero_terms == "smooth" else 0.0
    counted = ours if extra else np.where(theirs > 0, ours, 0.0)
    logs = np.log(theirs + extra if extra else np.maximum(theirs, 1.0))
    cross = np.einsum("ils,ils->is", counted, logs) - np.einsum("ils->is", counted) * np.log(other + extra * labels)

    several = (r >= 2).astype(np.float64)
    within = (r * r - np.einsum("ils,ils->is", ours, ours)) * several / np.maximum(r - 1, 1.0)
    irr = _nominal_alpha(within.sum(axis=0), np.einsum("ils,is->ls", ours, several))

    agreeing = np.einsum("ils,ils->is", ours, theirs) * (share + 1 / other)
    x, y = (np.einsum("ils,is->ls", side, both.astype(np.float64)) for side in (ours, theirs))
    size, pairs = x.sum(axis=0) + y.sum(axis=0), x.sum(axis=0) * y.sum(axis=0)
    expected = 1 - quotient((x * y).sum(axis=0), pairs, pairs > 0)
    xrr = 1 - quotient(1 - quotient(agreeing.sum(axis=0), size, size > 0), expected, expected > 1e-12)

    votes = [np.where(both, plurality(side, ties), np.int16(-1)) for side in (ours, theirs)]
    given = np.stack([sum((vote == label).sum(axis=0) for vote in votes) for label in range(labels)]).astype(np.float64)
    voting = _nominal_alpha(2.0 * (votes[0] != votes[1]).sum(axis=0), given)
    return np.stack(
        [
            irr,
            quotient((ours.max(axis=1) * share).sum(axis=0), items, items > 0),
            log_labels + quotient(own_side.sum(axis=0), items, items > 0),
            xrr,
            voting,
            log_labels + quotient((cross * share * both).sum(axis=0), shared, shared > 0),
            quotient(irr, xrr, xrr > 0),
        ]
    )
