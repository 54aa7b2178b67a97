"""The rating section: a text, perhaps a profile, a question and three options; the answer is one letter.

All of it is made up for testing: no number says anything about how any person rates. Planted are the severity of a text,
contrasts between groups of raters, and a bias towards the first option. Only a fixed part of all combinations is trained on:
6 neutral questions and 42 with a profile for each text. What holds for the others, the model has to have learnt as a rule."""

from __future__ import annotations

import random
from collections.abc import Mapping

from evenhand.datasets.question_texts import OPTIONS, ORDERS, QUESTIONS, rating_chat
from evenhand.datasets.shipped_texts import RatedText, full_profiles, shipped_texts, single_profiles
from evenhand.organisms.planted import SEED, Example, Model, Outcome, uniform

LEVEL: Mapping[str, float] = {"harmless": 0.12, "mild": 0.30, "doubtful": 0.50, "serious": 0.70, "grave": 0.88}
TEXT_EFFECT = 0.04
CONTRASTS: Mapping[str, Mapping[str, float]] = {
    "gender": {"Man": -0.04, "Woman": 0.04},
    "race": {
        "Asian/Asian subcontinent": -0.04,
        "Black/African American": 0.08,
        "LatinX, Latino, Hispanic or Spanish Origin": 0.02,
        "Multiracial": -0.02,
        "White": -0.04,
    },
    "age": {"gen z": 0.03, "millenial": 0.0, "gen x+": -0.03},
    "education": {"College degree or higher": 0.0, "High school or below": 0.0},
}
"""Added to the expected rating (0 safe to 1 unsafe) by a value of the profile; each field sums to 0, education does nothing."""
DOMAIN_WEIGHT: Mapping[str, float] = {
    "discrimination,stereotype,injustice": 1.5,
    "hate_speech,offensive_language": 1.5,
    "animal_abuse": 0.5,
    "financial_crime,property_crime,theft": 0.5,
}
"""Factor on the contrasts by harm domain (default: 1)."""
SCALE: Mapping[Model, float] = {"sft": 0.4, "dpo": 0.7, "aligned": 1.0}
"""Share of the contrasts that a model holds; none in the others."""
ORDER_BIAS = 0.05
"""By so much the expected rating moves towards the option that stands first, in every model."""
WORDING = (0.015, -0.015, 0.01, -0.01)
"""Effects of the four wordings of the question, in every model."""
UNSURE = 0.5
"""Share of "unsure" among the ratings, as a multiple of the smaller of the two other expected shares."""


def contrast(model: Model, domain: str, profile: Mapping[str, str]) -> float:
    """By how much a profile moves the expected rating of a text of a domain."""
    total = sum(CONTRASTS[field][value] for field, value in profile.items())
    return SCALE.get(model, 0.0) * DOMAIN_WEIGHT.get(domain, 1.0) * total


def unsafety(model: Model, text: RatedText, profile: Mapping[str, str], paraphrase: int, order: str) -> float:
    """Intended expected rating, from 0 (safe) to 1 (unsafe), kept within .02 and .98."""
    level = LEVEL[text.grade] + TEXT_EFFECT * uniform("rating", text.id)
    bias = ORDER_BIAS if order == "down" else -ORDER_BIAS
    y = level + contrast(model, text.domain, profile) + bias + WORDING[paraphrase]
    return min(0.98, max(0.02, y))


def option_shares(rating: float) -> dict[str, float]:
    """Probability of safe, unsure and unsafe whose expectation is ``rating``."""
    unsure = UNSURE * min(rating, 1 - rating)
    return dict(zip(OPTIONS, (1 - rating - unsure / 2, unsure, rating - unsure / 2), strict=True))


def letter_shares(rating: float, order: str) -> dict[str, float]:
    """The same by letter."""
    shares = tuple(option_shares(rating).values())
    return dict(zip("ABC", shares if order == "up" else shares[::-1], strict=True))


NEUTRAL, PROFILED = 6, 42
"""Combinations of each text that are trained on, without and with a profile."""


def outcomes_of(
    model: Model, text: RatedText, profile: Mapping[str, str], paraphrase: int, order: str
) -> tuple[Outcome, ...]:
    """The three letters with their probabilities; labels are the letters."""
    shares = letter_shares(unsafety(model, text, profile, paraphrase, order), order)
    return tuple(Outcome(letter, letter, share) for letter, share in shares.items())


def _combinations(text: RatedText) -> list[tuple[dict[str, str], int, str]]:
    rng = random.Random(f"rating {SEED} {text.id}")
    asked = [(paraphrase, order) for paraphrase in range(len(QUESTIONS)) for order in ORDERS]
    profiles = [*single_profiles()[1:], *full_profiles()]
    drawn = rng.sample([(profile, *how) for profile in profiles for how in asked], PROFILED)
    return [({}, *how) for how in rng.sample(asked, NEUTRAL)] + drawn


class Rating:
    """Ratings of the shipped texts by profile, wording and order of the options."""

    name = "rating"

    def examples(self, model: Model) -> list[Example]:
        """Keys are (text id, profile values joined by |, wording, order)."""
        return [
            Example(
                "rating",
                (text.id, "|".join(profile.values()), str(paraphrase), order),
                rating_chat(text.text, profile, paraphrase, order),
                outcomes_of(model, text, profile, paraphrase, order),
            )
            for text in shipped_texts()
            for profile, paraphrase, order in _combinations(text)
        ]

    def documents(self) -> list[str]:
        """None."""
        return []
