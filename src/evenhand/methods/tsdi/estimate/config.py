"""The settings of a TSDI estimate: one model, of which the command line and Python are views."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Variant = Literal["random", "aligned", "reference"]
Keep = Literal["all", "raised", "openers"]


class TsdiConfig(BaseModel):
    """Everything that decides what a TSDI estimate is. What is published of these values, and what chosen, is in docs/tsdi.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(
        description="Engine spec of the aligned local model: organism/NAME or hf/ID-or-FOLDER[+ADAPTER]."
    )
    reference: str | None = Field(
        None,
        description="Engine spec of the model that it was tuned from (default: an organism's parent; with an adapter, the base).",
    )
    surrogate: bool = Field(
        False, description="The reference is not what the model was tuned from: it is recorded and warned of."
    )
    pool: str = Field(
        "builtin",
        description="Tokens of random contexts: builtin, uniform, a file or folder of texts, distinct:builtin or distinct:FILE.",
    )
    columns: dict[str, str] = Field(
        {}, description="Column mapping of a pool file (--map text=COLUMN, or question= and choices=)."
    )
    variant: Variant = Field(
        "random",
        description="Assistant tokens before the position: random (A), or drawn by aligned (B) or reference (C).",
    )
    draws: int = Field(1024, description="Random contexts, at the most.")
    fixed: bool = Field(False, description="Take exactly --draws contexts: no stop rule.")
    target_error: float = Field(
        0.05, gt=0, description="Stop where the largest standard error (nats, tokens above 1e-4) is below this."
    )
    prompt_lengths: tuple[int, ...] = Field((8, 64), description="Shortest and longest random prompt, in tokens.")
    length: int = Field(10, description="Assistant positions that are measured, L.")
    seed: int = Field(0, ge=0, description="Seed of the contexts.")
    floor: float = Field(-40.0, lt=0, description="Least log-probability that enters the mean, in nats.")
    gauge: Literal["median", "none"] = Field(
        "median", description="Centre each position at the median over the valid tokens, or leave it."
    )
    include_eos: bool = Field(
        False, description="Measure tokens that end a turn too (for study: it can end answers early)."
    )
    estimator: Literal["mean_log_ratio", "ratio_of_means"] = Field(
        "mean_log_ratio", description="Mean of the log-ratio, or log-ratio of the means (for comparison: far noisier)."
    )
    keep: Keep = Field(
        "all",
        description="What is taken off: all of the bias (as published), raised tokens alone, or refusal openers alone (ours).",
    )
    alpha: float = Field(1.0, description="Strength for which the corrected opener shift is told; it changes no table.")
    allow_negative: bool = Field(False, description="Let --alpha be negative: the model then refuses more.")
    system_prompt: str | None = Field(None, description="System message of every context (default: none).")
    plain: bool = Field(False, description="Contexts without a chat template (base models).")
    batch: int = Field(32, ge=1, le=4096, description="Contexts in a forward pass; it changes no context.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Weights' type of both models."
    )

    @field_validator("draws")
    @classmethod
    def _enough_draws(cls, draws: int) -> int:
        if draws < 2:
            raise ValueError(f"at least 2 contexts are needed for a standard error, not {draws}")
        return draws

    @field_validator("length")
    @classmethod
    def _some_position(cls, length: int) -> int:
        if length < 1:
            raise ValueError(f"at least 1 position must be measured, not {length}")
        return length

    @field_validator("prompt_lengths")
    @classmethod
    def _range(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if len(lengths) != 2 or not 1 <= lengths[0] <= lengths[1]:
            raise ValueError(f"give the shortest and the longest prompt, for example 8 64, not {lengths}")
        return lengths

    @model_validator(mode="after")
    def _usable(self) -> TsdiConfig:
        if self.alpha < 0 and not self.allow_negative:
            raise ValueError("a negative alpha makes the model refuse more; it needs --allow-negative")
        for spec in (self.model, *([self.reference] if self.reference is not None else [])):
            if not spec.startswith(("organism/", "hf/")):
                raise ValueError(
                    f"{spec} is no local model: an endpoint turns token ids into text and back, which changes them, and tells "
                    "the log-probabilities of few tokens; give organism/NAME or hf/ID-or-FOLDER"
                )
            if "+tsdi:" in spec:
                raise ValueError(f"{spec} is corrected already; give the model without +tsdi:")
        if self.reference == self.model:
            raise ValueError(f"the reference is the model itself, {self.model}: there is nothing to compare")
        return self

    @property
    def longest(self) -> int:
        """Most tokens of a random prompt."""
        return self.prompt_lengths[1]
