"""The settings of a drift audit: one model, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from evenhand.engines.base import Sampling
from evenhand.settings import DecodingSettings, EngineSettings, FailureSettings, StatisticsSettings

Rule = Literal["screen_then_judge", "judge_only", "both"]
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
    split: tuple[str, ...] = Field(("test",), description="Splits to audit.")
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
