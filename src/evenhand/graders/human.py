"""Labels that people gave, read from a file and matched to responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xxhash import xxh128_hexdigest

from evenhand.datasets.base import clean_key
from evenhand.datasets.labels import normalise_label
from evenhand.datasets.prompts import STEM_ALIASES
from evenhand.datasets.table import as_table, resolve, whole_number
from evenhand.graders.base import Gradable, Verdict
from evenhand.records import LABELS, Label
from evenhand.safe_text import csv_restore

_TRUE = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotator's label of one response. ``item`` is an item id, or ``(stem, name)``; config "" stands for any."""

    config: str
    item: str | tuple[str, str]
    repetition: int
    annotator: str
    label: Label
    hedged: bool = False
    row: int = 0


def read_annotations(source: Any, mapping: Mapping[str, str] | None = None) -> list[Annotation]:
    """Read a label file.

    Roles: ``label``; ``item_id``, or ``stem`` and ``name``; optionally ``config`` (or ``model``), ``repetition``,
    ``annotator``, ``hedged``. Rows with an empty label are left out: a sample may be labelled in part. Cells quoted
    for a spreadsheet are restored. Raises BadInput with the row for an unknown label, and where one annotator labels
    a response twice.
    """
    table = as_table(source)
    roles = resolve(
        table,
        mapping,
        required=("label",),
        optional=("item_id", "stem", "name", "config", "repetition", "annotator", "hedged"),
        aliases={**STEM_ALIASES, "config": ("model",), "repetition": ("rep", "gen")},
    )
    if "item_id" not in roles and not {"stem", "name"} <= set(roles):
        raise table.error(
            "Nothing says which response a label belongs to.",
            do=f"Found: {', '.join(table.frame.columns)}. Map item_id, or stem and name: --map item_id=COLUMN.",
        )
    found: list[Annotation] = []
    rows_of: dict[tuple[Any, ...], int] = {}
    for row, cells in enumerate(table.rows(), start=1):

        def cell(role: str, cells: Mapping[str, str | None] = cells) -> str:
            return clean_key(csv_restore(cells[roles[role]] or "")) if role in roles else ""

        text = cell("label")
        if not text:
            continue
        label, hedged = normalise_label(text), _TRUE.get(cell("hedged").casefold())
        if label is None:
            raise table.error(f"The label '{text}' is not known.", row, do=f"The labels are: {', '.join(LABELS)}.")
        if hedged is None:
            raise table.error(f"hedged is '{cell('hedged')}', not true or false.", row)
        repetition = whole_number(cell("repetition") or "0", "The repetition", file=table.origin, row=row)
        item: str | tuple[str, str] = cell("item_id") or (cell("stem"), cell("name"))
        annotation = Annotation(cell("config"), item, repetition, cell("annotator"), label, hedged, row)
        key = (annotation.config, item, annotation.repetition, annotation.annotator)
        if rows_of.setdefault(key, row) != row:
            raise table.error(
                f"Rows {rows_of[key]} and {row} label the same response.",
                row,
                do="Name the annotators in a column 'annotator', or remove one.",
            )
        found.append(annotation)
    if not found:
        raise table.error("No row has a label.")
    return found


def settle_annotations(annotations: Sequence[Annotation], *, resolver: str = "") -> Verdict:
    """One verdict from all labels of a response.

    The majority decides. Without one, the label of ``resolver`` (the third annotator of the published procedure)
    does; where that is not there either, there is no label: ``annotators_disagree``. Hedged if most of those who gave
    the label say so.
    """
    votes = Counter(a.label for a in annotations)
    best, count = votes.most_common(1)[0]
    votes_text = ", ".join(f"{a.annotator or 'label'}: {a.label}" for a in annotations)
    if 2 * count <= len(annotations):
        third = next((a.label for a in annotations if resolver and a.annotator == resolver), None)
        if third is None:
            return Verdict(None, votes_text, "annotators_disagree", source="human")
        best = third
    backers = [a for a in annotations if a.label == best]
    return Verdict(best, votes_text, hedged=2 * sum(a.hedged for a in backers) > len(backers), source="human")


class HumanGrader:
    """Labels from a file, by (config, item_id, repetition), or (config, stem, name, repetition).

    A file without configurations fits every configuration. A response that nobody labelled has no label
    (``label_missing``).
    """

    name = "human"
    labels: frozenset[Label] = frozenset(LABELS)
    calibrated = True

    def __init__(self, source: Any, mapping: Mapping[str, str] | None = None, *, resolver: str = ""):
        self.annotations: Sequence[Annotation] = read_annotations(source, mapping)
        self.resolver = resolver
        self._by_key: dict[tuple[str, str | tuple[str, str], int], list[Annotation]] = {}
        for annotation in self.annotations:
            key = (annotation.config, annotation.item, annotation.repetition)
            self._by_key.setdefault(key, []).append(annotation)

    @property
    def identity(self) -> str:
        """A digest of every annotation and of the resolver."""
        rows = sorted(repr((a.config, a.item, a.repetition, a.annotator, a.label, a.hedged)) for a in self.annotations)
        return xxh128_hexdigest("\n".join(["human", self.resolver, *rows]).encode())

    def judge(self, rows: Sequence[Gradable]) -> list[Verdict]:
        """One verdict per row, in order."""
        verdicts: list[Verdict] = []
        for row in rows:
            found = self.find(row)
            verdicts.append(
                settle_annotations(found, resolver=self.resolver)
                if found
                else Verdict(None, "nobody labelled this response", "label_missing", source="human")
            )
        return verdicts

    def find(self, row: Gradable) -> list[Annotation]:
        """The annotations of a row's response."""
        response, units = row.response, row.item.clusters
        item = clean_key(response.item_id)
        pair = (clean_key(units.get("stem", "")), clean_key(units.get("name", "")))
        for config in (response.config, ""):
            for key in (item, pair):
                found = self._by_key.get((config, key, response.repetition))
                if found:
                    return found
        return []
