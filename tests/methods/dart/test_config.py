"""The settings of a DART repair: published defaults, and what is refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from evenhand.engines.base import Sampling
from evenhand.methods.dart.config import ABLATIONS, Ablation, DartConfig
from evenhand.methods.dart.repair.train import TrainPlan


def config(**given: Any) -> DartConfig:
    return DartConfig(**{"model": "organism/aligned", "teacher": "scripted", "judge": "rule", **given})


def test_the_published_values_are_the_defaults() -> None:
    made = config()
    assert made.sampling == Sampling(temperature=0.2, top_p=0.9, max_tokens=256, stop=(), seed=0)
    assert (made.epochs, made.rate, made.batch, made.accumulation, made.rank, made.context) == (3, 2e-4, 2, 8, 16, 1024)
    assert (made.tau, made.combine, made.policy) == (0.01, "screen_then_judge", False)
    assert made.weights == {}


def test_the_chosen_values_are_those_of_the_specification() -> None:
    made = config()
    assert (made.repair_rate, made.distil_cap, made.guard) == (1e-4, 4.0, 0.01)
    assert (made.protocol, made.weighting, made.ablation) == ("inductive", "loss", "none")


def test_the_training_plan_has_the_same_defaults() -> None:
    made, plan = config(), TrainPlan()
    assert (plan.epochs, plan.rate, plan.batch, plan.accumulation) == (
        made.epochs,
        made.rate,
        made.batch,
        made.accumulation,
    )
    assert (plan.rank, plan.alpha, plan.max_tokens) == (made.rank, 2 * made.rank, made.context)
    assert (plan.dropout, plan.warmup, plan.weight_decay, plan.max_norm) == (0.05, 0.03, 0.0, 1.0)
    assert {name.removesuffix("_proj") for name in plan.targets} == {"q", "k", "v", "o", "gate", "up", "down"}


def test_both_protocols_are_two() -> None:
    assert config().protocols == ("inductive",)
    assert config(protocol="transductive").protocols == ("transductive",)
    assert config(protocol="both").protocols == ("inductive", "transductive")


def test_greedy_decoding_draws_once() -> None:
    assert config(repetitions=5).draws_per_item == 5
    assert config(repetitions=5, temperature=0).draws_per_item == 1


def test_every_ablation_is_explained() -> None:
    assert set(ABLATIONS) == set(get_args(Ablation))
    assert all(ABLATIONS.values())
    assert all(config(ablation=name).ablation == name for name in ABLATIONS)


@pytest.mark.parametrize("model", ["organism/base", "hf/some/model", "hf//folder/of/a/model"])
def test_local_models_are_taken(model: str) -> None:
    assert config(model=model).model == model


@pytest.mark.parametrize("model", ["openai/gpt", "anthropic/x", "aligned", ""])
def test_models_that_cannot_be_trained_are_refused(model: str) -> None:
    with pytest.raises(ValidationError, match="only local models can be trained"):
        config(model=model)


@pytest.mark.parametrize("model", ["organism/base+/a/b", "hf/a/b+c"])
def test_a_model_with_an_adapter_is_refused(model: str) -> None:
    with pytest.raises(ValidationError, match="without an adapter"):
        config(model=model)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 0),
        ("rate", -1e-4),
        ("repair_rate", 0),
        ("rate", float("nan")),
        ("epochs", 0),
        ("batch", 0),
        ("accumulation", 0),
        ("rank", 0),
        ("context", 31),
        ("tau", -0.01),
        ("tau", 1),
        ("penalty", 1.5),
        ("guard", -0.1),
        ("distil_cap", -1),
        ("repetitions", 0),
        ("temperature", -0.1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("max_tokens", 0),
        ("limit", 0),
        ("seed", -1),
        ("draws", 99),
        ("concurrency", 0),
        ("scorers", ()),
        ("protocol", "neither"),
        ("ablation", "all"),
        ("combine", "any"),
        ("weighting", "both"),
        ("grouping", "random"),
        ("unknown", 1),
    ],
)
def test_values_out_of_range_are_told_by_their_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**{name: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [name]


@pytest.mark.parametrize("name", ["model", "teacher", "judge"])
def test_model_teacher_and_judge_must_be_named(name: str) -> None:
    given = {"model": "organism/aligned", "teacher": "scripted", "judge": "rule"}
    del given[name]
    with pytest.raises(ValidationError, match=name):
        DartConfig(**given)


def test_settings_are_frozen_and_survive_json() -> None:
    made = config(weights={"minor": "2"}, scorers=("harm-lexicon", "hf/x#toxic"), limit=4)
    with pytest.raises(ValidationError, match="frozen"):
        made.seed = 3  # type: ignore[misc]
    assert DartConfig.model_validate_json(made.model_dump_json()) == made


def test_every_setting_tells_what_it_is() -> None:
    assert all(field.description for field in DartConfig.model_fields.values())
