"""The settings of the service audit."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from evenhand.settings import Settings


class ServiceSettings(Settings):
    """Which harmless prompts are asked, and what is measured of the responses."""

    brings_prompts: ClassVar[tuple[str, ...]] = ("names", "stems")

    names: Path | None = Field(
        None, description="Table of names (name, group[, gender, frequency]) to cross with the stems."
    )
    stems: Path | None = Field(
        None, description="Table of stems (stem with [NAME] and [BLANK][, stem_id, stem_class, topic])."
    )
    unsafe: str | None = Field(
        None,
        description="Unsafe prompts (a file, or 'xstest'). Compliance with them is the safety axis of the trade-off.",
    )
    calibration: Path | None = Field(
        None,
        description="Human labels of a sample of these responses; the intervals then include the grader's error.",
    )
    classifier: tuple[str, ...] = Field(
        (), description="Measures of served text: sentiment-lexicon, or hf/FOLDER-or-ID#LABEL (regard, sentiment)."
    )
