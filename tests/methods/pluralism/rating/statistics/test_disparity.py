"""DPD and EOD against loops, their intervals, nulls and undefined cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.disparity import disparities
from evenhand.methods.pluralism.rating.statistics.raters import rater_groups

HALVES = rater_groups(["a"] * 6 + ["b"] * 6)


def plain_gap(table: np.ndarray, codes: np.ndarray, items: list[int]) -> float:
    shares = []
    whole = [i for i in items if all(np.isfinite(table[i, codes == g]).any() for g in range(int(codes.max()) + 1))]
    for group in range(int(codes.max()) + 1):
        rates = []
        for item in whole:
            known = [x for x in table[item, codes == group] if not np.isnan(x)]
            rates.append(sum(x > 0.5 for x in known) / len(known))
        shares.append(sum(rates) / len(rates))
    return max(shares) - min(shares)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 3), st.floats(0, 0.2))
def test_values_equal_the_loops(seed: int, count: int, missing: float) -> None:
    generator = np.random.default_rng(seed)
    table = generator.choice([0.0, 0.5, 1.0], (10, 15))
    table[generator.random(table.shape) < missing] = np.nan
    table[:2] = np.where(np.isnan(table[:2]), 0.0, table[:2])
    truth = np.array([0.0, 1.0, *generator.choice([0.0, 1.0, np.nan], 8)])
    groups = rater_groups(["abc"[at % count] for at in range(15)])
    found = disparities(table, groups, truth=truth, truth_name="expert", draws=0, permutations=0)
    assert found.dpd.value == pytest.approx(plain_gap(table, groups.codes, list(range(10))))
    strata = [[i for i in range(10) if truth[i] == label] for label in (0, 1)]
    gaps = [plain_gap(table, groups.codes, stratum) for stratum in strata]
    assert found.eod is not None
    assert found.eod.value == pytest.approx(max(gaps))
    assert found.eod.given == ("truly safe" if gaps[0] >= gaps[1] else "truly unsafe")
    assert found.items + found.items_left_out == 10


def test_the_null_of_both_is_that_of_all_arrangements() -> None:
    """Six raters in two groups of three: 20 arrangements, each by the loops; EOD takes the larger range in each of them."""
    table = np.random.default_rng(3).choice([0.0, 1.0], (8, 6))
    truth = np.array([0.0, 1.0] * 4)
    strata = [list(range(0, 8, 2)), list(range(1, 8, 2))]
    arrangements = [np.isin(np.arange(6), chosen).astype(int) for chosen in itertools.combinations(range(6), 3)]
    both = [max(plain_gap(table, codes, stratum) for stratum in strata) for codes in arrangements]
    all_items = [plain_gap(table, codes, list(range(8))) for codes in arrangements]
    groups = rater_groups(["a"] * 3 + ["b"] * 3, least=3)
    found = disparities(table, groups, truth=truth, truth_name="expert", draws=0, permutations=4_000)
    assert found.eod is not None
    for one, exact in ((found.dpd, all_items), (found.eod, both)):
        assert one.null_mean == pytest.approx(np.mean(exact), rel=0.04)
        assert one.value is not None
        assert one.p == pytest.approx(np.mean([gap >= one.value - 1e-9 for gap in exact]), abs=0.03)
    assert found.eod.null_mean > 1.2 * found.dpd.null_mean  # type: ignore[operator]


def test_half_unsafe_is_not_unsafe() -> None:
    table = np.array([[0.5] * 6 + [0.51] * 6])
    found = disparities(table, HALVES, draws=0, permutations=0)
    assert [share.share for share in found.shares] == [0, 1]
    assert (found.dpd.value, found.dpd.highest, found.dpd.lowest) == (1, "b", "a")
    stricter = disparities(table, HALVES, unsafe_above=0.4, draws=0, permutations=0)
    assert stricter.dpd.value == 0


def test_a_planted_gap_has_an_interval_around_it_and_a_small_p() -> None:
    generator = np.random.default_rng(0)
    groups = rater_groups(["a"] * 20 + ["b"] * 20 + ["c"] * 20)
    chance = np.repeat([0.3, 0.3, 0.6], 20)
    table = (generator.random((100, 60)) < chance).astype(float)
    truth = np.tile([0.0, 1.0], 50)
    found = disparities(table, groups, truth=truth, truth_name="expert", draws=1_000, permutations=299)
    assert found.eod is not None
    for one in (found.dpd, found.eod):
        assert one.value == pytest.approx(0.3, abs=0.06)
        assert one.interval is not None
        assert one.interval.low < 0.3 < one.interval.high
        assert one.p == pytest.approx(1 / 300)
        assert one.null_mean is not None
        assert one.excess == pytest.approx((one.value or 0) - one.null_mean)
        assert one.highest == "c"
    for share, expected in zip(found.shares, (0.3, 0.3, 0.6), strict=True):
        assert share.interval is not None
        assert share.interval.low < expected < share.interval.high
    assert found.truth_name == "expert"


def test_no_gap_lies_inside_its_null() -> None:
    outside = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        lenience = generator.uniform(0.2, 0.6, 24)
        table = (generator.random((40, 24)) < lenience).astype(float)
        found = disparities(table, rater_groups(["a"] * 12 + ["b"] * 12), draws=0, permutations=199, seed=seed)
        assert found.dpd.p is not None
        outside += found.dpd.p < 0.05
    assert outside <= 6  # 2 expected


def test_missing_ratings_and_unrated_items() -> None:
    table = np.random.default_rng(1).choice([0.0, 1.0], (8, 12))
    table[0, :6] = np.nan
    table[1, 2] = np.nan
    found = disparities(table, HALVES, draws=200, permutations=50)
    assert (found.items, found.items_left_out) == (7, 1)
    assert found.dpd.interval is not None


def test_undefined_with_a_reason() -> None:
    table = np.random.default_rng(2).choice([0.0, 1.0], (6, 12))
    single = disparities(table, rater_groups(["a"] * 12), truth=np.ones(6), truth_name="expert")
    assert single.dpd.value is None
    assert single.dpd.reason == "fewer than 2 groups have enough raters"
    assert single.eod is not None
    assert single.eod.value is None
    lonely = disparities(table, HALVES, truth=np.ones(6), truth_name="the majority", draws=0, permutations=0)
    assert lonely.eod is not None
    assert lonely.eod.value is None
    assert lonely.eod.reason == "no item that is truly safe by the majority"
    assert disparities(table, HALVES, draws=0, permutations=0).eod is None
    apart = np.full((2, 12), np.nan)
    apart[0, :6] = apart[1, 6:] = 1.0
    assert disparities(apart, HALVES).dpd.reason == "no item is rated by every group"


def test_bad_input() -> None:
    table = np.zeros((3, 12))
    with pytest.raises(BadInput, match="11 in the groups"):
        disparities(table, rater_groups(["a"] * 11))
    with pytest.raises(BadInput, match="name of its truth"):
        disparities(table, HALVES, truth=np.zeros(3))
    with pytest.raises(BadInput, match="as many true labels"):
        disparities(table, HALVES, truth=np.zeros(2), truth_name="expert")
    with pytest.raises(BadInput, match="not 0, 1 or missing") as error:
        disparities(table, HALVES, truth=[0, 2, 1], truth_name="expert")
    assert error.value.row == 2
