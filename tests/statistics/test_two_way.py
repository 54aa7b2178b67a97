"""Bootstrap weights of items and raters, and the checks of rating and label tables."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.statistics.two_way import label_table, rating_table, resampled_indices, two_way_weights


def test_draws_do_not_depend_on_the_chunk() -> None:
    whole = list(two_way_weights(11, 7, resample="both", draws=9, seed=1))
    parts = list(two_way_weights(11, 7, resample="both", draws=9, seed=1, width=2_000_000))
    assert len(whole) == 1
    assert len(parts) == 5
    for side in (0, 1):
        assert np.array_equal(whole[0][side], np.concatenate([part[side] for part in parts]))
        assert (whole[0][side].sum(axis=1) == (11, 7)[side]).all()


@pytest.mark.parametrize("unit", ["both", "items", "raters"])
def test_weights_count_the_indices(unit: str) -> None:
    (weights,) = two_way_weights(6, 6, resample=unit, draws=5, seed=3)  # type: ignore[arg-type]
    drawn = resampled_indices(6, 6, unit, 5, 3)  # type: ignore[arg-type]
    for at, (items, raters) in enumerate(drawn):
        assert np.array_equal(weights[0][at], np.bincount(items, minlength=6))
        assert np.array_equal(weights[1][at], np.bincount(raters, minlength=6))
    if unit == "both":
        assert not np.array_equal(weights[0], weights[1])  # as many raters as items, yet other draws
    else:
        assert (weights[1 if unit == "items" else 0] == 1).all()


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="at least one draw"):
        next(two_way_weights(2, 2, resample="both", draws=0, seed=0))
    with pytest.raises(BadInput, match="an item and a rater"):
        next(two_way_weights(0, 2, resample="both", draws=1, seed=0))
    with pytest.raises(BadInput, match="resampled as"):
        next(resampled_indices(2, 2, "cells", 1, 0))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="table, got the shape"):
        rating_table([[[1.0]]])
    with pytest.raises(BadInput, match="table, got the shape"):
        label_table([0, 1])
    with pytest.raises(BadInput, match="outside -1 to 1") as error:
        label_table([[0, 1], [0, -2]])
    assert error.value.row == 2
    assert label_table(np.zeros((0, 0)))[1] == 0
