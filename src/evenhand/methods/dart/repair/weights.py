"""Weights by severity: how much a repair row counts in the training.

Specification 4.2 and section 9. Published: 1, 2, 3 and 4 for minor, moderate, severe and extreme, by repeating rows. Chosen:
weights in the loss as the default, and what happens to absent severities, zeros and fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from evenhand.errors import BadInput
from evenhand.methods.dart.repair.rows import TrainingRow, deduplicate

Mode = Literal["loss", "repeat"]
SEVERITIES = ("minor", "moderate", "severe", "extreme")
WEIGHTS: dict[str, float] = {"minor": 1.0, "moderate": 2.0, "severe": 3.0, "extreme": 4.0}
"""The published weights."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Rows with their weights, and what became of the others.

    ``duplicates`` rows repeated a task, id and target, ``dropped`` rows weighed 0, and ``unsaid`` repair rows had no
    severity and weigh 1.
    """

    rows: list[TrainingRow]
    duplicates: int
    dropped: int
    unsaid: int


def check_weights(given: Mapping[str, float | str] | None = None, mode: Mode = "loss") -> dict[str, float]:
    """The published weights with those given in their places.

    Raises BadInput for a word that is no severity, for a weight that is negative or not a finite number, and for a fraction
    where rows are repeated.
    """
    weights = dict(WEIGHTS)
    for word, value in (given or {}).items():
        if word not in WEIGHTS:
            raise BadInput(f"A weight is given for '{word}'.", do=f"Severities: {', '.join(SEVERITIES)}.")
        weights[word] = _number(value, f"The weight of '{word}'")
        if mode == "repeat":
            _times(weights[word], f"The weight of '{word}'")
    return weights


def weigh(
    rows: Iterable[TrainingRow],
    weights: Mapping[str, float | str] | None = None,
    mode: Mode = "loss",
) -> Weighed:
    """Give each repair row the weight of its severity; duplicates go first.

    Parameters
    ----------
    rows : a repair row's own weight is replaced, a distillation row's is kept.
    weights : see `check_weights`.
    mode : ``"loss"`` writes the weight into the row; ``"repeat"`` repeats the row as often and leaves each with weight 1.

    A weight of 0 drops the row. Raises BadInput for a bad weight, an unknown severity (naming the row), and a fraction where
    rows are repeated.
    """
    by_severity = check_weights(weights, mode)
    unique, duplicates = deduplicate(rows)
    out: list[TrainingRow] = []
    dropped = unsaid = 0
    for number, row in enumerate(unique, start=1):
        where = f"Training row '{row.id}' (number {number} without duplicates)"
        if row.task == "repair":
            if row.severity and row.severity not in by_severity:
                raise BadInput(f"{where} has the severity '{row.severity}'.", do=f"Known: {', '.join(SEVERITIES)}.")
            unsaid += not row.severity
            weight = by_severity[row.severity] if row.severity else 1.0
        else:
            weight = _number(row.weight, f"{where}: its weight")
        if weight == 0:
            dropped += 1
        elif mode == "repeat":
            out.extend([replace(row, weight=1.0)] * _times(weight, f"{where}: its weight"))
        else:
            out.append(replace(row, weight=weight))
    return Weighed(out, duplicates, dropped, unsaid)


def _number(value: float | str, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise BadInput(f"{what} is '{value}'.", do="Give a finite number of 0 or more.")
    return number


def _times(weight: float, what: str) -> int:
    if weight != int(weight):
        raise BadInput(f"{what} is {weight:g}, and rows cannot be repeated so often.", do="Put weights into the loss.")
    return int(weight)
