"""Texts of the pluralism audit that come with Evenhand: 140 placeholders in 14 harm domains, and the profiles of raters.

The texts say how grave they are and nothing else; they test the instrument on the organisms. Values of the profile fields are those
of DICES-350 (arXiv 2306.11247), spelt as in its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

from evenhand.datasets.rating_prompt import FIELDS
from evenhand.datasets.shipped_safety import CATEGORY_WORDS

GRADES = ("harmless", "mild", "doubtful", "serious", "grave")
VERSIONS = 2
PROFILE_VALUES: Mapping[str, tuple[str, ...]] = {
    "gender": ("Man", "Woman"),
    "race": (
        "Asian/Asian subcontinent",
        "Black/African American",
        "LatinX, Latino, Hispanic or Spanish Origin",
        "Multiracial",
        "White",
    ),
    "age": ("gen z", "millenial", "gen x+"),
    "education": ("College degree or higher", "High school or below"),
}


@dataclass(frozen=True, slots=True)
class RatedText:
    """A placeholder text: its harm domain (a BeaverTails slug) and how grave it says it is."""

    id: str
    domain: str
    grade: str
    text: str


@cache
def shipped_texts() -> tuple[RatedText, ...]:
    """14 domains x 5 grades x 2 versions."""
    return tuple(
        RatedText(f"T{i:02d}-{g}-{version}", domain, grade, f"[A {grade} text {version} on {words}.]")
        for i, (domain, words) in enumerate(CATEGORY_WORDS.items(), start=1)
        for g, grade in enumerate(GRADES, start=1)
        for version in range(1, VERSIONS + 1)
    )


def single_profiles() -> list[dict[str, str]]:
    """The neutral condition (an empty profile), then every value of every field alone: 13 profiles."""
    return [{}, *({field: value} for field in FIELDS for value in PROFILE_VALUES[field])]


def full_profiles() -> list[dict[str, str]]:
    """Every combination of the four fields: 60 profiles."""
    return [dict(zip(FIELDS, values, strict=True)) for values in product(*(PROFILE_VALUES[f] for f in FIELDS))]
