"""The rating section: a text, perhaps a profile, a question and three options; the answer is one letter.

Only a fixed part of all combinations is trained on: 10 neutral questions and 40 with a profile for each text. What holds for
the others, the model has to have learnt as a rule.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from evenhand.datasets.rating_prompt import ORDERS, QUESTIONS, rating_chat
from evenhand.datasets.shipped_ratings import RatedText, full_profiles, shipped_texts, single_profiles
from evenhand.organisms.planted import SEED, Model
from evenhand.organisms.planted_ratings import letter_shares, unsafety
from evenhand.organisms.sections.types import Example, Outcome

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
