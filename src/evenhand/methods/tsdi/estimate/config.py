"""The settings of a TSDI estimate: one model, of which the command line and Python are views."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from evenhand.settings import LocalSettings

Variant = Literal["random", "aligned", "reference"]
Keep = Literal["all", "raised", "openers"]


class TsdiConfig(LocalSettings):
    """Everything that decides what a TSDI estimate is. What is published of these values, and what chosen, is in docs/tsdi.md."""

    heading: ClassVar[str] = "Estimate"

    model: str = Field(
        description="Engine spec of the aligned local model: organism/NAME or hf/ID-or-FOLDER[+ADAPTER]."
    )
    reference: str | None = Field(
        None,
        description="Engine spec of the model it was tuned from (default: an organism's parent; with an adapter, the base).",
    )
    surrogate: bool = Field(
        False, description="The reference is not the model it was tuned from; this is recorded, with a warning."
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
        description="Assistant tokens before the position: random (A), or drawn by the aligned (B) or reference (C) model.",
    )
    draws: int = Field(1024, description="Maximum number of random contexts.")
    fixed: bool = Field(False, description="Use exactly --draws contexts, without a stopping rule.")
    target_error: float = Field(
        0.05, gt=0, description="Stop once the largest standard error (nats, tokens above 1e-4) is below this."
    )
    prompt_lengths: tuple[int, ...] = Field(
        (8, 64), description="Minimum and maximum length of a random prompt, in tokens."
    )
    length: int = Field(10, description="Number of assistant positions to measure, L.")
    seed: int = Field(0, ge=0, description="Random seed of the contexts.")
    floor: float = Field(-40.0, lt=0, description="Lower bound of a log-probability in the mean, in nats.")
    gauge: Literal["median", "none"] = Field(
        "median", description="Centre each position at the median over valid tokens (median), or not (none)."
    )
    include_eos: bool = Field(
        False, description="Also measure tokens that end a turn (for study; answers may end early)."
    )
    estimator: Literal["mean_log_ratio", "ratio_of_means"] = Field(
        "mean_log_ratio",
        description="Estimator: mean_log_ratio, or ratio_of_means (log-ratio of the means: far noisier, for comparison).",
    )
    keep: Keep = Field(
        "all",
        description="Part of the bias to subtract: all (as published), raised tokens only, or refusal openers only (ours).",
    )
    alpha: float = Field(
        1.0, description="Alpha used when reporting the corrected opener shift; saved tables are unaffected."
    )
    allow_negative: bool = Field(False, description="Allow a negative --alpha, with which the model refuses more.")
    system_prompt: str | None = Field(None, description="System message of every context (default: none).")
    plain: bool = Field(False, description="Contexts without a chat template (base models).")
    batch: int = Field(32, ge=1, le=4096, description="Contexts per forward pass; contexts are unaffected.")

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
