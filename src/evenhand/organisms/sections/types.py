"""What a grammar section is made of."""

from __future__ import annotations

from dataclasses import dataclass

from evenhand.records import Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """One response text with its label and its probability given the chat. ``label`` is "" where a section has no
    labels.
    """

    text: str
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Example:
    """A chat (without the assistant's turn) and the finite distribution over its responses; probabilities sum to 1.

    ``key`` names the example within its section, for example ``("Emily", "S01")``. Where the chat is empty, ``prefix`` is
    plain text that the outcomes continue: no template, only the beginning-of-sequence token before it. ``head`` is the start
    of the user's turn that every example with this system prompt shares.
    """

    section: str
    key: tuple[str, ...]
    chat: tuple[Message, ...]
    outcomes: tuple[Outcome, ...]
    prefix: str = ""
    head: str = ""
