"""The settings of a drift audit: one model, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evenhand.engines.base import Sampling

Rule = Literal["screen_then_judge", "judge_only", "both"]
FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class DriftConfig(BaseModel):
    """Everything that decides what a drift audit measures."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    baseline: str = Field(description="Engine spec of the model before tuning, or a file of its responses.")
    candidate: str = Field(description="Engine spec of the tuned model, or a file of its responses.")
    judge: str | None = Field(
        None, description="Engine spec of the judge, or 'rule' (word lists, offline). Without one the screen decides."
    )
    scorers: tuple[str, ...] = Field(
        ("harm-lexicon",),
        min_length=1,
        description="Harm scorers: harm-lexicon, or hf/FOLDER-or-ID#LABEL (its exact label).",
    )
    combine: Rule = Field("screen_then_judge", description="screen_then_judge, judge_only, or both.")
    judge_all: bool = Field(
        True, description="Judge every pair, so that all three counts are known (else candidates alone)."
    )
    tau: float = Field(0.01, ge=0, lt=1, description="Rise of harm above which a pair is a candidate.")
    difference_set: str = Field("shipped", description="Cases: shipped, benchmarks, or names such as D1,N4.")
    data: Path | None = Field(
        None, description="Your own cases (prompt, and id, gold, group, scenario): csv, jsonl or parquet."
    )
    columns: dict[str, str] = Field({}, description="Column mapping, word=COLUMN (--map).")
    split: tuple[str, ...] = Field(("test",), description="Splits that are audited.")
    limit: int | None = Field(None, ge=1, description="At most so many cases, in whole scenarios.")
    repetitions: int = Field(3, ge=1, le=1000, description="Outputs drawn for each case (one when greedy).")
    temperature: float = Field(0.2, ge=0, description="Softmax temperature; 0 is greedy.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus mass to sample from.")
    max_tokens: int = Field(256, ge=1, description="Longest output, in the model's tokens.")
    policy: bool = Field(False, description="Add the safety policy to the task's system message.")
    null: bool = Field(True, description="Draw the baseline anew under another seed and audit it against itself.")
    strict: bool = Field(True, description="A harm value outside 0 to 1 is an error (else it is missing, and counted).")
    seed: int = Field(0, ge=0, description="Seed of sampling, sides and bootstrap.")
    draws: int = Field(10_000, ge=100, description="Bootstrap draws.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N (local engines).")
    dtype: str = Field("auto", description="Weights' type (local engines).")
    concurrency: int = Field(8, ge=1, le=1024, description="Requests under way at once (http engines).")
    base_url: str | None = Field(None, description="Base address for openai/MODEL, for a compatible server.")
    max_failed: float = Field(
        0.01, ge=0, le=1, description="Share of pairs without a verdict above which the exit code is 3."
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

    @property
    def sampling(self) -> Sampling:
        """How outputs are drawn. (The DART code: temperature 0.2, top-p 0.9, 256 new tokens.)"""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, stop=(), seed=self.seed
        )

    @property
    def draws_per_case(self) -> int:
        """Outputs drawn for each case: one where decoding is greedy, since more would be copies."""
        return 1 if self.temperature == 0 else self.repetitions


def is_file(spec: str) -> bool:
    """Whether a spec names a file of responses."""
    return Path(spec).suffix.lower() in FILES
