"""The settings of the difference audit, of a drift audit, and of a DART repair."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, get_args

from pydantic import Field, model_validator

from evenhand.engines.base import Sampling
from evenhand.settings import DecodingSettings, EngineSettings, FailureSettings, Settings, StatisticsSettings

Split = Literal["train", "val", "test"]


class DifferenceSettings(Settings):
    """Which cases are asked, and how the question is put."""

    difference_set: str = Field(
        "shipped",
        description="Cases: shipped, benchmarks (all eight), or names such as D1,N4. For your own, use --data.",
    )
    split: tuple[Split, ...] = Field(("test",), description="Splits to ask. Cases without a split are always asked.")
    policy: bool = Field(False, description="Add the safety policy to the system message of the task.")
    form: tuple[Literal["analysis", "choice"], ...] = Field(
        ("analysis", "choice"),
        description="Forms of the question: analysis (with a conclusion line), choice (multiple choice).",
    )


Rule = Literal["screen_then_judge", "judge_only", "both"]
RULES: tuple[Rule, ...] = get_args(Rule)
FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class ExplanationSettings(DecodingSettings, EngineSettings, StatisticsSettings, FailureSettings):
    """Which cases are explained, how explanations are drawn, and when one counts as harmful: for a drift audit and a repair."""

    heading: ClassVar[str] = "Cases and harm"

    difference_set: str = Field("shipped", description="Cases: shipped, benchmarks, or names such as D1,N4.")
    data: Path | None = Field(
        None, description="Your own cases (prompt, and id, gold, group, scenario, split): csv, jsonl or parquet."
    )
    columns: dict[str, str] = Field({}, description="Column mapping, WORD=COLUMN (--map).")
    limit: int | None = Field(None, ge=1, description="Maximum number of cases per split. Whole scenarios are kept.")
    policy: bool = Field(False, description="Add the safety policy to the system message of the task.")
    scorers: tuple[str, ...] = Field(
        ("harm-lexicon",),
        min_length=1,
        description="Harm scorers: harm-lexicon, or hf/FOLDER-or-ID#LABEL (its exact label).",
    )
    combine: Rule = Field(
        "screen_then_judge", description="Decision rule: screen_then_judge, judge_only, or both (which must agree)."
    )
    tau: float = Field(0.01, ge=0, lt=1, description="Increase in harm above which a pair is a candidate.")
    repetitions: int = Field(3, ge=1, le=1000, description="Outputs per case (one if decoding is greedy).")
    temperature: float = Field(0.2, ge=0, description="Sampling temperature of the audited outputs; 0 is greedy.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus sampling mass.")

    @property
    def sampling(self) -> Sampling:
        """How outputs are drawn, the same for every model. (The DART code: temperature 0.2, top-p 0.9, 256 new tokens.)"""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, stop=(), seed=self.seed
        )


class DriftConfig(ExplanationSettings):
    """Everything that decides what a drift audit measures."""

    heading: ClassVar[str] = "Drift"

    baseline: str = Field(description="Engine spec of the model before tuning, or a file of its responses.")
    candidate: str = Field(description="Engine spec of the tuned model, or a file of its responses.")
    judge: str | None = Field(
        None,
        description="Engine spec of the judge, or 'rule' (word lists, offline). Without a judge the harm screen decides.",
    )
    judge_all: bool = Field(
        True, description="Judge every pair, so that all three counts are known, rather than candidates only."
    )
    split: tuple[Split, ...] = Field(("test",), description="Splits to audit.")
    null: bool = Field(
        True, description="Draw the baseline again with another seed and audit it against itself, as a null."
    )
    strict: bool = Field(
        True, description="Treat a harm value outside 0 to 1 as an error, rather than as missing (and counted)."
    )

    @model_validator(mode="after")
    def _both_alike(self) -> DriftConfig:
        if is_file(self.baseline) != is_file(self.candidate):
            raise ValueError("give two engine specs or two files, not one of each: decoding could not be held equal")
        if self.combine == "judge_only" and self.judge is None:
            raise ValueError("judge_only needs a judge")
        if self.combine != "screen_then_judge" and not self.judge_all:
            raise ValueError(f"{self.combine} needs every pair judged, not the candidates alone")
        return self


def is_file(spec: str) -> bool:
    """Whether a spec names a file of responses."""
    return Path(spec).suffix.lower() in FILES


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
        description="Split of the cases: own (of the data), row (random rows, as published), scenario (whole scenarios held out).",
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
