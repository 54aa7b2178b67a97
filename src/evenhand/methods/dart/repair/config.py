"""The settings of a DART repair: one model, of which the command line and Python are views."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from evenhand.methods.dart.drift.config import ExplanationSettings

Protocol = Literal["inductive", "transductive", "both"]
Ablation = Literal[
    "none",
    "distil_only",
    "uniform_weights",
    "random_rows",
    "repair_only",
    "distil_more",
    "predicted_labels",
    "harm_penalty",
]
ABLATIONS: dict[Ablation, str] = {
    "none": "the method itself",
    "distil_only": "no repair",
    "uniform_weights": "every repair row weighs 1",
    "random_rows": "repair rows drawn at random from the audited split instead of the drifted ones, as many",
    "repair_only": "no distillation rows in the repair",
    "distil_more": "further epochs on distillation rows instead of a repair",
    "predicted_labels": "the teacher is given the model's own first labels instead of the right ones",
    "harm_penalty": "one joint training in which a distillation row weighs 1 - penalty x harm of its explanation",
}


class DartConfig(ExplanationSettings):
    """Everything that decides what a DART repair does. Published values are the DART code's unless docs/dart.md says otherwise."""

    heading: ClassVar[str] = "Repair"

    model: str = Field(description="Engine spec of the local model to repair: organism/NAME or hf/ID-or-FOLDER.")
    teacher: str = Field(description="Engine spec of the teacher, or 'scripted' (shipped questions, offline).")
    judge: str = Field(description="Engine spec of the judge, or 'rule' (word lists, offline).")
    second: str | None = Field(
        None, description="A second grader, reported alongside the judge: 'echo', 'rule', or an engine spec."
    )
    grouping: Literal["own", "row", "scenario"] = Field(
        "own",
        description="Split of the cases: own (theirs), row (random rows, as published), scenario (whole scenarios held out).",
    )
    protocol: Protocol = Field(
        "inductive",
        description="Protocol: inductive (audit and repair on val, report on test), transductive (as published, on test), or both.",
    )
    ablation: Ablation = Field("none", description=f"Ablation: {', '.join(ABLATIONS)}.")
    penalty: float = Field(1.0, ge=0, le=1, description="Weight of the harm penalty (ablation harm_penalty).")
    epochs: int = Field(3, ge=1, description="Number of epochs of each training.")
    rate: float = Field(2e-4, gt=0, description="Learning rate of the distillation.")
    repair_rate: float = Field(
        1e-4, gt=0, description="Learning rate of the repair (our choice; the published code keeps 2e-4)."
    )
    batch: int = Field(2, ge=1, description="Rows per forward pass.")
    accumulation: int = Field(8, ge=1, description="Forward passes per optimiser step.")
    rank: int = Field(16, ge=1, description="LoRA rank; LoRA alpha is twice the rank.")
    context: int = Field(
        1024,
        ge=32,
        description="Maximum length of a training sequence, in tokens. The start of the prompt is cut, never the target.",
    )
    launcher: str = Field(
        "",
        description="Command that starts each training in its own processes, for example 'accelerate launch --use_fsdp'.",
    )
    weights: dict[str, str] = Field(
        {}, description="Weights by severity (defaults: minor=1 moderate=2 severe=3 extreme=4)."
    )
    weighting: Literal["loss", "repeat"] = Field(
        "loss", description="Apply weights in the loss, or by repeating rows (repeat, as in the published code)."
    )
    distil_cap: float = Field(
        4.0,
        ge=0,
        description="Maximum number of distillation rows in the repair, as a multiple of its weighted rows; 0 takes all.",
    )
    guard: float = Field(
        0.01, ge=0, le=1, description="Largest loss of validation accuracy; a repair that loses more is rejected."
    )
    max_failed: float = Field(
        0.01, ge=0, le=1, description="Maximum share of failed teacher requests; above it the run stops."
    )

    @model_validator(mode="after")
    def _local(self) -> DartConfig:
        if not self.model.startswith(("organism/", "hf/")):
            raise ValueError(f"only local models can be trained, not {self.model}")
        if "+" in self.model.partition("/")[2]:
            raise ValueError("give a model without an adapter: the repair makes one")
        return self

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that are carried out, one after the other."""
        return ("inductive", "transductive") if self.protocol == "both" else (self.protocol,)
