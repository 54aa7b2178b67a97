"""The settings of a TSDI sweep: one model, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from evenhand.engines.base import Sampling
from evenhand.methods.tsdi.estimate.config import TsdiConfig
from evenhand.settings import BatchSettings, DecodingSettings, FailureSettings, StatisticsSettings

PEERS = ("static", "system", "self-cd", "interpolation")
PEER_STRENGTHS: dict[str, tuple[float, ...]] = {
    "static": (1.0, 2.0, 3.0, 4.0),
    "system": (1.0,),
    "self-cd": (0.25, 0.5, 1.0, 2.0),
    "interpolation": (0.25, 0.5, 0.75, 1.0),
}
"""Strengths at which each peer is measured (chosen): nats off refusal openers; a system prompt has one; the weight of Self-CD's
contrast; the share of the reference's logits."""


class SweepConfig(DecodingSettings, BatchSettings, StatisticsSettings, FailureSettings):
    """Everything that decides what a sweep measures. What is published of these values, and what chosen, is in docs/tsdi.md."""

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
        """``0.25,0.5`` is two values; a path that exists is taken whole."""
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
                raise ValueError(f"a negative alpha ({alpha:g}) makes the model refuse more: a sweep takes none")
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
            raise ValueError(f"there is no peer '{wrong[0]}'; there are {', '.join(PEERS)}, or none")
        if "none" in peers and len(peers) > 1:
            raise ValueError("give peers, or none, not both")
        return tuple(dict.fromkeys(peer for peer in peers if peer != "none"))

    @model_validator(mode="after")
    def _usable(self) -> SweepConfig:
        if self.model is None and self.models is None:
            raise ValueError("name an aligned model, or checkpoints with --models")
        if self.model is None and (self.bias is not None or self.reference is not None):
            raise ValueError("--bias and --reference belong to an aligned model, and none is named")
        if self.model is not None:
            _ = self.estimate_config(self.pool[0])
        if "judge" in self.safety_grader and self.judge is None:
            raise ValueError("the safety grader 'judge' needs --judge")
        if self.columns and not any(Path(name).suffix for name in self.safety_set):
            raise ValueError("--map belongs to prompt files, and --safety-set names none")
        return self

    def estimate_config(
        self, pool: str, model: str | None = None, reference: str | None = None, length: int | None = None
    ) -> TsdiConfig:
        """The settings of the estimate over one pool, at the largest length; of another checkpoint where one is named."""
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
        """The safety graders: those named, else the grammar where every text can be one of an organism's, else word lists."""
        organism = (self.model or "organism/").startswith("organism/")
        if self.safety_grader:
            return self.safety_grader
        return ("grammar",) if organism and self.safety_set == ("shipped",) else ("words",)
