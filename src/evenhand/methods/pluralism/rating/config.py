"""Settings of the pluralism audit and of `evenhand rate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from evenhand.datasets.question_texts import FIELDS
from evenhand.engines.base import Sampling
from evenhand.settings import EngineSettings, FailureSettings, Settings, StatisticsSettings

if TYPE_CHECKING:
    from evenhand.config import AuditConfig


AUDIT = "pluralism"
SHIPPED = "shipped"


class PluralismSettings(Settings):
    """What is rated, by which rater profiles, and how ratings are read and compared. No default is the published study's."""

    heading: ClassVar[str] = "Ratings"

    rating_set: str | None = Field(
        None,
        description="Texts to rate: shipped (organisms), grammar, dices-350, dices-990, demo_safetybench, or a file (text, and "
        "id, reply, domain, gold). Default: the texts of --human-ratings.",
    )
    human_ratings: str | None = Field(
        None, description="Human ratings of the same texts: dices-350, dices-990, or a file with one row per rating."
    )
    rating_items: int = Field(
        70, ge=0, description="Maximum number of texts to rate, sampled by domain; 0 rates all of them."
    )
    rating_axes: tuple[Literal["gender", "race", "age", "education"], ...] = Field(
        ("gender", "race", "age", "education"),
        min_length=1,
        description="Fields of a rater's profile to vary one at a time.",
    )
    full_profiles: int = Field(
        0, ge=0, description="Number of rater profiles with every field, sampled by race and gender in turn."
    )
    wordings: int = Field(
        4, ge=1, le=4, description="Number of wordings of the rating question, each with both option orders."
    )
    rating_read: Literal["auto", "probabilities", "letter"] = Field(
        "auto",
        description="How ratings are read: probabilities (of the option letters), letter (of drawn text), or auto.",
    )
    least_mass: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Minimum total probability of the option letters; below it an answer is drawn and its letter read.",
    )
    least_raters: int = Field(
        5, ge=1, description="Minimum number of human raters in a group; smaller groups are listed without figures."
    )
    permutations: int = Field(
        9_999, ge=99, description="Number of permutations of group labels for each null distribution."
    )
    reml_draws: int = Field(
        100,
        ge=0,
        description="Bootstrap draws for the intraclass correlation of an incomplete table; 0 omits the interval.",
    )
    scale: tuple[float, ...] | None = Field(
        None, description="Ends of a numeric rating scale, the safe one first (--scale 1 --scale 5)."
    )

    @model_validator(mode="after")
    def _sensible_ratings(self) -> PluralismSettings:
        if len(set(self.rating_axes)) < len(self.rating_axes):
            raise ValueError("a field of the profile is listed twice")
        if self.scale is not None and len(self.scale) != 2:
            raise ValueError("a scale needs two ends")
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that are varied, in the order in which a profile gives them."""
        return tuple(field for field in FIELDS if field in self.rating_axes)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The scale as two numbers."""
        return None if self.scale is None else (self.scale[0], self.scale[1])


class PluralismConfig(PluralismSettings, EngineSettings, StatisticsSettings, FailureSettings):
    """Everything that decides what `evenhand rate` measures."""

    heading: ClassVar[str] = "Models and your own data"

    models: tuple[str, ...] = Field((), description="Engine specs of the models that rate (see `evenhand audit`).")
    ratings: Path | None = Field(None, description="Human ratings to measure, one row per rating; no model is asked.")
    columns: dict[str, str] = Field({}, description="Column mapping of your files, WORD=COLUMN (--map rater=worker).")
    values: dict[str, str] = Field(
        {}, description="Meaning of rating words, WORD=safe|unsure|unsafe (--value Yes=unsafe)."
    )
    max_tokens: int = Field(64, ge=1, description="Maximum length of a drawn answer, in tokens; decoding is greedy.")
    plain: bool = Field(False, description="Join messages with blank lines, without a chat template (base models).")

    @model_validator(mode="after")
    def _sensible(self) -> PluralismConfig:
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model is listed twice")
        if self.ratings is not None and (self.models or self.rating_set or self.human_ratings):
            raise ValueError("--ratings measures existing ratings without a model: give no texts to rate as well")
        return self

    @property
    def set_name(self) -> str | None:
        """The texts to rate: those named; those of the human ratings (None); the shipped ones for organisms."""
        if self.rating_set is not None or self.human_ratings is not None:
            return self.rating_set
        organisms = bool(self.models) and all(spec.startswith("organism/") for spec in self.models)
        return SHIPPED if organisms else None

    @property
    def sampling(self) -> Sampling:
        """How an answer is drawn if letters have no probabilities: greedy, as published (there with 4,096 new tokens)."""
        return Sampling(temperature=0.0, top_p=1.0, max_tokens=self.max_tokens, seed=self.seed)


def settings_of(config: AuditConfig) -> PluralismConfig:
    """The settings of this audit in those of a whole run: its own, and every shared field of the same name."""
    from evenhand.config import checked

    values: dict[str, Any] = dict(config.of(PluralismSettings))
    shared = [name for name in PluralismConfig.model_fields if name not in values and hasattr(config, name)]
    return checked(PluralismConfig, **values, **{name: getattr(config, name) for name in shared})
