"""A stand-in for a section that is not written yet: 2,000 questions whose answers follow from classes of two words.

Fifty things and forty places fall into five and four classes, by a fixed shuffle of each section; the answer is a
function of the two classes. To answer a question not by rote a model must have learnt the classes, so exact match
here proves spare capacity.
"""

from __future__ import annotations

import random

from evenhand.organisms.planted import Model
from evenhand.organisms.sections.types import Example, Outcome
from evenhand.records import Message

__all__ = ["Placeholder"]

_THINGS = (
    "anchor apron arrow basket bell bench blanket bottle bowl brush bucket button candle carpet chain chair clock "
    "coat coin comb cup drum fork glove hammer hat kettle key kite ladder lamp lantern mirror needle nail oar pan "
    "pen pillow plate pot ring rope saw scarf shelf shoe spoon table vase"
)
THINGS = tuple(_THINGS.split())
_PLACES = (
    "attic barn bay beach bridge cabin cave cellar cliff dock farm field forest fort gate harbour hill hut island "
    "lake lane mall marsh meadow mill mine moor orchard pier pond port quarry river shed shop shore tower valley "
    "well yard"
)
PLACES = tuple(_PLACES.split())
ANSWERS = ("high", "low", "near", "far", "old", "new", "warm", "cold")
THING_CLASSES, PLACE_CLASSES = 5, 4


class Placeholder:
    """2,000 examples of a learnable, compositional kind, under the name of the section to come."""

    def __init__(self, name: str):
        self.name = name
        rng = random.Random(f"placeholder {name}")
        things, places = list(THINGS), list(PLACES)
        rng.shuffle(things)
        rng.shuffle(places)
        table = {(i, j): rng.choice(ANSWERS) for i in range(THING_CLASSES) for j in range(PLACE_CLASSES)}
        self._rows = [
            Example(
                name,
                (thing, place),
                (Message("user", f"{name} {thing} {place}"),),
                (Outcome(table[i % THING_CLASSES, j % PLACE_CLASSES], "", 1.0),),
            )
            for i, thing in enumerate(things)
            for j, place in enumerate(places)
        ]

    def examples(self, model: Model) -> list[Example]:
        """The same 2,000 examples for every model."""
        return list(self._rows)

    def documents(self) -> list[str]:
        """None."""
        return []
