"""Mean pairwise Spearman correlation against scipy, with undefined pairs and a bootstrap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.statistics.agreement import mean_spearman, spearman_table


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 0.3))
def test_every_pair_equals_scipy(seed: int, missing: float) -> None:
    generator = np.random.default_rng(seed)
    table = generator.choice([0.0, 0.5, 1.0], (14, 5))
    table[generator.random(table.shape) < missing] = np.nan
    table[:3] = [[0, 1, 0, 1, 0.5], [1, 0, 0.5, 0.5, 0], [0.5, 0.5, 1, 0, 1]]
    found = spearman_table(table)
    expected = []
    for a, b in itertools.combinations(range(5), 2):
        both = np.isfinite(table[:, a]) & np.isfinite(table[:, b])
        expected.append(float(stats.spearmanr(table[both, a], table[both, b]).statistic))
        assert found[a, b] == found[b, a] == pytest.approx(expected[-1])
    assert mean_spearman(table, draws=0).rho == pytest.approx(np.mean(expected))


def test_a_constant_rater_is_undefined_not_0() -> None:
    table = np.array([[0.0, 0.0, 1.0], [0.5, 1.0, 1.0], [1.0, 2.0, 1.0], [2.0, 3.0, 1.0]])
    found = mean_spearman(table, draws=0)
    assert (found.rho, found.pairs, found.undefined_pairs) == (pytest.approx(1), 1, 2)
    each = mean_spearman(np.tile([0.0, 0.5, 1.0], (5, 1)))
    assert (each.rho, each.pairs, each.undefined_pairs) == (None, 0, 3)
    flat = mean_spearman(np.ones((5, 3)))
    assert (flat.rho, flat.pairs, flat.undefined_pairs) == (None, 0, 3)
    assert "varies" in flat.reason


def test_pairs_with_too_few_common_items_are_undefined() -> None:
    table = np.array([[0, 1, 2, 3, np.nan, np.nan], [1, 0, 2, 3, 1, 4], [np.nan, np.nan, 1, 2, 3, 4.0]]).T
    found = mean_spearman(table, draws=0)
    assert (found.pairs, found.undefined_pairs) == (2, 1)


@pytest.mark.parametrize("unit", ["both", "items", "raters"])
def test_the_bootstrap_covers_and_does_not_pair_a_rater_with_themselves(unit: str) -> None:
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(60, 5))
    none = mean_spearman(noise, resample=unit, draws=200)  # type: ignore[arg-type]
    assert none.interval is not None
    assert none.interval.low < 0.1
    assert none.interval.high < 0.25  # with self-pairs it would be about 1 / 5 too high
    missing = noise.copy()
    missing[0, 0] = np.nan
    again = mean_spearman(missing, resample=unit, draws=50)  # type: ignore[arg-type]
    assert again.interval is not None
    assert again.interval.method == "rater bootstrap percentile"


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="at least two"):
        mean_spearman([[1.0], [2.0]])
