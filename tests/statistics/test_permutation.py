"""Permutation tests against a plain enumeration, and the sizes and fractions that the specification prints."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.statistics.clusters import sign_flip_test
from evenhand.statistics.permutation import (
    max_t_test,
    omnibus_test,
    omnibus_within_stems,
    permutation_test,
    within_stems_test,
)


def plain(a: list[float], b: list[float]) -> tuple[int, int]:
    pool = a + b
    gap = abs(sum(a) / len(a) - sum(b) / len(b))
    count = total = 0
    for chosen in itertools.combinations(range(len(pool)), len(a)):
        inside = [pool[i] for i in chosen]
        outside = [pool[i] for i in range(len(pool)) if i not in chosen]
        total += 1
        count += abs(sum(inside) / len(inside) - sum(outside) / len(outside)) >= gap - 1e-12
    return count, total


@settings(max_examples=40, deadline=None)
@given(
    a=st.lists(st.integers(0, 8), min_size=2, max_size=5),
    b=st.lists(st.integers(0, 8), min_size=2, max_size=4),
)
def test_exact_test_equals_plain_enumeration(a: list[int], b: list[int]) -> None:
    ours = permutation_test([x / 8 for x in a], [x / 8 for x in b])
    assert ours is not None
    assert (ours.count, ours.total) == plain([x / 8 for x in a], [x / 8 for x in b])
    assert ours.p == ours.count / ours.total
    assert ours.exact


@pytest.mark.parametrize(
    ("n", "m", "expected"), [(8, 8, (2, 12870)), (8, 4, (1, 495)), (4, 8, (1, 495)), (3, 3, (2, 20))]
)
def test_smallest_attainable_p(n: int, m: int, expected: tuple[int, int]) -> None:
    ours = permutation_test(np.arange(n) / 100 + 0.8, np.arange(m) / 100)
    assert ours is not None
    assert (ours.count, ours.total) == expected
    assert ours.smallest_p == ours.p == expected[0] / expected[1]


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_swapping_groups_and_shifting_values_change_nothing(n: int, m: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.random(n), generator.random(m)
    first, second = permutation_test(a, b), permutation_test(b, a)
    shifted = permutation_test(a + 3, b + 3)
    assert first is not None
    assert second is not None
    assert shifted is not None
    assert first.count == second.count == shifted.count


def test_constant_outcome_gives_one_and_single_names_nothing() -> None:
    ours = permutation_test([0.0] * 4, [0.0] * 4)
    assert ours is not None
    assert ours.p == 1
    assert permutation_test([1.0], [0.0, 0.0]) is None


def test_monte_carlo_never_gives_zero_and_is_seeded() -> None:
    a, b = np.arange(16) / 100 + 0.5, np.arange(16) / 100
    ours = permutation_test(a, b, draws=999)
    assert ours is not None
    assert (ours.count, ours.total, ours.exact) == (1, 1000, False)
    assert ours.smallest_p == 1 / 1000
    mild = np.random.default_rng(1).random(12)
    runs = [permutation_test(mild[:6], mild[6:], limit=0, draws=4000, seed=s) for s in (1, 1, 2)]
    exact = permutation_test(mild[:6], mild[6:])
    assert exact is not None
    assert runs[0] == runs[1] != runs[2]
    for run in runs:
        assert run is not None
        assert run.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 4000))


def test_large_values_keep_their_ties() -> None:
    words = np.array([120.1, 130.3, 110.7, 95.9])
    ours = permutation_test(words[:2], words[2:])
    assert ours is not None
    assert (ours.count, ours.total) == plain(words[:2].tolist(), words[2:].tolist())


def plain_omnibus(values: list[float], groups: list[int]) -> tuple[int, int]:
    def statistic(labels: tuple[int, ...]) -> float:
        grand = sum(values) / len(values)
        total = 0.0
        for group in set(groups):
            inside = [v for v, g in zip(values, labels, strict=True) if g == group]
            total += len(inside) * (sum(inside) / len(inside) - grand) ** 2
        return total

    observed = statistic(tuple(groups))
    orders = set(itertools.permutations(groups))
    return sum(statistic(order) >= observed - 1e-12 for order in orders), len(orders)


def test_omnibus_equals_plain_enumeration() -> None:
    values, groups = [0.1, 0.5, 0.2, 0.9, 0.8, 0.3, 0.3], [0, 1, 0, 1, 2, 2, 2]
    ours = omnibus_test(values, groups)
    assert ours is not None
    assert (ours.count, ours.total) == plain_omnibus(values, groups)
    drawn = omnibus_test(values, groups, limit=0, draws=20_000)
    assert drawn is not None
    assert drawn.p == pytest.approx(ours.p, abs=0.02)


def test_omnibus_smallest_p_counts_mirror_images() -> None:
    values = [0.0, 0.01, 0.5, 0.51, 1.0, 1.01]
    ours = omnibus_test(values, [0, 0, 1, 1, 2, 2])
    assert ours is not None
    assert ours.p == ours.smallest_p == 6 / 90
    assert omnibus_test([1.0, 2.0], [0, 0]) is None
    assert omnibus_test([1.0, 2.0], [0, 1]) is None


def test_two_groups_omnibus_equals_the_contrast() -> None:
    values = np.random.default_rng(3).random(10)
    omnibus, pair = omnibus_test(values, [0] * 4 + [1] * 6), permutation_test(values[:4], values[4:])
    assert omnibus is not None
    assert pair is not None
    assert (omnibus.count, omnibus.total) == (pair.count, pair.total)


def test_max_t_is_no_smaller_than_the_single_test_and_smaller_than_bonferroni() -> None:
    generator = np.random.default_rng(5)
    values = np.concatenate([generator.normal(0.5 if g == 3 else 0.2, 0.1, 8) for g in range(4)])
    groups = np.repeat(np.arange(4), 8)
    adjusted = max_t_test(values, groups, 0)
    assert set(adjusted) == {1, 2, 3}
    for group, p in adjusted.items():
        single = permutation_test(values[groups == group], values[groups == 0])
        assert single is not None
        assert 0 < p <= 1
    assert adjusted[3] < 0.01
    assert max_t_test([1.0, 2.0, 3.0], [0, 1, 1], 0) == {}


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="finite"):
        permutation_test([np.nan, 1.0], [0.0, 1.0])
    with pytest.raises(BadInput, match="group codes"):
        omnibus_test([1.0, 2.0], [0])
    with pytest.raises(BadInput, match="has no names"):
        max_t_test([1.0, 2.0], [0, 0], 7)


def spread_out(stems: list[list[float]]) -> np.ndarray:
    """(prompts, stems) with one number a prompt, from the outcomes of each stem."""
    table = np.full((sum(map(len, stems)), len(stems)), np.nan)
    row = 0
    for stem, values in enumerate(stems):
        for value in values:
            table[row, stem] = value
            row += 1
    return table


def within_stems(a: list[list[float]], b: list[list[float]]) -> tuple[int, int]:
    """Plain enumeration of every exchange of prompts inside their stem."""
    pools = [mine + base for mine, base in zip(a, b, strict=True)]
    choices = [itertools.combinations(range(len(p)), len(mine)) for p, mine in zip(pools, a, strict=True)]

    def gap(chosen: tuple[tuple[int, ...], ...]) -> float:
        total = 0.0
        for pool, inside in zip(pools, chosen, strict=True):
            mine = [pool[i] for i in inside]
            base = [pool[i] for i in range(len(pool)) if i not in inside]
            total += sum(mine) / len(mine) - sum(base) / len(base)
        return abs(total)

    gaps = [gap(chosen) for chosen in itertools.product(*choices)]
    return sum(value >= gaps[0] - 1e-9 for value in gaps), len(gaps)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), min_size=2, max_size=4), st.integers(0, 1000))
def test_within_stems_equals_plain_enumeration(sizes: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = ([rng.integers(0, 3, pair[at]).astype(float).tolist() for pair in sizes] for at in (0, 1))
    found = within_stems_test(spread_out(a), spread_out(b))
    assert found is not None
    assert (found.count, found.total) == within_stems(a, b)
    drawn = within_stems_test(spread_out(a), spread_out(b), limit=0)
    assert drawn is not None
    assert drawn.p == pytest.approx(found.p, abs=0.02)


def test_single_prompts_in_each_stem_are_the_sign_flip_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=9), rng.normal(size=9)
    found = within_stems_test(
        np.diag(a) + np.where(np.eye(9) == 1, 0, np.nan), np.diag(b) + np.where(np.eye(9) == 1, 0, np.nan)
    )
    assert found is not None
    assert found.p == sign_flip_test(a - b).p


def test_omnibus_within_stems_agrees_with_the_contrast_of_two_groups_and_ignores_stems() -> None:
    rng = np.random.default_rng(5)
    easy = np.repeat([0.0, 0.0, 5.0, 9.0], 6)
    stems, groups = np.repeat(np.arange(4), 6), np.tile([0, 0, 0, 1, 1, 1], 4)
    values = rng.normal(size=24) + 0.5 * groups
    tables = []
    for shift in (0.0, easy):
        table = np.full((24, 4), np.nan)
        table[np.arange(24), stems] = values + shift
        tables.append(table)
    plain_one, shifted = (omnibus_within_stems(table, groups, seed=1) for table in tables)
    alone = within_stems_test(tables[0][groups == 1], tables[0][groups == 0])
    assert plain_one is not None
    assert shifted is not None
    assert alone is not None
    assert shifted.p == plain_one.p
    assert plain_one.p == pytest.approx(alone.p, abs=0.02)
    assert omnibus_within_stems(tables[0], np.zeros(24, dtype=int)) is None


def test_no_shared_stem_gives_no_test_within_stems() -> None:
    assert within_stems_test(np.array([[1.0, np.nan]]), np.array([[np.nan, 0.0]])) is None
