"""What every settings model has: descriptions, and no room for unknown or infinite values."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import evenhand
from evenhand.errors import BadInput
from evenhand.settings import DecodingSettings, Settings

ROOT = Path(evenhand.__file__).parent


def settings_models() -> list[type[Settings]]:
    for file in ROOT.rglob("*config.py"):
        import_module(".".join(("evenhand", *file.relative_to(ROOT).with_suffix("").parts)))

    def below(model: type[Settings]) -> Iterator[type[Settings]]:
        for kind in model.__subclasses__():
            yield kind
            yield from below(kind)

    return [model for model in dict.fromkeys(below(Settings)) if model.__module__.startswith("evenhand.")]


def test_every_setting_is_described_in_a_sentence() -> None:
    models = settings_models()
    assert len(models) >= 20
    for model in models:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
                continue
            described = field.description or ""
            assert described.endswith("."), (model.__name__, name)
            assert described[:1].isupper(), described


def test_models_are_frozen_and_refuse_unknown_and_infinite_values() -> None:
    for model in settings_models():
        assert model.model_config.get("frozen"), model
        assert model.model_config.get("extra") == "forbid", model
        assert model.model_config.get("allow_inf_nan") is False, model


def test_greedy_decoding_draws_one_response() -> None:
    assert DecodingSettings(repetitions=4).draws_per_item == 4
    assert DecodingSettings(repetitions=4, temperature=0).draws_per_item == 1


def test_a_wrong_value_of_a_shared_field_is_named() -> None:
    from evenhand.config import checked

    with pytest.raises(BadInput, match="top_p: Input should be less than or equal to 1"):
        checked(DecodingSettings, top_p=2.0)
