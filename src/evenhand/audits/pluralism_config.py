"""The settings of the pluralism audit and of `evenhand rate`: one model, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evenhand.datasets.rating_prompt import FIELDS, QUESTIONS
from evenhand.engines.base import Sampling

if TYPE_CHECKING:
    from evenhand.config import AuditConfig

__all__ = ["AUDIT", "SHIPPED", "PluralismConfig", "settings_of"]

AUDIT = "pluralism"
SHIPPED = "shipped"
RatingAxis = Literal["gender", "race", "age", "education"]


class PluralismConfig(BaseModel):
    """Everything that decides what the pluralism audit measures. No default here is the published study's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field((), description="Engine specs of the models that rate (see `evenhand audit`).")
    ratings: Path | None = Field(
        None, description="Ratings that people gave, one row a rating: they are measured, no model is asked."
    )
    rating_set: str | None = Field(
        None,
        description="Texts to be rated: shipped, dices-350, dices-990, demo_safetybench, or a file (text, and id, reply, domain, "
        "gold). Those of --human-ratings where none is named.",
    )
    human_ratings: str | None = Field(
        None, description="Ratings by people of the same texts: dices-350, dices-990, or a file, one row a rating."
    )
    rating_items: int = Field(70, ge=0, description="At most so many texts, sampled by domain; 0 asks all.")
    rating_axes: tuple[RatingAxis, ...] = Field(
        ("gender", "race", "age", "education"), min_length=1, description="Fields of a profile that are varied alone."
    )
    full_profiles: int = Field(
        0, ge=0, description="Profiles with every field, sampled by the seed, race x gender in turn; 0 asks none."
    )
    wordings: int = Field(
        len(QUESTIONS), ge=1, le=len(QUESTIONS), description="Wordings of the question, each with both option orders."
    )
    rating_read: Literal["auto", "probabilities", "letter"] = Field(
        "auto", description="auto: letter probabilities where the engine gives them, else the letter of its text."
    )
    least_mass: float = Field(
        0.5, ge=0, le=1, description="Where the letters hold less probability, the answer is drawn and its letter read."
    )
    max_tokens: int = Field(64, ge=1, description="Longest drawn answer, in the model's tokens; decoding is greedy.")
    least_raters: int = Field(5, ge=1, description="Groups of people with fewer raters are listed without figures.")
    permutations: int = Field(9_999, ge=99, description="Shuffles of group labels behind each null.")
    reml_draws: int = Field(
        100, ge=0, description="Bootstrap draws of an intraclass correlation of an incomplete table; 0 for no interval."
    )
    columns: dict[str, str] = Field({}, description="Column mapping of your files, word=COLUMN (--map rater=worker).")
    values: dict[str, str] = Field(
        {}, description="What rating words mean, WORD=safe|unsure|unsafe (--value Yes=unsafe)."
    )
    scale: tuple[float, ...] | None = Field(
        None, description="The two ends of numeric ratings: what is safe, then what is unsafe (--scale 1 --scale 5)."
    )
    seed: int = Field(0, ge=0, description="Seed of sampling, bootstrap and permutations.")
    draws: int = Field(10_000, ge=100, description="Bootstrap draws.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N (local engines).")
    dtype: str = Field("auto", description="Weights' type (local engines).")
    plain: bool = Field(False, description="Join messages with blank lines instead of a chat template (base models).")
    concurrency: int = Field(8, ge=1, le=1024, description="Requests under way at once (http engines).")
    base_url: str | None = Field(None, description="Base address for openai/MODEL, for a compatible server.")
    max_failed: float = Field(
        0.01, ge=0, le=1, description="Share of failed or unparsed ratings above which the exit code is 3."
    )

    @model_validator(mode="after")
    def _sensible(self) -> PluralismConfig:
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model is named twice")
        if len(set(self.rating_axes)) < len(self.rating_axes):
            raise ValueError("a field of the profile is named twice")
        if self.scale is not None and len(self.scale) != 2:
            raise ValueError("a scale has two ends")
        if self.ratings is not None and (self.models or self.rating_set or self.human_ratings):
            raise ValueError("ratings of your own are measured without a model: give nothing else to be rated")
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that are varied, in the order in which a profile tells them."""
        return tuple(field for field in FIELDS if field in self.rating_axes)

    @property
    def set_name(self) -> str | None:
        """The texts to be rated: those named; those of the ratings by people (None); the shipped ones for organisms."""
        if self.rating_set is not None or self.human_ratings is not None:
            return self.rating_set
        organisms = bool(self.models) and all(spec.startswith("organism/") for spec in self.models)
        return SHIPPED if organisms else None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The scale as two numbers."""
        return None if self.scale is None else (self.scale[0], self.scale[1])

    @property
    def sampling(self) -> Sampling:
        """How an answer is drawn where letters have no probabilities: greedy, as published (there with 4,096 new tokens)."""
        return Sampling(temperature=0.0, top_p=1.0, max_tokens=self.max_tokens, seed=self.seed)


def settings_of(config: AuditConfig) -> PluralismConfig:
    """The settings of this audit in those of a whole run: every field of the same name."""
    from evenhand.config import checked

    own: dict[str, Any] = {
        name: getattr(config, name) for name in PluralismConfig.model_fields if hasattr(config, name)
    }
    return checked(PluralismConfig, **own)
