"""Axes hold their data, end on round numbers and never divide by nothing."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from evenhand.report.blocks import nice_scale

VALUES = st.lists(st.one_of(st.none(), st.floats(-1, 1), st.just(math.nan), st.just(math.inf)), max_size=8)


@given(VALUES)
def test_every_value_and_zero_fall_on_the_axis(values: list[float | None]) -> None:
    scale = nice_scale(values, floor=-1.0, ceiling=1.0, least=0.1)
    for value in [0.0, *(v for v in values if v is not None and math.isfinite(v))]:
        assert scale.low - 1e-9 <= value <= scale.high + 1e-9
        assert 0.0 <= scale.position(value) <= 100.0
    assert scale.high - scale.low >= 0.1 - 1e-9
    assert 2 <= len(scale.ticks) <= 14
    assert any(tick.value == 0 for tick in scale.ticks)


def test_round_ticks() -> None:
    scale = nice_scale([-0.023, 0.434])
    assert [tick.value for tick in scale.ticks] == [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert scale.at(0.2) == "50%"
    assert scale.down(0.2) == "50%"
    assert scale.width(0.0, 0.3) == "50%"


def test_values_beyond_the_axis_are_held_at_its_ends() -> None:
    scale = nice_scale([0.5], floor=0.0, ceiling=1.0)
    assert scale.at(7.0) == "100%"
    assert scale.at(-7.0) == "0%"
