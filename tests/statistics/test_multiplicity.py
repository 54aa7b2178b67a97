"""Holm and Benjamini-Hochberg against statsmodels; undefined tests are not counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evenhand.errors import BadInput
from evenhand.statistics.multiplicity import benjamini_hochberg, best_attainable, holm


@settings(max_examples=20, deadline=None)  # the peer takes 60 ms a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_equal_statsmodels(p: list[float]) -> None:
    assert holm(p).values == pytest.approx(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p).values == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_none_stays_and_is_not_counted() -> None:
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust([0.01, None, 0.04])
        assert adjusted.values[1] is None
        assert adjusted.family_size == 2
        assert adjusted.values[0] == pytest.approx(0.02)
    assert holm([None]).values == (None,)
    assert holm([]).family_size == 0


def test_three_against_three_names_can_never_reach_five_percent() -> None:
    assert best_attainable([0.1, 0.1]).values == pytest.approx((0.2, 0.2))
    assert best_attainable([1 / 495, 2 / 12870]).values == pytest.approx((1 / 495, 4 / 12870))


def test_p_outside_its_range() -> None:
    with pytest.raises(BadInput, match="outside 0 to 1"):
        holm([1.2])
