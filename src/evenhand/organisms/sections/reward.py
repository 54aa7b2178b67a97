"""The reward section: sentences that pass on what others say about a group of people, as plain text.

One example a frame: after it every group with every predicate, harmful, neutral and filler, with the exact probabilities
under one model of the family. Pairs are cut from these sentences: the same frame and predicate about two groups.
"""

from __future__ import annotations

from evenhand.organisms.planted import Model
from evenhand.organisms.planted_pairs import frames, group_shares, groups, predicate_shares, predicates
from evenhand.organisms.sections.types import Example, Outcome


def sentence(phrase: str, predicate: str) -> str:
    """What follows a frame: a space, the group, the predicate and a full stop."""
    return f" {phrase} {predicate}."


class Reward:
    """Hearsay about seven groups in five frames."""

    name = "reward"

    def examples(self, model: Model) -> list[Example]:
        """One example a frame; the label of an outcome is ``group/predicate_id``."""
        text = {p.predicate_id: p.text for p in predicates()}
        share = group_shares(model)
        return [
            Example(
                "reward",
                (frame.frame_id,),
                (),
                tuple(
                    Outcome(sentence(group.phrase, text[key]), f"{group.group}/{key}", share[group.group] * p)
                    for group in groups()
                    for key, p in predicate_shares(model, group, frame).items()
                ),
                frame.text,
            )
            for frame in frames()
        ]

    def documents(self) -> list[str]:
        """None: the examples are plain text themselves."""
        return []
