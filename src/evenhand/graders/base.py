"""What every grader offers, and the rows it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from evenhand.records import Item, Label, Response


@dataclass(frozen=True, slots=True)
class Gradable:
    """A response with its item, its text stripped of echo, chat template and reasoning."""

    item: Item
    response: Response
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says of one text: a label (or None and why), the evidence, and whether it hedged."""

    label: Label | None
    evidence: str = ""
    missing: str = ""
    hedged: bool = False
    source: Literal["grader", "human"] = "grader"


@runtime_checkable
class Grader(Protocol):
    """A thing that labels responses.

    ``labels`` are the labels it can give: findings on outcomes beyond them are undefined, with a reason.
    ``calibrated`` says whether its error for this use is known (human labels, or exact by construction).
    ``identity`` changes whenever its answers could.
    """

    name: str
    labels: frozenset[Label]
    calibrated: bool

    @property
    def identity(self) -> str:
        """A digest of everything that decides its labels."""
        ...

    def judge(self, rows: Sequence[Gradable]) -> list[Verdict]:
        """One verdict per row, in order. Provider refusals, failed rows and empty texts never reach it."""
        ...
