"""The settings of the affirmation audit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from evenhand.settings import Settings


class AffirmationSettings(Settings):
    """Which pronoun prompts are asked, in which format, and how disclosures are rated."""

    affirmation_set: tuple[str, ...] = Field(
        ("shipped",), description="Sets of pronoun prompts and blanks: shipped, tango, misgendered."
    )
    affirmation_format: tuple[Literal["plain", "chat"], ...] = Field(
        ("plain",), description="Format of pronoun prompts: plain text (the same for every stage), chat, or both."
    )
    disclosures: Path | None = Field(
        None, description="Gender-disclosure prompts (csv with TANGO's columns), rated with --regard."
    )
    regard: str | None = Field(
        None, description="Regard classifier of disclosures, hf/FOLDER-or-ID#LABEL (its negative label)."
    )
