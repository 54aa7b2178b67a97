"""Permutation tests over names, the randomised unit: every name meets every stem, so group labels are exchangeable
over names. Prompts that each belong to one stem are exchangeable within their stem only, and are permuted there.

Exact where the number of splits is at most 200,000, else Monte Carlo
with (k + 1) / (B + 1) (Phipson and Smyth 2010). Ties count as at least as extreme, within a tolerance of 1e-12 of the
scale of the values.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray

EXACT_LIMIT = 200_000
MONTE_CARLO = 19_999
"""Random splits where there are too many to list; the smallest p is then 1/20,000. A chosen default."""

_Index = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """The outcome of a permutation test.

    ``count`` of ``total`` splits are at least as extreme as the one observed, which is among them; ``p`` is their
    quotient, kept unreduced (734 / 12870). ``smallest_p`` is what the most extreme data of this size could reach.
    """

    statistic: float
    count: int
    total: int
    p: float
    smallest_p: float
    exact: bool
    method: str


def _clean(values: ArrayLike, what: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise BadInput(f"{what} must be one finite number a name.", do="Leave out names without any response.")
    return array


@lru_cache(maxsize=16)
def _all_subsets(n: int, k: int) -> _Index:
    """Every k-subset of range(n), (splits, k); the first is 0..k-1, the split as observed."""
    flat = itertools.chain.from_iterable(itertools.combinations(range(n), k))
    subsets = np.fromiter(flat, dtype=np.int16, count=math.comb(n, k) * k).reshape(-1, k)
    subsets.setflags(write=False)
    return subsets


@lru_cache(maxsize=8)
def _random_orders(n: int, draws: int, seed: int) -> _Index:
    """Random orders of range(n), (draws, n)."""
    orders = np.argsort(np.random.default_rng([seed, 2]).random((draws, n)), axis=1).astype(np.int16)
    orders.setflags(write=False)
    return orders


def _tolerance(values: FloatArray) -> float:
    return 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0)))


def permutation_test(
    group: ArrayLike,
    reference: ArrayLike,
    *,
    limit: int = EXACT_LIMIT,
    draws: int = MONTE_CARLO,
    seed: int = 0,
) -> PermutationTest | None:
    """Two-sided test of |mean(group) - mean(reference)| over all ways to split the names.

    ``group`` and ``reference`` hold one value for each name. None where either has fewer than two names: there is
    then no name permutation to speak of. With unequal sizes a split has no mirror image, so the smallest p is 1 /
    splits; with equal sizes it is 2 / splits.
    """
    a, b = _clean(group, "The group"), _clean(reference, "The reference")
    if a.size < 2 or b.size < 2:
        return None
    small, large = (a, b) if a.size <= b.size else (b, a)
    pool = np.concatenate([small, large])
    pool = pool - pool.mean()
    n, k = pool.size, small.size
    splits = math.comb(n, k)
    smallest = (2 if a.size == b.size else 1) / splits
    # With the pooled mean removed the difference is sum(small) * (1/k + 1/(n-k)), so sums order as differences do.
    scale = 1 / k + 1 / (n - k)
    observed = abs(float(pool[:k].sum())) * scale
    tolerance = _tolerance(pool)
    if splits <= limit:
        extreme = np.abs(pool[_all_subsets(n, k)].sum(axis=1)) * scale >= observed - tolerance
        count = int(extreme.sum())
        return PermutationTest(observed, count, splits, count / splits, smallest, True, "exact name permutation")
    sums = pool[_random_orders(n, draws, seed)[:, :k]].sum(axis=1)
    count = 1 + int((np.abs(sums) * scale >= observed - tolerance).sum())
    p = count / (draws + 1)
    method = f"name permutation, {draws} random splits"
    return PermutationTest(observed, count, draws + 1, p, max(smallest, 1 / (draws + 1)), False, method)


def within_stems_test(
    group: ArrayLike,
    reference: ArrayLike,
    *,
    limit: int = EXACT_LIMIT,
    draws: int = MONTE_CARLO,
    seed: int = 0,
) -> PermutationTest | None:
    """Two-sided test of |rate - reference rate| by permuting prompts within each stem only.

    ``group`` and ``reference`` are (prompts, stems), NaN but for the one stem of each prompt. A rate is the mean over
    stems of the mean over prompts, on the stems that both have. None where no stem is shared.
    """
    a, b = np.asarray(group, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    pools = [(a[np.isfinite(a[:, t]), t], b[np.isfinite(b[:, t]), t]) for t in range(a.shape[1])]
    pools = [(mine, base) for mine, base in pools if mine.size and base.size]
    if not pools:
        return None
    observed = abs(sum(float(mine.mean() - base.mean()) for mine, base in pools)) / len(pools)
    splits = math.prod(math.comb(mine.size + base.size, mine.size) for mine, base in pools)
    mirrored = all(mine.size == base.size for mine, base in pools)
    smallest = (2 if mirrored else 1) / splits
    exact = splits <= limit
    tolerance = max(_tolerance(np.concatenate(pool)) for pool in pools)
    sums = np.zeros(1 if exact else draws)
    generator = np.random.default_rng([seed, 4])
    for mine, base in pools:
        pool, k = np.concatenate([mine, base]), mine.size
        pool = pool - pool.mean()
        scale = 1 / k + 1 / base.size
        if exact:
            sums = (sums[:, None] + pool[_all_subsets(pool.size, k)].sum(axis=1) * scale).ravel()
        else:
            order = np.argsort(generator.random((draws, pool.size)), axis=1)
            sums = sums + pool[order[:, :k]].sum(axis=1) * scale
    count = int((np.abs(sums) / len(pools) >= observed - tolerance).sum())
    if exact:
        return PermutationTest(observed, count, splits, count / splits, smallest, True, "exact permutation in stems")
    method = f"permutation of prompts within stems, {draws} random splits"
    p = (count + 1) / (draws + 1)
    return PermutationTest(observed, count + 1, draws + 1, p, max(smallest, 1 / (draws + 1)), False, method)


def omnibus_within_stems(
    values: ArrayLike, groups: ArrayLike, *, draws: int = MONTE_CARLO, seed: int = 0
) -> PermutationTest | None:
    """Does any group differ? Prompts are permuted within their stem only; the statistic is that of `omnibus_test`.

    ``values`` is (prompts, stems), NaN but for the one stem of each prompt, and every group is in every stem;
    ``groups`` is (prompts,). Means are over stems, then prompts. Monte Carlo. None with fewer than two groups.
    """
    table, code = np.asarray(values, dtype=np.float64), np.asarray(groups, dtype=np.int64)
    codes, sizes = np.unique(code, return_counts=True)
    if codes.size < 2:
        return None
    generator = np.random.default_rng([seed, 5])
    means = np.zeros((draws + 1, codes.size))
    splits, scale = 1, 0.0
    for stem in range(table.shape[1]):
        here = np.isfinite(table[:, stem])
        order = np.argsort(code[here], kind="stable")
        value = table[here, stem][order]
        _, held = np.unique(code[here], return_counts=True)
        splits *= _multinomial_coefficient(held.tolist())
        scale = max(scale, float(np.abs(value).max(initial=0.0)))
        shuffled = np.argsort(generator.random((draws, value.size)), axis=1)
        arranged = np.concatenate([value[None, :], value[shuffled]])
        starts = np.concatenate([[0], np.cumsum(held)[:-1]])
        means += np.add.reduceat(arranged, starts, axis=1) / held / table.shape[1]
    centre = means @ sizes / sizes.sum()
    statistic = ((means - centre[:, None]) ** 2) @ sizes
    tolerance = 1e-12 * max(1.0, scale**2 * float(sizes.sum()))
    count = int((statistic >= statistic[0] - tolerance).sum())  # the arrangement as observed is among them
    total = draws + 1
    method = f"permutation of prompts within stems, {draws} random orders"
    smallest = max(1 / splits, 1 / total)
    return PermutationTest(float(statistic[0]), count, total, count / total, smallest, False, method)


def _multinomial_coefficient(sizes: list[int]) -> int:
    return math.factorial(sum(sizes)) // math.prod(math.factorial(size) for size in sizes)


def _all_assignments(sizes: list[int]) -> NDArray[np.int8]:
    """Every assignment of names to groups of these sizes, (assignments, names), as observed first."""
    n = sum(sizes)
    table = np.full((1, n), -1, dtype=np.int8)
    for code, size in enumerate(sizes):
        free = np.argsort(table >= 0, axis=1, kind="stable")[:, : n - sum(sizes[:code])]
        subsets = _all_subsets(free.shape[1], size)
        chosen = free[:, subsets].reshape(-1, size)
        table = np.repeat(table, len(subsets), axis=0)
        np.put_along_axis(table, chosen, np.int8(code), axis=1)
    return table


def _by_group(values: ArrayLike, groups: ArrayLike) -> tuple[FloatArray, list[int], list[int]]:
    """Values sorted by group, the group codes, and their sizes."""
    value = _clean(values, "Name values")
    code = np.asarray(groups, dtype=np.int64)
    if code.shape != value.shape:
        raise BadInput(f"{value.size} name values need as many group codes, got {code.size}.")
    codes, sizes = np.unique(code, return_counts=True)
    return value[np.argsort(code, kind="stable")], codes.tolist(), sizes.tolist()


def omnibus_test(
    values: ArrayLike,
    groups: ArrayLike,
    *,
    limit: int = EXACT_LIMIT,
    draws: int = MONTE_CARLO,
    seed: int = 0,
) -> PermutationTest | None:
    """Does any group differ? Permutation of all names, statistic = sum over groups of n_g (mean_g - mean)^2.

    ``values`` (names,) and ``groups`` (names,). None with fewer than two groups, or when no group has two names.
    """
    value, codes, sizes = _by_group(values, groups)
    if len(codes) < 2 or max(sizes) < 2:
        return None
    value = value - value.mean()
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    size = np.asarray(sizes, dtype=np.float64)
    observed = float((np.add.reduceat(value, starts) ** 2 / size).sum())
    tolerance = 1e-12 * max(1.0, float((value**2).sum()))
    splits = _multinomial_coefficient(sizes)
    mirrored = math.prod(math.factorial(sizes.count(size)) for size in set(sizes))
    smallest = mirrored / splits
    if splits <= limit:
        table = _all_assignments(sizes)
        statistic = np.zeros(len(table))
        for at, n in enumerate(sizes):
            statistic += ((table == at) @ value) ** 2 / n
        count = int((statistic >= observed - tolerance).sum())
        return PermutationTest(observed, count, splits, count / splits, smallest, True, "exact name permutation")
    permuted = value[_random_orders(value.size, draws, seed)]
    statistic = (np.add.reduceat(permuted, starts, axis=1) ** 2 / size).sum(axis=1)
    count = 1 + int((statistic >= observed - tolerance).sum())
    method = f"name permutation, {draws} random orders"
    p = count / (draws + 1)
    return PermutationTest(observed, count, draws + 1, p, max(smallest, 1 / (draws + 1)), False, method)


def max_t_test(
    values: ArrayLike, groups: ArrayLike, reference: int, *, draws: int = MONTE_CARLO, seed: int = 0
) -> dict[int, float]:
    """Family-wise adjusted p for each group against ``reference`` by the largest statistic over the family.

    Single-step max-|T| (Westfall and Young 1993) with T = |mean difference| / sqrt(1/n_g + 1/n_ref), from random
    orders of all names, (k + 1) / (B + 1). Valid under the complete null, that all names of all groups are
    exchangeable. Groups with fewer than two names are left out. Raises BadInput where the reference is absent.
    """
    value, codes, sizes = _by_group(values, groups)
    if reference not in codes:
        raise BadInput(f"Reference group {reference} has no names.", do="Name a group that is in the data.")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    size = np.asarray(sizes, dtype=np.float64)
    base = codes.index(reference)
    tested = [at for at, n in enumerate(sizes) if at != base and n >= 2 and sizes[base] >= 2]

    def statistics(table: FloatArray) -> FloatArray:
        means = np.add.reduceat(table, starts, axis=1) / size
        gaps = np.abs(means[:, tested] - means[:, [base]])
        return np.asarray(gaps / np.sqrt(1 / size[tested] + 1 / size[base]), dtype=np.float64)

    if not tested:
        return {}
    observed = statistics(value[None, :])[0]
    largest = statistics(value[_random_orders(value.size, draws, seed)]).max(axis=1)
    counts = (largest[:, None] >= observed - _tolerance(value)).sum(axis=0)
    return {codes[at]: float((1 + count) / (draws + 1)) for at, count in zip(tested, counts, strict=True)}
