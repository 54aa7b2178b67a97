"""Groups, suppression, intersections and shuffles of raters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import (
    intersect,
    intersection_name,
    one_hot,
    rater_groups,
    shuffled_codes,
)


def test_small_excluded_and_missing_groups_are_counted_not_merged() -> None:
    values = ["White"] * 6 + ["Asian"] * 5 + ["Black"] * 4 + ["Other"] * 7 + [None, " "]
    found = rater_groups(values)
    assert found.names == ("Asian", "White")
    assert found.sizes == (5, 6)
    assert found.codes.tolist() == [1] * 6 + [0] * 5 + [-1] * 13
    assert found.known.sum() == 15
    assert dict(found.suppressed) == {"Black": 4}
    assert dict(found.left_out) == {"Other": 7, "missing": 2}


@given(st.lists(st.sampled_from(["a", "b", "c", "Other", None]), max_size=40), st.integers(1, 6))
def test_every_rater_is_somewhere(values: list[str | None], least: int) -> None:
    found = rater_groups(values, least=least)
    counted = sum(found.sizes) + sum(found.suppressed.values()) + sum(found.left_out.values())
    assert counted == len(values)
    assert all(size >= least for size in found.sizes)
    assert all((found.codes == code).sum() == size for code, size in enumerate(found.sizes))


def test_an_intersection_needs_every_value() -> None:
    demographics = {"race": ["White", "Asian", "Other", None], "gender": ["Man", "Woman", "Man", "Man"]}
    assert intersect(demographics, ("race", "gender")) == ("White, Man", "Asian, Woman", None, None)
    assert intersection_name(("race", "gender")) == "race x gender"
    with pytest.raises(BadInput, match="'age'"):
        intersect(demographics, ("race", "age"))
    with pytest.raises(BadInput, match="two different axes"):
        intersect(demographics, ("race", "race"))
    with pytest.raises(BadInput, match="unequal"):
        intersect({"race": ["White"], "gender": []}, ("race", "gender"))


def test_a_shuffle_keeps_sizes_strata_and_outsiders() -> None:
    codes = np.array([0, 0, 1, -1, 1, 1, 0, -1, 1])
    strata = ["x", "x", "x", "x", "y", "y", "y", "y", "y"]
    drawn = np.concatenate(list(shuffled_codes(codes, draws=200, seed=0, chunk=7, within=strata)))
    assert drawn.shape == (200, 9)
    assert (drawn[:, [3, 7]] == -1).all()
    assert (np.sort(drawn[:, :3], axis=1) == [0, 0, 1]).all()
    assert (np.sort(drawn[:, [4, 5, 6, 8]], axis=1) == [0, 1, 1, 1]).all()
    assert len(np.unique(drawn, axis=0)) == 3 * 4
    whole = next(shuffled_codes(codes, draws=200, seed=0, chunk=200, within=strata))
    assert np.array_equal(whole, drawn)


def test_without_strata_every_arrangement_is_as_likely() -> None:
    drawn = next(shuffled_codes([0, 0, 1, 1], draws=6_000, seed=1, chunk=6_000))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert counts.size == 6
    assert counts == pytest.approx(1_000, abs=150)


def test_membership() -> None:
    found = one_hot(np.array([[0, 1, -1], [1, 1, 0]]), 2)
    assert found.shape == (3, 2, 2)
    assert found[:, :, 0].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert found[:, :, 1].tolist() == [[0, 1], [0, 1], [1, 0]]


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="not a text") as error:
        rater_groups(["a", 3])  # type: ignore[list-item]
    assert error.value.row == 2
    with pytest.raises(BadInput, match="at least one draw"):
        next(shuffled_codes([0, 1], draws=0, seed=0, chunk=1))
    with pytest.raises(BadInput, match="as many strata"):
        next(shuffled_codes([0, 1], draws=1, seed=0, chunk=1, within=["x"]))
