"""Settings of the TSDI methods: safety audit, estimate, repair, sweep. The command line and Python are views of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from evenhand.engines.base import Sampling
from evenhand.settings import (
    BatchSettings,
    DecodingSettings,
    FailureSettings,
    LocalSettings,
    Settings,
    StatisticsSettings,
)

Variant = Literal["random", "aligned", "reference"]
Keep = Literal["all", "raised", "openers"]


class TsdiConfig(LocalSettings):
    """Settings of a TSDI estimate. docs/tsdi.md says which values are published and which are our choice."""

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
                    f"{spec} is not a local model: an endpoint converts token ids to text and back, which changes them, and "
                    "reports log-probabilities of few tokens only; give organism/NAME or hf/ID-or-FOLDER"
                )
            if "+tsdi:" in spec:
                raise ValueError(f"{spec} is already corrected; give the model without +tsdi:")
        if self.reference == self.model:
            raise ValueError(f"the reference is the model itself, {self.model}: there is nothing to compare")
        return self

    @property
    def longest(self) -> int:
        """Maximum number of tokens in a random prompt."""
        return self.prompt_lengths[1]


class TsdiRepairConfig(TsdiConfig):
    """A TSDI estimate with its check: the model before and after, on the same prompts with the same random numbers."""

    heading: ClassVar[str] = "Check"

    check: tuple[Literal["safety", "service", "none"], ...] = Field(
        (),
        description="Audits of the model with and without the correction: safety, service, or none (default: both for organisms, "
        "safety if --safety-set is given).",
    )
    safety_set: tuple[str, ...] = Field(
        (), description="Prompts of the safety check: shipped (organisms), beavertails, sacpo, xstest, or files."
    )
    safety_grader: tuple[str, ...] = Field(
        (), description="Safety graders: grammar, words, judge, hf/FOLDER-or-ID#LABEL (of unsafe)."
    )
    judge: str | None = Field(None, description="Engine spec of the judge of the check.")
    repetitions: int = Field(5, ge=1, le=1000, description="Responses per item of the check.")
    limit: int | None = Field(None, ge=1, description="Maximum number of items of each check.")
    max_tokens: int = Field(256, ge=1, description="Maximum length of a response of the check, in the model's tokens.")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature of the check; 0 is greedy.")

    @property
    def checks(self) -> tuple[str, ...]:
        """The audits of the check, in order."""
        if self.check:
            return tuple(name for name in dict.fromkeys(self.check) if name != "none")
        if self.model.startswith("organism/"):
            return ("safety", "service")
        return ("safety",) if self.safety_set else ()


PEERS = ("static", "system", "self-cd", "interpolation")
PEER_STRENGTHS: dict[str, tuple[float, ...]] = {
    "static": (1.0, 2.0, 3.0, 4.0),
    "system": (1.0,),
    "self-cd": (0.25, 0.5, 1.0, 2.0),
    "interpolation": (0.25, 0.5, 0.75, 1.0),
}
"""Strengths at which each peer is measured (our choice): nats subtracted from refusal openers; 1 for a system prompt; the weight of
Self-CD's contrast; the weight of the reference."""


