"""Agreement coefficients against statsmodels and a calculation by hand."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from evenhand.errors import BadInput
from evenhand.statistics.agreement import agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha

# The twelve-unit, four-observer nominal example that Krippendorff uses to explain alpha (its published value is .743).
EXAMPLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3],
        [-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1],
    ]
).T


def plain_alpha(table: np.ndarray) -> float:
    """Coincidences of values within items, counted pair by pair."""
    coincidence: Counter[tuple[int, int]] = Counter()
    weights: dict[tuple[int, int], float] = {}
    for item in table:
        known = [int(x) for x in item if x >= 0]
        for a, b in itertools.permutations(range(len(known)), 2):
            pair = (known[a], known[b])
            coincidence[pair] += 1
            weights[pair] = weights.get(pair, 0.0) + 1 / (len(known) - 1)
    total = sum(weights.values())
    margin: Counter[int] = Counter()
    for (a, _), weight in weights.items():
        margin[a] += weight  # type: ignore[assignment]
    observed = sum(weight for (a, b), weight in weights.items() if a != b)
    expected = sum(margin[a] * margin[b] for a in margin for b in margin if a != b) / (total - 1)
    return 1 - observed / expected


def test_krippendorff_published_example() -> None:
    assert krippendorff_alpha(EXAMPLE) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(EXAMPLE) == pytest.approx(plain_alpha(EXAMPLE))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_random_tables_equal_the_oracles(seed: int) -> None:
    generator = np.random.default_rng(seed)
    base = generator.integers(0, 4, (20, 1))
    table = np.where(generator.random((20, 3)) < 0.6, base, generator.integers(0, 4, (20, 3)))
    assert fleiss_kappa(table) == pytest.approx(statsmodels_fleiss(aggregate_raters(table)[0]))
    assert cohen_kappa(table[:, :2]) == pytest.approx(cohen_kappa_score(table[:, 0], table[:, 1]))
    holes = np.where(generator.random(table.shape) < 0.3, -1, table)
    assert krippendorff_alpha(holes) == pytest.approx(plain_alpha(holes))


def test_relabelling_categories_changes_nothing() -> None:
    renamed = np.where(EXAMPLE >= 0, 7 - EXAMPLE, -1)
    assert krippendorff_alpha(renamed) == pytest.approx(krippendorff_alpha(EXAMPLE))


def test_cluster_bootstrap_equals_a_loop_and_is_wider_than_over_items() -> None:
    generator = np.random.default_rng(1)
    # Stems differ in how well raters agree, so items of one stem are alike.
    noise = np.repeat(generator.choice([0.02, 0.6], 20), 16)[:, None]
    base = generator.integers(0, 3, (320, 1))
    table = np.where(generator.random((320, 2)) < noise, generator.integers(0, 3, (320, 2)), base)
    stems = np.repeat(np.arange(20), 16)
    found = agreement(table, "cohen", clusters=stems, draws=4000)
    assert found.interval is not None
    drawn = []
    for _ in range(600):
        chosen = generator.integers(0, 20, 20)
        sample = np.concatenate([table[stems == stem] for stem in chosen])
        drawn.append(cohen_kappa_score(sample[:, 0], sample[:, 1]))
    assert found.interval.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.03)
    assert found.interval.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.03)
    single = agreement(table, "cohen", draws=4000)
    assert single.interval is not None
    assert found.interval.width > single.interval.width
    assert found.clusters == 20
    assert found.observed == pytest.approx((table[:, 0] == table[:, 1]).mean())


def test_undefined_coefficients_say_why() -> None:
    same = agreement(np.zeros((5, 2), dtype=int))
    assert (same.coefficient, same.observed, same.reason) == (None, 1.0, "every rating is the same label")
    alone = agreement(np.array([[0, -1], [-1, 1]]))
    assert (alone.coefficient, alone.items, alone.reason) == (None, 0, "no item has two ratings")
    one = agreement(np.array([[0, 1], [1, 1], [0, 0]]), clusters=[0, 0, 0])
    assert one.coefficient is not None
    assert one.interval is None
    assert one.reason == "fewer than 2 clusters: no interval"
    assert fleiss_kappa(np.zeros((3, 2), dtype=int)) is None


@pytest.mark.parametrize(
    ("ratings", "method", "message"),
    [
        (np.zeros((3, 1), dtype=int), "fleiss", "at least two raters"),
        (np.zeros((3, 3), dtype=int), "cohen", "for 2 raters, got 3"),
        (np.array([[0, 1], [-2, 0]]), "fleiss", "below -1"),
        (np.zeros((3, 2), dtype=int), "gwet", "No agreement coefficient"),
    ],
)
def test_bad_input(ratings: np.ndarray, method: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        agreement(ratings, method)
    with pytest.raises(BadInput, match="cluster codes"):
        agreement(np.zeros((3, 2), dtype=int), clusters=[0, 1])
