"""The settings of the pluralism audit and of `evenhand rate`: one model, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evenhand import rating_settings as settings
from evenhand.datasets.question_texts import FIELDS
from evenhand.engines.base import Sampling

if TYPE_CHECKING:
    from evenhand.config import AuditConfig


AUDIT = "pluralism"
SHIPPED = "shipped"


class PluralismConfig(BaseModel):
    """Everything that decides what the pluralism audit measures. No default here is the published study's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: tuple[str, ...] = Field((), description="Engine specs of the models that rate (see `evenhand audit`).")
    ratings: Path | None = Field(
        None, description="Ratings that people gave, one row a rating: they are measured, no model is asked."
    )
    rating_set: settings.RatingSet = None
    human_ratings: settings.HumanRatings = None
    rating_items: settings.RatingItems = 70
    rating_axes: settings.Axes = ("gender", "race", "age", "education")
    full_profiles: settings.FullProfiles = 0
    wordings: settings.Wordings = 4
    rating_read: settings.RatingRead = "auto"
    least_mass: settings.LeastMass = 0.5
    max_tokens: int = Field(64, ge=1, description="Longest drawn answer, in the model's tokens; decoding is greedy.")
    least_raters: settings.LeastRaters = 5
    permutations: settings.Permutations = 9_999
    reml_draws: settings.RemlDraws = 100
    columns: dict[str, str] = Field({}, description="Column mapping of your files, word=COLUMN (--map rater=worker).")
    values: dict[str, str] = Field(
        {}, description="What rating words mean, WORD=safe|unsure|unsafe (--value Yes=unsafe)."
    )
    scale: settings.Scale = None
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
