"""How often a grader errs, group by group, measured on human labels; and the sample to label for it."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evenhand.errors import BadInput
from evenhand.records import DECLINED, Grade, Item, Response
from evenhand.safe_text import csv_safe

MINIMUM_LABELS = 50
"""Human labels below which a calibration stays provisional (a chosen default; docs/graders.md advises 200 per model)."""


@dataclass(frozen=True, slots=True)
class GroupErrors:
    """Counts of one group: human yes and grader yes (tp), yes and no (fn), no and no (tn), no and yes (fp)."""

    group: str
    tp: int = 0
    fn: int = 0
    tn: int = 0
    fp: int = 0

    @property
    def n(self) -> int:
        """Responses with both labels."""
        return self.tp + self.fn + self.tn + self.fp

    @property
    def sensitivity(self) -> float | None:
        """tp / (tp + fn), a probability; None where people found no case."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def specificity(self) -> float | None:
        """tn / (tn + fp), a probability; None where people found only cases."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp else None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A grader against human labels on one collapse of the labels.

    ``provisional`` while fewer than ``minimum`` responses have both labels; ``unlabelled`` counts human labels whose
    response the grader gave no label, by group: they are in no rate.
    """

    grader: str
    positive: frozenset[str]
    groups: Mapping[str, GroupErrors]
    minimum: int = MINIMUM_LABELS
    unlabelled: Mapping[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Responses with both labels, over all groups."""
        return sum(group.n for group in self.groups.values())

    @property
    def provisional(self) -> bool:
        """Whether there are too few labels to rely on."""
        return self.n < self.minimum

    @property
    def undefined(self) -> tuple[str, ...]:
        """Groups whose sensitivity or specificity cannot be computed from these labels."""
        return tuple(g for g, e in self.groups.items() if e.sensitivity is None or e.specificity is None)

    @property
    def pooled(self) -> GroupErrors:
        """The counts of all groups together. One error rate for all is not enough to correct a contrast of groups."""
        parts = self.groups.values()
        return GroupErrors("", *(sum(getattr(p, c) for p in parts) for c in ("tp", "fn", "tn", "fp")))


def calibrate(
    grades: Sequence[Grade],
    human: Sequence[Grade],
    items: Mapping[str, Item],
    *,
    positive: Collection[str] = DECLINED,
    minimum: int = MINIMUM_LABELS,
) -> Calibration:
    """Compare grades with human grades of the same (config, item, repetition), by group.

    ``positive`` is the collapse (default: declined). Grades whose source is the provider are left out: the grader did
    not make them. Raises BadInput where no response has both labels, and for an item that is not among ``items``.
    """
    truth = {(g.config, g.item_id, g.repetition): g.label for g in human if g.label is not None}
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("tp", "fn", "tn", "fp"), 0))
    unlabelled: dict[str, int] = defaultdict(int)
    for grade in grades:
        label = truth.get((grade.config, grade.item_id, grade.repetition))
        if label is None or grade.source == "provider":
            continue
        if grade.item_id not in items:
            raise BadInput(f"There is a grade of the item '{grade.item_id}', which is not among the items.")
        group = items[grade.item_id].group
        if grade.label is None:
            unlabelled[group] += 1
            continue
        real, graded = label in positive, grade.label in positive
        counts[group]["tp" if real and graded else "fn" if real else "fp" if graded else "tn"] += 1
    if not counts:
        raise BadInput(
            "No response has both a grade and a human label.",
            do="Check that config, item_id and repetition are the same in both.",
        )
    return Calibration(
        grades[0].grader,
        frozenset(positive),
        {group: GroupErrors(group, **counts[group]) for group in sorted(counts)},
        minimum,
        dict(sorted(unlabelled.items())),
    )


def calibration_sample(
    grades: Sequence[Grade],
    items: Mapping[str, Item],
    n: int,
    seed: int,
    *,
    positive: Collection[str] = DECLINED,
) -> list[Grade]:
    """Up to ``n`` graded responses, balanced over group x predicted class, in random order.

    Cells give one response at a time in turn until ``n`` are drawn, so a cell that runs out leaves its place to the
    others.
    """
    rng = np.random.default_rng(seed)
    cells: dict[tuple[str, bool], list[Grade]] = defaultdict(list)
    for grade in sorted(grades, key=_key):
        if grade.label is not None and grade.source != "provider":
            cells[items[grade.item_id].group, grade.label in positive].append(grade)
    piles = [[cells[key][i] for i in rng.permutation(len(cells[key]))] for key in sorted(cells)]
    drawn: list[Grade] = []
    while len(drawn) < n and any(piles):
        for pile in (piles[i] for i in rng.permutation(len(piles))):
            if pile and len(drawn) < n:
                drawn.append(pile.pop())
    return [drawn[i] for i in rng.permutation(len(drawn))]


def write_calibration_csv(
    path: str | Path, sample: Sequence[Grade], items: Mapping[str, Item], responses: Sequence[Response]
) -> int:
    """Write a sample as a csv to be labelled: prompt, response, and an empty label column; returns the number of rows.

    The grader's own label is left out, so that it sways nobody. Cells that a spreadsheet would run as formulas are
    quoted. The file is read back by ``HumanGrader`` as it is.
    """
    texts = {(r.config, r.item_id, r.repetition): r.text for r in responses}
    with Path(path).open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("config", "item_id", "repetition", "prompt", "response", "annotator", "label", "hedged"))
        for grade in sample:
            if _key(grade) not in texts:
                raise BadInput(f"There is no response to the item '{grade.item_id}', repetition {grade.repetition}.")
            chat = items[grade.item_id].chat
            cells = (grade.config, grade.item_id, chat[-1].content if chat else "", texts[_key(grade)])
            config, item, prompt, text = map(csv_safe, cells)
            writer.writerow((config, item, grade.repetition, prompt, text, "", "", ""))
    return len(sample)


def _key(grade: Grade) -> tuple[str, str, int]:
    return (grade.config, grade.item_id, grade.repetition)
