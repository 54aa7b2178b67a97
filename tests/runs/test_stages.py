"""Which model is the reference of which: organisms know their family, other models only what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.organisms.planted import PARENT
from evenhand.runs.stages import FAMILY_STAGES, ORGANISM_BETA, family_and_stage, with_organism_stages
from tools.organisms.train import BETA


def test_an_organism_brings_its_family() -> None:
    config = with_organism_stages(make_config())
    assert config.stages == {
        "base": "organism/base", "sft": "organism/sft", "dpo": "organism/dpo", "sft-dpo": "organism/aligned"
    }  # fmt: skip
    assert config.beta == ORGANISM_BETA == BETA
    assert with_organism_stages(make_config(beta=0.1)).beta == 0.1


def test_families_follow_the_recipe() -> None:
    for organism, stages in FAMILY_STAGES.items():
        assert organism in stages.values()
        for stage, name in stages.items():
            parent = PARENT.get(name)  # type: ignore[call-overload]
            reference = {"sft": "base", "dpo": "base", "sft-dpo": "sft"}.get(stage)
            assert parent == (stages[reference] if reference else None)


def test_several_organisms_are_several_families() -> None:
    config = with_organism_stages(make_config(models=("organism/aligned", "organism/even")))
    assert config.stages["even/sft"] == "organism/even_sft"
    assert config.stages["aligned/sft-dpo"] == "organism/aligned"
    assert family_and_stage("even/sft") == ("even", "sft")
    assert family_and_stage("sft-dpo") == ("", "sft-dpo")


@pytest.mark.parametrize(
    "settings",
    [
        {"models": ("hf/some/model",)},
        {"models": ("organism/aligned", "hf/some/model")},
        {"models": ("organism/base",)},
        {"reference": "organism/base"},
        {"stages": {"base": "organism/base", "dpo": "organism/dpo"}},
        {"labels": Path("labels.csv")},
    ],
)
def test_nothing_is_filled_in_where_it_is_not_known(settings: dict[str, object]) -> None:
    config = make_config(**settings)
    assert with_organism_stages(config) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": {"rlhf": "x"}}, "a stage is base, sft, dpo or sft-dpo"),
        ({"stages": {"base": "x"}, "reference": "y"}, "give stages or a reference, not both"),
        ({"beta": 0}, "beta: Input should be greater than 0"),
        ({"tau": -1}, "tau: Input should be greater than 0"),
        ({"scope": ("words",)}, "scope"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_config(**settings)
