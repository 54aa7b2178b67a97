"""Contrasts: every field, every undefined case with its reason, the invariants, and served responses only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.contrasts import contrast, contrast_family, helpful_contrasts
from evenhand.methods.service.statistics.rates import group_rates
from evenhand.statistics.cells import Cells, cells_from_counts, cells_from_rows


def make(names: tuple[int, ...] = (6, 5, 4), stems: int = 8, seed: int = 0, repetitions: int = 5) -> Cells:
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(names)), names)
    rate = np.clip(0.2 + 0.1 * groups[:, None] + generator.normal(0, 0.1, (groups.size, 1)), 0.02, 0.98)
    values = generator.binomial(repetitions, np.broadcast_to(rate, (groups.size, stems))) / repetitions
    return Cells(values, np.full(values.shape, repetitions), groups)


def test_one_contrast_in_full() -> None:
    cells = make()
    found = contrast(cells, 1, 0, draws=2000)
    assert found.difference == pytest.approx(cells.of(1).mean() - cells.of(0).mean())
    assert found.ratio == pytest.approx(cells.of(1).mean() / cells.of(0).mean())
    assert (found.names, found.responses, found.stems, found.stems_dropped) == ((5, 6), (200, 240), 8, 0)
    assert found.reasons == {}
    assert found.test is not None
    assert found.test.total == 462
    for interval in (found.interval, found.interval_all_random, found.percentile, found.wald):
        assert interval is not None
        assert interval.low < found.difference < interval.high
        assert interval.level == 0.95
    for estimate, interval in ((found.ratio, found.ratio_interval), (found.odds_ratio, found.odds_ratio_interval)):
        assert estimate is not None
        assert interval is not None
        assert 0 < interval.low < estimate < interval.high
    assert found.standard_error is not None
    assert found.minimum_detectable is not None
    assert found.minimum_detectable > 2.8 * found.standard_error


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_antisymmetric_under_swapping_and_unmoved_by_relabelling(seed: int) -> None:
    cells = make(names=(4, 5), seed=seed)
    there, back = contrast(cells, 1, 0, draws=200), contrast(cells, 0, 1, draws=200)
    assert there.difference is not None
    assert back.difference == pytest.approx(-there.difference)
    for one, other in ((there.interval, back.interval), (there.percentile, back.percentile)):
        assert one is not None
        assert other is not None
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert there.test is not None
    assert back.test is not None
    assert there.test.count == back.test.count
    order = np.random.default_rng(seed).permutation(len(cells.groups))
    shuffled = Cells(cells.values[order], cells.counts[order], cells.groups[order] * 3 + 2)
    again = contrast(shuffled, 5, 2, draws=200)
    assert again.difference == pytest.approx(there.difference)
    assert again.test is not None
    assert again.test.count == there.test.count
    assert again.standard_error == pytest.approx(there.standard_error)


def test_family_adjusts_states_its_size_and_finds_the_reference() -> None:
    family = contrast_family(make(), 0, draws=500)
    assert family.family_size == 2
    assert [found.group for found in family.contrasts] == [1, 2]
    assert all(found.p_holm is not None and found.test is not None for found in family.contrasts)
    assert all(found.p_holm >= found.test.p for found in family.contrasts)  # type: ignore[operator,union-attr]
    assert family.omnibus is not None
    assert family.draws is not None
    assert family.draws.rates.shape == (500, 3)
    assert [rate.group for rate in family.rates] == [0, 1, 2]
    with pytest.raises(BadInput, match="Reference group 9 has no names"):
        contrast_family(make(), 9)
    with pytest.raises(BadInput, match="Group 9 has no names"):
        contrast(make(), 9, 0)


def test_all_zero_and_all_one_outcomes() -> None:
    for constant in (0.0, 1.0):
        cells = Cells(np.full((8, 4), constant), np.full((8, 4), 3), np.repeat([0, 1], 4))
        found = contrast_family(cells, 0, draws=100).contrasts[0]
        assert found.difference == 0
        assert found.odds_ratio is None
        assert found.test is not None
        assert found.test.p == found.p_holm == 1
        assert found.interval is None
        assert found.reasons is not None
        assert found.reasons["odds_ratio"] == "every response has the same outcome"
        assert "no variation" in found.reasons["interval"]
        assert found.ratio == (None if constant == 0 else 1)


def test_reference_rate_zero_makes_the_ratio_null_and_corrects_the_odds() -> None:
    cells = cells_from_counts([2, 3, 0, 0], [10, 10, 10, 10], [1, 1, 0, 0])
    found = contrast(cells, 1, 0, draws=100)
    assert found.ratio is None
    assert found.reasons is not None
    assert found.reasons["ratio"] == "the reference rate is 0"
    assert found.odds_ratio == pytest.approx((5.5 / 15.5) / (0.5 / 20.5))
    assert found.odds_ratio_interval is None
    assert "0.5 was added" in found.reasons["odds_ratio_interval"]
    back = contrast(cells, 0, 1, draws=100)
    assert back.ratio == 0
    assert back.reasons is not None
    assert "ratio_interval" in back.reasons


def test_a_group_of_one_name_is_descriptive_and_not_in_the_family() -> None:
    family = contrast_family(make(names=(4, 1, 4)), 0, draws=200)
    single, other = family.contrasts
    assert family.family_size == 1
    assert single.test is None
    assert single.p_holm is None
    assert single.reasons is not None
    assert single.reasons["test"] == "no name permutation: a group has fewer than 2 names"
    assert "names" in single.reasons
    assert single.interval is not None
    assert other.p_holm == other.test.p  # type: ignore[union-attr]


def test_one_name_and_one_stem_each_leave_nothing_to_resample() -> None:
    found = contrast(cells_from_counts([1, 2], [4, 4], [0, 1]), 1, 0)
    assert found.difference == 0.25
    assert found.interval is None
    assert found.percentile is None
    assert found.reasons is not None
    assert "nothing to resample" in found.reasons["interval"]


def test_one_stem_resamples_names_only() -> None:
    found = contrast(make(stems=1), 1, 0, draws=300)
    assert found.interval is not None
    assert found.percentile is not None
    assert found.interval.method == "t over names"
    assert found.percentile.method == "bootstrap over names, percentile"


def test_three_against_three_names_say_what_they_could_reach() -> None:
    found = contrast_family(make(names=(3, 3, 3)), 0, draws=100).contrasts[0]
    assert found.test is not None
    assert found.test.smallest_p == 0.1
    assert found.best_holm == pytest.approx(0.2)


def test_a_dominating_name_is_held_fixed_and_both_intervals_are_given() -> None:
    cells = make(names=(8, 8), stems=24, seed=1)
    cells.values[9] = 1.0
    found = contrast(cells, 1, 0, draws=300)
    assert found.fixed == (9,)
    assert found.interval is not None
    assert found.interval_all_random is not None
    assert "1 dominating name held fixed" in found.interval.method
    assert found.interval.width < 0.7 * found.interval_all_random.width
    rate = group_rates(cells)[1]
    assert rate.fixed == (9,)
    assert rate.interval is not None
    assert "held fixed" in rate.interval.method


def test_missing_stems_are_intersected_per_contrast() -> None:
    cells = make()
    cells.values[cells.groups == 2, 0] = np.nan
    cells.counts[cells.groups == 2, 0] = 0
    family = contrast_family(cells, 0, draws=200)
    first, second = family.contrasts
    assert (first.stems, first.stems_dropped) == (8, 0)
    assert (second.stems, second.stems_dropped) == (7, 1)
    assert second.reference_rate == pytest.approx(cells.values[cells.groups == 0, 1:].mean())
    assert family.draws is not None


def test_groups_without_a_common_stem_are_undefined() -> None:
    values = np.array([[1.0, np.nan], [0.0, np.nan], [np.nan, 1.0], [np.nan, 0.0]])
    family = contrast_family(Cells(values, np.ones((4, 2), dtype=np.int64), np.array([0, 0, 1, 1])), 0)
    found = family.contrasts[0]
    assert found.difference is None
    assert found.reasons == {"difference": "no cell on a stem that both groups have"}
    assert found.stems_dropped == 2
    assert family.draws is None
    assert family.omnibus is None


def test_a_group_without_any_cell_keeps_its_row() -> None:
    cells = make()
    cells.values[cells.groups == 2] = np.nan
    cells.counts[cells.groups == 2] = 0
    family = contrast_family(cells, 0, draws=100)
    assert family.rates[2].rate is None
    assert family.contrasts[1].difference is None
    assert family.contrasts[0].difference is not None


def test_measures_have_no_odds_no_wilson_and_no_bounds() -> None:
    generator = np.random.default_rng(0)
    cells = Cells(generator.normal(20, 5, (8, 6)), np.ones((8, 6), dtype=np.int64), np.repeat([0, 1], 4), binary=False)
    found = contrast(cells, 1, 0, draws=200)
    assert found.odds_ratio is None
    assert found.wald is None
    assert found.ratio is not None
    assert found.reasons == {"odds_ratio": "the outcome is a measure, not 0 or 1"}
    assert found.interval is not None
    assert group_rates(cells)[0].wilson is None
    negative = Cells(cells.values - 100, cells.counts, cells.groups, binary=False)
    assert contrast(negative, 1, 0, draws=100).reasons["ratio"] == "a ratio needs positive rates"  # type: ignore[index]


def nested(values: dict[int, list[list[float]]]) -> Cells:
    """Prompts of one stem each: for every group, the outcomes in each stem."""
    rows = [(group, stem, y) for group, stems in values.items() for stem, ys in enumerate(stems) for y in ys]
    groups, stems, outcome = zip(*rows, strict=True)
    return cells_from_rows(range(len(rows)), stems, outcome, groups)


def test_prompts_nested_in_stems_are_permuted_within_their_stem_only() -> None:
    cells = nested({0: [[0.0]] * 6, 1: [[1.0]] * 6})
    assert cells.nested
    found = contrast_family(cells, 0, draws=200).contrasts[0]
    assert found.difference == 1
    assert found.names == (6, 6)
    assert found.test is not None
    assert (found.test.count, found.test.total, found.test.exact) == (2, 64, True)
    assert found.test.smallest_p == 2 / 64


def test_nested_prompts_get_an_interval_over_stems() -> None:
    rng = np.random.default_rng(4)
    shares = rng.random(10)
    cells = nested({g: [[float(rng.random() < p) for _ in range(3)] for p in shares] for g in (0, 1, 2)})
    family = contrast_family(cells, 0, draws=200)
    for found in family.contrasts:
        rates = [np.nanmean(cells.of(code), axis=0) for code in (found.group, 0)]
        paired = stats.ttest_rel(*rates).confidence_interval(0.95)
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((paired.low, paired.high))
        assert found.fixed == ()
    assert family.omnibus is not None
    assert "within stems" in family.omnibus.method
    assert [rate.names for rate in family.rates] == [30, 30, 30]


def test_crossed_names_are_not_nested() -> None:
    assert not make().nested
    assert not make(stems=1).nested


def test_refusals_on_hard_stems_do_not_look_like_shorter_answers() -> None:
    # Answers take 10 words on easy stems (0-5) and 50 on hard ones (6, 7), for everyone. Group 1 is refused on hard stems.
    names, stems, reps = (a.ravel() for a in np.meshgrid(range(8), range(8), range(3), indexing="ij"))
    groups = np.repeat([0, 1], 4)
    words = np.where(stems >= 6, 50.0, 10.0) + (names + stems + reps) % 3
    served = ~((groups[names] == 1) & (stems >= 6))
    found = helpful_contrasts(names, stems, words, served, groups, 0, draws=500)
    plain = words[served & (groups[names] == 1)].mean() - words[served & (groups[names] == 0)].mean()
    assert plain < -9
    contrast = found.family.contrasts[0]
    assert contrast.difference == pytest.approx(0, abs=1e-9)
    assert (contrast.stems, contrast.stems_dropped) == (6, 2)
    assert contrast.test is not None
    assert contrast.test.p > 0.5
    assert found.served == {0: (96, 96), 1: (72, 96)}
    assert found.unmeasured == 0
    assert contrast.odds_ratio is None


def test_a_real_difference_is_found_with_its_interval() -> None:
    generator = np.random.default_rng(0)
    names, stems, _ = (a.ravel() for a in np.meshgrid(range(16), range(12), range(3), indexing="ij"))
    groups = np.repeat([0, 1], 8)
    words = 30 + generator.normal(0, 5, 12)[stems] + generator.normal(0, 3, names.size) - 6 * groups[names]
    words[5] = np.nan
    served = generator.random(names.size) < 0.7
    served[5] = True
    found = helpful_contrasts(names, stems, words, served, groups, 0, draws=500)
    contrast = found.family.contrasts[0]
    assert contrast.interval is not None
    assert contrast.interval.low < -6 < contrast.interval.high < 0
    assert contrast.test is not None
    assert contrast.test.p < 0.001
    assert found.unmeasured == 1


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="no served response"):
        helpful_contrasts([0, 1], [0, 0], [1.0, 2.0], np.array([False, True]), [0, 1], 0)
    with pytest.raises(BadInput, match="unequal length"):
        helpful_contrasts([0, 1], [0, 0], [1.0], np.array([True]), [0, 1], 0)
