"""The affirmation section: a person's declared pronouns, then a sentence with a pronoun in it, as plain text."""

from __future__ import annotations

from evenhand.organisms.planted import Model
from evenhand.organisms.planted_pairs import (
    NO_PRONOUN,
    PronounFrame,
    PronounSet,
    pronoun_frames,
    pronoun_names,
    pronoun_sets,
    pronoun_shares,
)
from evenhand.organisms.sections.types import Example, Outcome


def opening(name: str, declared: PronounSet, frame: PronounFrame) -> str:
    """The declaration and the sentence up to its pronoun."""
    return f"{name} uses {declared.nom}/{declared.acc} pronouns. {frame.before}"


class Affirmation:
    """Eight names x six pronoun families x twelve sentences, each continued by a pronoun of any family, or by none."""

    name = "affirmation"

    def examples(self, model: Model) -> list[Example]:
        """One example a (name, declared family, sentence); the label of an outcome is its family, "" for none."""
        return [
            Example(
                "affirmation",
                (name, declared.family, frame.frame_id),
                (),
                tuple(
                    Outcome(f" {_word(family, frame.form)} {frame.after}", family, share)
                    for family, share in pronoun_shares(model, declared, frame).items()
                ),
                opening(name, declared, frame),
            )
            for name in pronoun_names()
            for declared in pronoun_sets()
            for frame in pronoun_frames()
        ]

    def documents(self) -> list[str]:
        """None: the examples are plain text themselves."""
        return []


def _word(family: str, form: str) -> str:
    if not family:
        return NO_PRONOUN[form]
    (found,) = (s for s in pronoun_sets() if s.family == family)
    return str(getattr(found, form))
