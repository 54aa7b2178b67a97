"""The settings of a DART repair: one model, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evenhand.engines.base import Sampling
from evenhand.methods.dart.drift.config import Rule

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


class DartConfig(BaseModel):
    """Everything that decides what a DART repair does. Published values are the DART code's unless docs/dart.md says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(description="Engine spec of the local model to repair: organism/NAME or hf/ID-or-FOLDER.")
    teacher: str = Field(description="Engine spec of the teacher, or 'scripted' (shipped questions, offline).")
    judge: str = Field(description="Engine spec of the judge, or 'rule' (word lists, offline).")
    second: str | None = Field(
        None, description="A further grader that is told beside the judge: 'echo', 'rule', or an engine spec."
    )
    difference_set: str = Field("shipped", description="Cases: shipped, benchmarks, or names such as D1,N4.")
    data: Path | None = Field(
        None, description="Your own cases (prompt, gold, and id, scenario, split): csv, jsonl or parquet."
    )
    columns: dict[str, str] = Field({}, description="Column mapping, word=COLUMN (--map).")
    grouping: Literal["own", "row", "scenario"] = Field(
        "own", description="The cases' own split, a row split as published, or one with whole scenarios held out."
    )
    protocol: Protocol = Field(
        "inductive",
        description="inductive: audit and repair on val, tell on test. transductive (published): all on test. Or both.",
    )
    ablation: Ablation = Field("none", description=", ".join(ABLATIONS))
    penalty: float = Field(1.0, ge=0, le=1, description="Weight of the harm penalty (ablation harm_penalty).")
    scorers: tuple[str, ...] = Field(
        ("harm-lexicon",), min_length=1, description="Harm scorers: harm-lexicon, or hf/FOLDER-or-ID#LABEL."
    )
    combine: Rule = Field("screen_then_judge", description="screen_then_judge, judge_only, or both.")
    tau: float = Field(0.01, ge=0, lt=1, description="Rise of harm above which a pair is a candidate.")
    limit: int | None = Field(None, ge=1, description="At most so many cases of each split, in whole scenarios.")
    repetitions: int = Field(3, ge=1, le=1000, description="Outputs drawn for each case (one when greedy).")
    temperature: float = Field(0.2, ge=0, description="Softmax temperature of the audited outputs; 0 is greedy.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus mass to sample from.")
    max_tokens: int = Field(256, ge=1, description="Longest output, in the model's tokens.")
    policy: bool = Field(False, description="Add the safety policy to the task's system message.")
    epochs: int = Field(3, ge=1, description="Epochs of each training.")
    rate: float = Field(2e-4, gt=0, description="Learning rate of the distillation.")
    repair_rate: float = Field(
        1e-4, gt=0, description="Learning rate of the repair (chosen; the published code keeps 2e-4)."
    )
    batch: int = Field(2, ge=1, description="Rows in a forward pass.")
    accumulation: int = Field(8, ge=1, description="Forward passes in an optimiser step.")
    rank: int = Field(16, ge=1, description="LoRA rank; alpha is twice that.")
    context: int = Field(
        1024, ge=32, description="Longest training sequence, in tokens; the prompt's start is cut, never the target."
    )
    launcher: str = Field(
        "",
        description="Command that starts trainings in processes of their own, for example 'accelerate launch --use_fsdp'.",
    )
    weights: dict[str, str] = Field(
        {}, description="Weights by severity, minor=1 moderate=2 severe=3 extreme=4 (the defaults)."
    )
    weighting: Literal["loss", "repeat"] = Field(
        "loss", description="Weights in the loss, or by repeating rows (published code)."
    )
    distil_cap: float = Field(
        4.0, ge=0, description="Distillation rows in the repair, as a multiple of its weighted rows; 0 takes all."
    )
    guard: float = Field(0.01, ge=0, le=1, description="The repair is refused where validation accuracy falls by more.")
    max_failed: float = Field(
        0.01, ge=0, le=1, description="Share of the teacher's requests that may fail; more stops the run."
    )
    seed: int = Field(0, ge=0, description="Seed of sampling, training, sides and bootstrap.")
    draws: int = Field(10_000, ge=100, description="Bootstrap draws.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    dtype: str = Field("auto", description="Weights' type while drawing outputs.")
    concurrency: int = Field(8, ge=1, le=1024, description="Requests under way at once (http teacher and judge).")
    base_url: str | None = Field(None, description="Base address for openai/MODEL, for a compatible server.")

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

    @property
    def sampling(self) -> Sampling:
        """How audited outputs are drawn, alike for every model."""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, stop=(), seed=self.seed
        )

    @property
    def draws_per_case(self) -> int:
        """Outputs drawn for each case: one where decoding is greedy."""
        return 1 if self.temperature == 0 else self.repetitions
