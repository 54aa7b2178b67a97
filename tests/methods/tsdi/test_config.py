"""Settings that make no sense are refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evenhand.config import checked
from evenhand.errors import BadInput
from evenhand.methods.tsdi.config import TsdiConfig


def test_the_defaults_are_the_documented_ones() -> None:
    config = checked(TsdiConfig, model="organism/aligned")
    assert (config.draws, config.length, config.prompt_lengths) == (1024, 10, (8, 64))
    assert (config.floor, config.target_error, config.gauge) == (-40.0, 0.05, "median")
    assert (config.variant, config.estimator, config.pool, config.alpha) == ("random", "mean_log_ratio", "builtin", 1.0)
    assert all(field.description for field in TsdiConfig.model_fields.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"draws": 1}, "draws: at least 2 contexts are needed for a standard error, not 1"),
        ({"length": 0}, "length: at least 1 position must be measured, not 0"),
        ({"alpha": float("nan")}, "alpha: Input should be a finite number"),
        ({"alpha": float("inf")}, "alpha: Input should be a finite number"),
        ({"alpha": -0.5}, "a negative alpha makes the model refuse more; it needs --allow-negative"),
        ({"floor": float("-inf")}, "floor: Input should be a finite number"),
        ({"prompt_lengths": (9, 8)}, "prompt_lengths: give the shortest and the longest prompt"),
        ({"prompt_lengths": (8,)}, "prompt_lengths: give the shortest and the longest prompt"),
        ({"model": "http://localhost:1/v1#m"}, "is not a local model: an endpoint converts token ids to text and back"),
        ({"reference": "openai/gpt"}, "openai/gpt is not a local model"),
        ({"model": "organism/aligned+tsdi:x"}, "is already corrected; give the model without [+]tsdi:"),
        ({"reference": "organism/aligned"}, "the reference is the model itself, organism/aligned"),
        ({"variant": "B"}, "variant: Input should be"),
        ({"nonsense": 1}, "nonsense: there is no such setting"),
    ],
)
def test_bad_settings_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        checked(TsdiConfig, **{"model": "organism/aligned", **change})


def test_a_negative_alpha_is_allowed_where_it_is_asked_for(config: Callable[..., Any]) -> None:
    assert config(alpha=-0.5, allow_negative=True).alpha == -0.5