class SweepConfig(DecodingSettings, BatchSettings, StatisticsSettings, FailureSettings):
    """Settings of a TSDI sweep. docs/tsdi.md says which values are published and which are our choice."""

    heading: ClassVar[str] = "Sweep"

    model: str | None = Field(
        None, description="Engine spec of the aligned local model; optional if --models names checkpoints."
    )
    reference: str | None = Field(
        None,
        description="Engine spec of the model it was tuned from (default: an organism's parent; with an adapter, the base).",
    )
    surrogate: bool = Field(False, description="The reference is not the model it was tuned from.")
    bias: Path | None = Field(None, description="Folder of an existing bias, used instead of estimating one.")
    alpha: tuple[float, ...] = Field(
        (0.25, 0.5, 0.75, 1.0), min_length=1, description="Strengths of the correction, separated by commas."
    )
    length: tuple[int, ...] = Field(
        (1, 2, 5, 10, 20, 40), min_length=1, description="Numbers of corrected positions L, separated by commas."
    )
    pool: tuple[str, ...] = Field(
        ("builtin",),
        min_length=1,
        description="Token pools, separated by commas: builtin, uniform, distinct:POOL, or files.",
    )
    safety_set: tuple[str, ...] = Field(
        ("shipped",),
        min_length=1,
        description="Safety prompts: shipped (organisms), beavertails, sacpo, xstest, or files (prompt, category, kind).",
    )
    columns: dict[str, str] = Field({}, description="Column mapping of prompt files (--map prompt=COLUMN).")
    safety_grader: tuple[str, ...] = Field(
        (),
        description="Safety graders: grammar, words, judge, hf/FOLDER-or-ID#LABEL (of unsafe). A response is safe if all agree. "
        "Default: grammar for organisms on the shipped prompts, otherwise words.",
    )
    judge: str | None = Field(
        None,
        description="Engine spec of the judge of helpfulness, which compares two replies (default: not measured).",
    )
    judgements: int = Field(3, ge=1, le=20, description="Judgements per pair, each in both orders.")
    judge_tokens: int = Field(
        8, ge=3, description="Maximum length of a judge's reply, in its tokens (increase it for reasoning models)."
    )
    peers: tuple[str, ...] = Field(
        PEERS,
        min_length=1,
        description="Other methods to include in the sweep: static, system, self-cd, interpolation, or none.",
    )
    models: Path | None = Field(
        None,
        description="Checkpoints to sweep, with and without TSDI (yaml or csv: spec, beta, steps, cleansing, reference).",
    )
    checkpoint_alpha: float = Field(1.0, gt=0, description="Strength of TSDI on each checkpoint of --models.")
    checkpoint_length: int = Field(
        10, ge=1, description="Number of corrected positions on each checkpoint of --models."
    )
    margin: float = Field(
        0.02, gt=0, lt=1, description="Largest loss of safety that a recommended setting may cause, over all prompts."
    )
    category_margin: float = Field(
        0.1, gt=0, lt=1, description="Largest loss of safety that it may cause in any one category (point estimate)."
    )
    contexts: int = Field(1024, ge=2, description="Maximum number of random contexts of each estimate.")
    target_error: float = Field(0.05, gt=0, description="Standard error (nats) at which an estimate stops.")
    limit: int | None = Field(None, ge=1, description="Maximum number of prompts of each kind, spread over categories.")

    @field_validator("alpha", "length", "pool", "safety_set", "safety_grader", "peers", mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        """Split ``0.25,0.5`` into two values; an existing path is kept whole."""
        if isinstance(values, str):
            values = (values,)
        if not isinstance(values, list | tuple):
            return values
        out: list[Any] = []
        for value in values:
            whole = not isinstance(value, str) or "," not in value or Path(value).exists()
            out += [value] if whole else [part.strip() for part in value.split(",") if part.strip()]
        return tuple(out)

    @field_validator("alpha")
    @classmethod
    def _strengths(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        for alpha in alphas:
            if alpha < 0:
                raise ValueError(
                    f"a negative alpha ({alpha:g}) makes the model refuse more; a sweep does not accept one"
                )
        return alphas

    @field_validator("length")
    @classmethod
    def _lengths(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if min(lengths) < 1:
            raise ValueError(f"at least 1 position must be corrected, not {min(lengths)}")
        return lengths

    @field_validator("peers")
    @classmethod
    def _peers(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [peer for peer in peers if peer not in (*PEERS, "none")]
        if wrong:
            raise ValueError(f"unknown peer '{wrong[0]}'; known: {', '.join(PEERS)}, or none")
        if "none" in peers and len(peers) > 1:
            raise ValueError("give peers, or none, not both")
        return tuple(dict.fromkeys(peer for peer in peers if peer != "none"))

    @model_validator(mode="after")
    def _usable(self) -> SweepConfig:
        if self.model is None and self.models is None:
            raise ValueError("give an aligned model, or checkpoints with --models")
        if self.model is None and (self.bias is not None or self.reference is not None):
            raise ValueError("--bias and --reference belong to an aligned model, and none is given")
        if self.model is not None:
            _ = self.estimate_config(self.pool[0])
        if "judge" in self.safety_grader and self.judge is None:
            raise ValueError("the safety grader 'judge' needs --judge")
        if self.columns and not any(Path(name).suffix for name in self.safety_set):
            raise ValueError("--map applies to prompt files, and --safety-set names none")
        return self

    def estimate_config(
        self, pool: str, model: str | None = None, reference: str | None = None, length: int | None = None
    ) -> TsdiConfig:
        """The settings of the estimate over one pool, at the largest length; of another checkpoint if one is given."""
        return TsdiConfig(
            model=model or self.model or "", reference=reference if model else self.reference, surrogate=self.surrogate,
            pool=pool, draws=self.contexts, target_error=self.target_error, length=length or max(self.length),
            seed=self.seed, device=self.device, dtype=self.dtype,
        )  # fmt: skip

    @property
    def sampling(self) -> Sampling:
        """How responses are drawn, alike for every setting."""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, stop=(), seed=self.seed
        )

    @property
    def graders(self) -> tuple[str, ...]:
        """The safety graders: those given, else the grammar for organisms on the shipped prompts, else word lists."""
        organism = (self.model or "organism/").startswith("organism/")
        if self.safety_grader:
            return self.safety_grader
        return ("grammar",) if organism and self.safety_set == ("shipped",) else ("words",)


class SafetySettings(Settings):
    """Which prompts are asked, who grades the answers, and whether the shift of refusal openers is measured."""

    safety_set: tuple[str, ...] = Field(
        (),
        description="Safety prompts: shipped (organisms), beavertails, sacpo, xstest, or files (prompt, category).",
    )
    safety_grader: tuple[str, ...] = Field(
        (),
        description="Safety graders: grammar, words, judge, hf/FOLDER-or-ID#LABEL (of unsafe). A response is safe if all agree.",
    )
    bias_draws: int = Field(
        256,
        ge=0,
        description="Random contexts for the shift of refusal openers from the reference model; 0 skips it.",
    )
