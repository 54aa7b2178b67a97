"""Panels from ratings where some are missing: what a profile lacks must not move it."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.datasets.question_texts import ORDERS
from evenhand.methods.pluralism.rating.answers import Rated
from evenhand.methods.pluralism.rating.panels import axis_panel, profile_panel, ratings_frame
from evenhand.methods.pluralism.rating.plan import SINGLE
from evenhand.records import Rating

LEVELS = (0.3, 0.5, 0.7) * 2
BIAS = {"up": -0.1, "down": 0.1}


def rated(group: str, item: int, order: str) -> Rated:
    """A model that ignores the group and likes the first option; under Woman it refuses the first three texts in one order."""
    key, profile = f"gender={group}", {"gender": group}
    if group == "Woman" and order == "up" and item < 3:
        refused = Rating("m", f"i{item}", key, None, "", "refused", profile, 0, order, None, "I cannot")
        return Rated(refused, SINGLE, "d", None, "drawn letter")
    value = LEVELS[item] + BIAS[order]
    given = Rating("m", f"i{item}", key, value, "unsure", "ok", profile, 0, order, None, "")
    return Rated(given, SINGLE, "d", (1 - value, 0.0, value), "drawn letter")


FRAME = ratings_frame(
    [rated(group, item, order) for group in ("Man", "Woman") for item in range(6) for order in ORDERS]
)


def test_a_profile_does_not_move_by_the_orders_that_it_lacks() -> None:
    panel = profile_panel(FRAME, SINGLE)
    assert panel is not None
    assert panel.raters == ("gender=Man", "gender=Woman")
    assert panel.values[:, 1] == pytest.approx(panel.values[:, 0])
    assert np.ptp(panel.values[:, 0] - LEVELS) == pytest.approx(0, abs=1e-12)


def test_an_order_that_one_group_lacks_is_left_out_of_the_text_for_all_groups() -> None:
    panel = axis_panel(FRAME, "gender")
    assert panel is not None
    assert panel.set_aside == 3
    assert np.isfinite(panel.values).sum(axis=1).tolist() == [2, 2, 2, 4, 4, 4]
    assert (panel.labels == -1).sum() == (~np.isfinite(panel.values)).sum() == 6
    women = np.array(panel.demographics["gender"]) == "Woman"
    assert np.nanmean(panel.values[:, women], axis=1) == pytest.approx(np.nanmean(panel.values[:, ~women], axis=1))
