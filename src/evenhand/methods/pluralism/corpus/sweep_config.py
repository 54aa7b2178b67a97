"""The settings of `evenhand corpus sweep`, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from evenhand.rating_settings import Scale

PUBLISHED_DELTA = 0.5
PUBLISHED_TAU = 10


class SweepConfig(BaseModel):
    """Which thresholds are tried on a built corpus, and on whose ratings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    deltas: tuple[float, ...] = Field(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1, description="Domain thresholds; 0.5 is always among them."
    )
    taus: tuple[int, ...] = Field(
        (0, 3, 6, 8, 10, 12, 16, 20), min_length=1, description="Distances in bits; 10 is always among them."
    )
    ratings: Path | None = Field(
        None,
        description="Ratings of the items: a file (csv, tsv, jsonl, parquet), dices-350, dices-990, or a run of `evenhand rate`: "
        "adds ICC and DS.",
    )
    columns: dict[str, str] = Field({}, description="Column mapping of the ratings (item=COLUMN).")
    values: dict[str, str] = Field(
        {}, description="What rating words mean, WORD=safe|unsure|unsafe (--value Yes=unsafe)."
    )
    scale: Scale = None
    with_none: bool = Field(False, description="Take rows of no domain into ICC and DS.")
    draws: int = Field(2000, ge=100, description="Bootstrap draws of items and raters together.")
    reml_draws: int = Field(100, ge=20, description="The same for ICC of incomplete ratings, where each draw is a fit.")
    permutations: int = Field(999, ge=99, description="Shuffles of the raters' groups for the null of DS.")
    seed: int = Field(0, ge=0, description="Seed of draws and shuffles.")

    @field_validator("deltas")
    @classmethod
    def _probabilities(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [value for value in values if not 0 <= value <= 1]
        if wrong:
            raise ValueError(f"the threshold delta {wrong[0]} is not a probability, 0 to 1")
        return tuple(sorted({*values, PUBLISHED_DELTA}))

    @field_validator("taus")
    @classmethod
    def _distances(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [value for value in values if value < 0]
        if wrong:
            raise ValueError(f"the distance {wrong[0]} is below 0")
        return tuple(sorted({*values, PUBLISHED_TAU}))
