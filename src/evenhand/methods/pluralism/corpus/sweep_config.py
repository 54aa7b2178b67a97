"""The settings of `evenhand corpus sweep`, of which the command line and Python are views."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from evenhand.settings import StatisticsSettings

PUBLISHED_DELTA = 0.5
PUBLISHED_TAU = 10


class SweepConfig(StatisticsSettings):
    """Which thresholds are tried on a built corpus, and on whose ratings."""

    heading: ClassVar[str] = "Sweep"

    deltas: tuple[float, ...] = Field(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1, description="Domain thresholds; 0.5 is always included."
    )
    taus: tuple[int, ...] = Field(
        (0, 3, 6, 8, 10, 12, 16, 20), min_length=1, description="Distances in bits; 10 is always included."
    )
    ratings: Path | None = Field(
        None,
        description="Ratings of the items, which add ICC and DS: a file (csv, tsv, jsonl, parquet), dices-350, dices-990, or a "
        "run of `evenhand rate`.",
    )
    columns: dict[str, str] = Field({}, description="Column mapping of the ratings (item=COLUMN).")
    values: dict[str, str] = Field(
        {}, description="Meaning of rating words, WORD=safe|unsure|unsafe (--value Yes=unsafe)."
    )
    scale: tuple[float, ...] | None = Field(
        None, description="Ends of a numeric rating scale, the safe one first (--scale 1 --scale 5)."
    )
    with_none: bool = Field(False, description="Include rows without a domain in ICC and DS.")
    draws: int = Field(2000, ge=100, description="Number of bootstrap draws of items and raters together.")
    reml_draws: int = Field(
        100, ge=20, description="Number of bootstrap draws for the ICC of incomplete ratings, where each draw is a fit."
    )
    permutations: int = Field(
        999, ge=99, description="Number of permutations of the raters' groups for the null distribution of DS."
    )

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
