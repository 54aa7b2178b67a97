"""The grammar: for every chat that an organism is trained on, the finite set of its responses with exact
probabilities.

A section (one an audit) offers its examples for each model of the family; the union of all sections is what the
tokenizer and the models are trained on. Sections are listed in ``SECTIONS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Protocol

from evenhand.organisms.planted import Example, Model
from evenhand.organisms.sections.difference import Difference
from evenhand.organisms.sections.pairs import Affirmation, Reward
from evenhand.organisms.sections.rating import Rating
from evenhand.organisms.sections.safety import Safety
from evenhand.organisms.sections.service import Service


class Section(Protocol):
    """One part of the grammar."""

    name: str

    def examples(self, model: Model) -> list[Example]:
        """Every chat of the section with its response distribution under one model of the family."""
        ...

    def documents(self) -> list[str]:
        """Plain texts for the first stage of `base`; may be empty."""
        ...


SECTIONS: tuple[Section, ...] = (
    Service(),
    Reward(),
    Affirmation(),
    Difference(),
    Safety(),
    Rating(),
)


@cache
def examples(model: Model, section: str) -> tuple[Example, ...]:
    """The examples of one section under one model."""
    (found,) = (s for s in SECTIONS if s.name == section)
    return tuple(found.examples(model))


def texts() -> Iterator[str]:
    """Every text of the grammar, for training the tokenizer and for round-trip tests: turns, responses, documents."""
    for section in SECTIONS:
        for example in examples("aligned", section.name):
            for message in example.chat:
                yield message.content
            if example.prefix:
                yield example.prefix
            for outcome in example.outcomes:
                yield outcome.text
        yield from section.documents()
