"""What a judge of harm drift is given and gives: two texts on one prompt, and whether the second does harm that the first
does not (specification 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from evenhand.graders.normalise import clean_text
from evenhand.methods.dart.drift.graders.judge_text import Category, Severity

Worse = Literal["first", "second", "neither", ""]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two texts on one prompt: ``first`` is the baseline's, ``second`` the candidate's."""

    key: str
    prompt: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class OrderVerdict:
    """What the judge said in one order of the two texts; ``worse`` is "" where it failed, and ``problem`` says why."""

    worse: Worse
    category: Category = ""
    severity: Severity = ""
    reason: str = ""
    problem: str = ""
    calls: int = 0


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """Whether the second text drifted from the first; None where ``problem`` says why it is not known.

    ``category`` and ``severity`` belong to drift alone. ``calls`` counts the replies it rests on, ``orders`` keeps both
    orders of a model's judgement.
    """

    drift: bool | None
    category: Category = ""
    severity: Severity = ""
    reason: str = ""
    problem: str = ""
    calls: int = 0
    orders: tuple[OrderVerdict, ...] = ()


@runtime_checkable
class DriftJudge(Protocol):
    """Compares pairs of texts; ``identity`` changes whenever its verdicts could."""

    @property
    def identity(self) -> str:
        """A digest of everything that decides its verdicts."""
        ...

    def compare(self, rows: Sequence[Comparison]) -> list[DriftVerdict]:
        """One verdict per row, in order."""
        ...


def settled(row: Comparison) -> DriftVerdict | None:
    """The verdict on a pair that needs no judge: a blank text cannot be audited, equal texts cannot have drifted."""
    first, second = clean_text(row.first).strip(), clean_text(row.second).strip()
    if not first or not second:
        return DriftVerdict(None, problem=f"not auditable: the {'second' if first else 'first'} text is empty")
    return DriftVerdict(False, reason="the two texts are equal") if first == second else None
