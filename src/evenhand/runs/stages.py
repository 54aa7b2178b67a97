"""The stages of a model family: which model came from which, and so which one is the reference of which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evenhand.config import AuditConfig
from evenhand.runs.respond import Configuration

if TYPE_CHECKING:
    from evenhand.runs.method import Context


STAGES = ("base", "sft", "dpo", "sft-dpo")
REFERENCES: Mapping[str, str] = {"sft": "base", "dpo": "base", "sft-dpo": "sft"}
"""The stage that each stage was tuned from, and so its reference."""
TOTAL_SHIFT = (
    "{policy} was tuned from another model than {reference}: what is shown is the total shift over several stages, not a DPO "
    "reward. Name the model it was tuned from."
)

ORGANISM_BETA = 0.5
"""The beta that the preference-tuned organisms were trained with."""

FAMILY_STAGES: Mapping[str, Mapping[str, str]] = {
    "sft": {"base": "base", "sft": "sft"},
    "dpo": {"base": "base", "dpo": "dpo"},
    "aligned": {"base": "base", "sft": "sft", "dpo": "dpo", "sft-dpo": "aligned"},
    "even_sft": {"base": "base", "sft": "even_sft"},
    "even": {"base": "base", "sft": "even_sft", "sft-dpo": "even"},
}
"""For each organism, the stages that led to it."""

SAME = "{policy} is its own reference: every margin is zero and says nothing."


def not_asked_for(config: AuditConfig, audit: str) -> str:
    """Why an audit with its own texts is left out if the user brings texts for another audit; an empty text if it is not."""
    option = next(iter(config.own_prompts), "")
    return (
        f"--{option} is given for another audit; ask for this one with --only {audit}"
        if option and audit not in config.only
        else ""
    )


def family_and_stage(key: str) -> tuple[str, str]:
    """``"pythia/sft-dpo"`` -> ``("pythia", "sft-dpo")``; the family is empty by default."""
    family, _, stage = key.rpartition("/")
    return family, stage


def with_organism_stages(config: AuditConfig) -> AuditConfig:
    """Organisms know where they come from: with neither stages nor a reference given, their own family's are filled in.

    Anything else is returned as it is: where a model of your own comes from, only you can say.
    """
    if config.stages or config.reference or config.responses or config.labels:
        return config
    names = [spec.partition("/")[2] for spec in config.models if spec.startswith("organism/")]
    organisms = [name for name in names if name in FAMILY_STAGES]
    if len(names) < len(config.models) or not organisms:
        return config
    several = len(organisms) > 1
    stages = {
        (f"{name}/{stage}" if several else stage): f"organism/{organism}"
        for name in organisms
        for stage, organism in FAMILY_STAGES[name].items()
    }
    return config.model_copy(update={"stages": stages, "beta": config.beta or ORGANISM_BETA})


@dataclass(frozen=True, slots=True)
class Step:
    """A model and the one that it is compared with, by label.

    ``kind`` says what their log-ratio is: a ``reward`` of preference tuning, a ``pseudo-reward`` (supervised fine-tuning has no
    reward of its own, and of a plain ``--reference`` without beta it is not known), or a ``total shift`` over several stages.
    ``warning`` says what is odd about the pair.
    """

    policy: str
    reference: str
    stage: str
    family: str
    kind: Literal["reward", "pseudo-reward", "total shift"]
    warning: str = ""

    @property
    def is_total(self) -> bool:
        """Whether it is reported together with the stages that make it up. A total shift that was requested alone is not."""
        return self.kind == "total shift" and bool(self.stage)


def models_of(context: Context) -> list[Configuration]:
    """Every model once, without a system prompt: stages in their order, then the reference, then the other configurations."""
    config = context.config
    ordered = sorted(config.stages, key=lambda key: ("base", "sft", "dpo", "sft-dpo").index(family_and_stage(key)[1]))
    engines = [context.open(config.stages[key]) for key in ordered]
    engines += [context.open(config.reference)] if config.reference else []
    engines += [configuration.engine for configuration in context.configurations]
    return [Configuration(label, engine) for label, engine in {engine.spec: engine for engine in engines}.items()]


def steps_of(context: Context) -> list[Step]:
    """What is compared with what: each stage with the model it was tuned from, and SFT+DPO with the base as well."""
    config = context.config
    if config.reference:
        reference = context.open(config.reference).spec
        policies = dict.fromkeys(item.engine.spec for item in context.configurations)
        return [_given(policy, reference, config.beta) for policy in policies]
    label = {key: context.open(spec).spec for key, spec in config.stages.items()}
    steps = []
    for key, policy in label.items():
        family, stage = family_and_stage(key)
        begin = f"{family}/" if family else ""
        reference = label.get(begin + REFERENCES.get(stage, ""), "")
        if reference:
            steps.append(Step(policy, reference, stage, family, "pseudo-reward" if stage == "sft" else "reward"))
        if stage == "sft-dpo" and f"{begin}base" in label:
            steps.append(Step(policy, label[f"{begin}base"], stage, family, "total shift"))
    return list({(step.policy, step.reference): step for step in steps}.values())


def _given(policy: str, reference: str, beta: float | None) -> Step:
    """A pair named by the user. Organisms, and checkpoints whose names state their stage, are checked against their origin."""
    if policy == reference:
        return Step(policy, reference, "", "", "pseudo-reward", SAME.format(policy=policy))
    origin = _origin(policy)
    if origin is not None and not reference.endswith(origin):
        return Step(policy, reference, "", "", "total shift", TOTAL_SHIFT.format(policy=policy, reference=reference))
    return Step(policy, reference, "", "", "reward" if beta else "pseudo-reward")


def _origin(policy: str) -> str | None:
    """What a model was tuned from, if its name shows it: an organism's parent, or ``sft`` in place of ``sft-dpo``."""
    if policy.startswith("organism/"):
        stages = FAMILY_STAGES.get(policy.partition("/")[2], {})
        stage_of_policy = next((stage for stage, name in stages.items() if policy == f"organism/{name}"), "")
        return f"organism/{stages[REFERENCES[stage_of_policy]]}" if stage_of_policy in REFERENCES else None
    name = policy.rpartition("/")[2]
    return name.replace("sft-dpo", "sft") if "sft-dpo" in name else None
