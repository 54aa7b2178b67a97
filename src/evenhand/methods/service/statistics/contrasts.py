"""Each group against the reference: difference, ratio, odds ratio, intervals, permutation test, Holm, omnibus.

The default interval is the two-way cluster t of `evenhand.methods.service.statistics.rates`. The crossed-bootstrap percentile,
the same t with every name a random draw, and the naive Wald interval are reported alongside (docs/statistics.md gives the
measured coverage of all four).

Measures of served responses (words, sentiment, toxicity) are compared only on stems where both groups were served: a group that
is refused on hard stems is served on easy ones only, so a plain mean over served responses compares different stems. Cells are
averaged first; stems then weigh equally.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.rates import (
    NO_CELLS,
    GroupRate,
    Part,
    cluster_interval,
    cluster_variance,
    dominating_names,
    group_rates,
    ratios,
)
from evenhand.records import Interval
from evenhand.statistics.cells import Cells, cells_from_rows, group_rate, name_values
from evenhand.statistics.intervals import minimum_detectable, wald_difference
from evenhand.statistics.multiplicity import best_attainable, holm
from evenhand.statistics.permutation import (
    PermutationTest,
    omnibus_test,
    omnibus_within_stems,
    permutation_test,
    within_stems_test,
)
from evenhand.statistics.resampling import DRAWS, Draws, crossed_bootstrap, percentile

NO_PERMUTATION = "no name permutation: a group has fewer than 2 names"
NAMES_UNKNOWN = "a group has fewer than 2 names: how its names vary is not in the interval"
NO_VARIATION = "no variation: the outcome does not differ between names or stems"
NOTHING_TO_RESAMPLE = "fewer than 2 names in each group and fewer than 2 stems: nothing to resample"
MANY_UNDEFINED = "over 5 % of the bootstrap draws are undefined"


@dataclass(frozen=True, slots=True)
class Contrast:
    """One group against the reference on the stems that both have. What is undefined is None, and ``reasons`` says why.

    ``difference`` (rate minus reference rate; a probability, or the unit of the measure) is the primary estimand and
    ``interval`` its default interval, in which a dominating name (rows of the cells in ``fixed``) stays as it is.
    ``interval_all_random`` treats that name, too, as a random draw. ``percentile`` is the crossed
    bootstrap; ``wald`` takes responses as independent. ``standard_error`` and ``df`` belong to ``interval``;
    ``minimum_detectable`` (80 % power, two-sided, before adjustment) to ``interval_all_random``, since the test
    permutes all names. ``p_holm`` is within the family; ``best_holm`` is the smallest it could have been.
    """

    group: int
    reference: int
    names: tuple[int, int]
    responses: tuple[int, int]
    stems: int
    stems_dropped: int
    rate: float | None = None
    reference_rate: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    interval_all_random: Interval | None = None
    percentile: Interval | None = None
    wald: Interval | None = None
    standard_error: float | None = None
    df: float | None = None
    fixed: tuple[int, ...] = ()
    ratio: float | None = None
    ratio_interval: Interval | None = None
    odds_ratio: float | None = None
    odds_ratio_interval: Interval | None = None
    test: PermutationTest | None = None
    minimum_detectable: float | None = None
    p_holm: float | None = None
    best_holm: float | None = None
    reasons: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ContrastFamily:
    """All contrasts of one outcome in one model; ``family_size`` tests were adjusted for.

    ``draws`` are the bootstrap draws of all group rates on the stems that every group has, None where there is none.
    """

    reference: int
    rates: tuple[GroupRate, ...]
    contrasts: tuple[Contrast, ...]
    omnibus: PermutationTest | None
    family_size: int
    draws: Draws | None


def _require(cells: Cells, code: int, role: str) -> None:
    if code not in cells.codes:
        codes = ", ".join(map(str, cells.codes.tolist()))
        raise BadInput(f"{role} {code} has no names.", do=f"Name a group that is in the data: {codes}.")


def contrast(
    cells: Cells,
    group: int,
    reference: int,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    fixed: dict[int, int] | None = None,
    bootstrap: Draws | None = None,
    test: bool = True,
) -> Contrast:
    """Compare one group with the reference.

    ``fixed`` maps a group to the row of its dominating name (default: found on these cells); ``bootstrap`` are draws
    made before on the same stems (default: ``draws`` are made here); without ``test`` the permutation test is left
    out. Where every name (then a prompt) meets one stem only, stems are what varies: the interval is over stems, and
    the test permutes within each stem. Raises BadInput where a group is absent.
    """
    _require(cells, reference, "Reference group")
    _require(cells, group, "Group")
    shared = cells.shared(group, reference)
    pair = shared.cells
    units = pair.by_stem() if pair.nested else pair
    held = {} if pair.nested else dominating_names(cells) if fixed is None else fixed
    mine, base = units.of(group), units.of(reference)
    sizes = Contrast(
        group=group,
        reference=reference,
        names=(len(pair.of(group)), len(pair.of(reference))),
        responses=(pair.responses(group), pair.responses(reference)),
        stems=pair.values.shape[1],
        stems_dropped=shared.dropped,
    )
    p, q = group_rate(mine), group_rate(base)
    if p is None or q is None:
        return replace(sizes, reasons={"difference": NO_CELLS})
    gap = p - q
    places = {code: shared.position(code, held.get(code)) for code in (group, reference)}
    rows = tuple(held[code] for code, place in places.items() if place is not None)
    parts = [Part(1.0, mine, places[group]), Part(-1.0, base, places[reference])]
    variance = cluster_variance(parts)
    all_random = cluster_variance([replace(part, fixed=None) for part in parts])
    bounds = (-1.0, 1.0) if cells.binary else (-math.inf, math.inf)
    interval = cluster_interval(gap, variance, stems=sizes.stems, fixed=len(rows), level=level, bounds=bounds)
    wide = cluster_interval(gap, all_random, stems=sizes.stems, fixed=0, level=level, bounds=bounds)
    quotients = ratios(units, group, reference, parts, level)
    reasons = dict(quotients.reasons)
    by_bootstrap = None
    if wide is None or all_random is None:
        reasons["interval"] = NOTHING_TO_RESAMPLE if all_random is None else NO_VARIATION
    else:
        drawn = bootstrap if bootstrap is not None else crossed_bootstrap(units, draws=draws, seed=seed)
        method = "crossed bootstrap percentile" if "and" in drawn.unit else f"bootstrap over {drawn.unit}, percentile"
        by_bootstrap = percentile(drawn.difference(group, reference), level, method=method)
        if by_bootstrap is None:
            reasons["percentile"] = MANY_UNDEFINED
        if interval is None:
            reasons["interval"] = NO_VARIATION
        elif min(sizes.names) < 2:
            reasons["names"] = NAMES_UNKNOWN
    permuted = None
    if min(sizes.names) < 2:
        reasons["test"] = NO_PERMUTATION
    elif test and pair.nested:
        permuted = within_stems_test(pair.of(group), pair.of(reference), seed=seed)
    elif test:
        level_of = name_values(pair.values)
        permuted = permutation_test(level_of[pair.groups == group], level_of[pair.groups == reference], seed=seed)
    behind = variance if interval is not None else None
    return replace(
        sizes,
        rate=p,
        reference_rate=q,
        difference=gap,
        interval=interval,
        interval_all_random=wide,
        percentile=by_bootstrap,
        wald=wald_difference(p, sizes.responses[0], q, sizes.responses[1], level) if cells.binary else None,
        standard_error=behind.standard_error if behind else None,
        df=behind.df if behind else None,
        fixed=rows,
        ratio=quotients.ratio,
        ratio_interval=quotients.ratio_interval,
        odds_ratio=quotients.odds_ratio,
        odds_ratio_interval=quotients.odds_ratio_interval,
        test=permuted,
        minimum_detectable=minimum_detectable(all_random.standard_error, all_random.df, alpha=1 - level)
        if all_random and wide
        else None,
        reasons=reasons,
    )


def contrast_family(
    cells: Cells, reference: int, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> ContrastFamily:
    """Every group against the reference, Holm over all of them, and the omnibus test.

    The family is all groups but the reference; a contrast without a test (p None) is not counted. Dominating names are
    found once, on all cells. The omnibus test permutes names on the stems that all groups have, or prompts within each
    of these stems where every prompt meets one stem only.
    Raises BadInput where the reference is absent.
    """
    _require(cells, reference, "Reference group")
    codes = [int(code) for code in cells.codes]
    held = {} if cells.nested else dominating_names(cells)
    common = cells.shared(*codes)
    full = bool(common.cells.values.shape[1]) and len(common.cells.codes) == len(codes)
    nested = full and common.cells.nested
    units = common.cells.by_stem() if nested else common.cells
    bootstrap = crossed_bootstrap(units, draws=draws, seed=seed) if full else None
    reuse = bootstrap if full and common.dropped == 0 else None
    contrasts = [
        contrast(cells, code, reference, level=level, draws=draws, seed=seed, fixed=held, bootstrap=reuse)
        for code in codes
        if code != reference
    ]
    adjusted = holm([one.test.p if one.test else None for one in contrasts])
    best = best_attainable([one.test.smallest_p if one.test else None for one in contrasts])
    contrasts = [
        replace(one, p_holm=p, best_holm=least)
        for one, p, least in zip(contrasts, adjusted.values, best.values, strict=True)
    ]
    omnibus = None
    if nested:
        omnibus = omnibus_within_stems(common.cells.values, common.cells.groups, seed=seed)
    elif full:
        omnibus = omnibus_test(name_values(common.cells.values), common.cells.groups, seed=seed)
    rates = group_rates(cells.by_stem() if cells.nested else cells, level=level, fixed=held)
    if cells.nested:
        rates = tuple(replace(rate, names=len(cells.of(rate.group))) for rate in rates)
    return ContrastFamily(reference, rates, tuple(contrasts), omnibus, adjusted.family_size, bootstrap)


@dataclass(frozen=True, slots=True, eq=False)
class HelpfulContent:
    """Contrasts of a measure on served responses, with how much of the material they rest on.

    Each contrast states its stems and the stems dropped. ``served`` maps a group code to its served and all responses;
    ``unmeasured`` counts served responses without a value.
    """

    family: ContrastFamily
    served: dict[int, tuple[int, int]]
    unmeasured: int


def helpful_contrasts(
    names: ArrayLike,
    stems: ArrayLike,
    values: ArrayLike,
    served: NDArray[np.bool_],
    groups: ArrayLike,
    reference: int,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> HelpfulContent:
    """Compare groups on a real-valued measure of their served responses.

    ``names``, ``stems`` (rows,) codes from 0, ``values`` (rows,) the measure (words, a probability), ``served``
    (rows,) whether the response counts as served, ``groups`` (names,). Raises BadInput where the reference has no
    served response.
    """
    name, group = np.asarray(names, dtype=np.int64), np.asarray(groups, dtype=np.int64)
    kept = np.asarray(served, dtype=bool)
    value = np.asarray(values, dtype=np.float64)
    if not kept.shape == value.shape == name.shape:
        raise BadInput(f"Rows of unequal length: {name.size} names, {value.size} values, {kept.size} served flags.")
    cells = cells_from_rows(name, stems, np.where(kept, value, np.nan), group, binary=False)
    counts = {
        int(code): (int(kept[group[name] == code].sum()), int((group[name] == code).sum())) for code in np.unique(group)
    }
    if reference in counts and counts[reference][0] == 0:
        raise BadInput(f"Reference group {reference} has no served response.", do="Choose another reference group.")
    family = contrast_family(cells, reference, level=level, draws=draws, seed=seed)
    return HelpfulContent(family, counts, int((kept & np.isnan(value)).sum()))
