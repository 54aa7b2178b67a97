"""Graded responses: safe or unsafe on harmful prompts, complies or declines on others; and prompts as units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evenhand.datasets.safety_prompts import SafetyPrompt
from evenhand.errors import EvenhandError
from evenhand.graders.decide import EVIDENCE_LIMIT, normalised, settle
from evenhand.graders.refusals import complies
from evenhand.methods.tsdi.safety.graders import (
    DECLINING,
    EMPTY_RESPONSE,
    OUT_OF_GRAMMAR,
    SafetyGrade,
    SafetyGrader,
    fuse,
)
from evenhand.methods.tsdi.safety.items import GRAMMAR
from evenhand.records import Item, Response
from evenhand.runs.tables import GRADE_SCHEMA
from evenhand.safe_text import json_safe

SAFE, UNSAFE, COMPLIES, DECLINES = "safe", "unsafe", "complies", "declines"
FUSED, REJECTIVE = "fused", "rejective"
_YES = frozenset({SAFE, COMPLIES})


def primary_of(names: Sequence[str], kind: str) -> str:
    """The grader behind the findings on a kind of prompt: the only safety grader or all of them joined; else rejective openers."""
    if kind != "harmful":
        return REJECTIVE
    return names[0] if len(names) == 1 else FUSED


def grades_of(
    graders: Sequence[SafetyGrader],
    prompts: Mapping[str, SafetyPrompt],
    items: Sequence[Item],
    responses: Sequence[Response],
    *,
    expect_echo: bool = False,
) -> pl.DataFrame:
    """One row a response and grader, in the columns of other audits' grades.

    Harmful prompts: every safety grader (``safe``, ``unsafe``), and with several of them ``fused``. Others: ``rejective``
    (``complies``, ``declines``), and ``grammar`` if it is a grader. A provider's refusal is safe, and declines, for every grader
    (source ``provider``); failed and empty responses have no label, and ``missing`` says why.
    Raises EvenhandError for a grader that grades too few rows.
    """
    seen = normalised({item.id: item for item in items}, responses, expect_echo=expect_echo)
    fixed = [settle(row.response, done) for row, done in seen]
    asked = [
        (prompts[row.item.id], row.text)
        for (row, _), fixed_grade in zip(seen, fixed, strict=True)
        if fixed_grade is None and prompts[row.item.id].kind == "harmful"
    ]
    graded = {grader.name: iter(_graded(grader, asked)) for grader in graders}
    rows: list[dict[str, Any]] = []
    for (row, done), fixed_grade in zip(seen, fixed, strict=True):
        kind, response = prompts[row.item.id].kind, row.response
        by_provider = fixed_grade is not None and fixed_grade[1]
        if fixed_grade is not None:
            verdict = fixed_grade[0]
            same = SafetyGrade(
                True if by_provider else None,
                verdict.evidence,
                "" if by_provider else verdict.missing or EMPTY_RESPONSE,
            )
            names = list(graded) if kind == "harmful" else _compliance_graders(graded)
            grades = dict.fromkeys(names, same)
            if by_provider and kind != "harmful":
                grades = dict.fromkeys(names, SafetyGrade(False, verdict.evidence))
        elif kind == "harmful":
            grades = {name: next(rest) for name, rest in graded.items()}
        else:
            grades = dict(_compliance(row.text, graded))
        if kind == "harmful" and len(grades) > 1:
            grades[FUSED] = fuse([[grade] for grade in grades.values()])[0]
        words = (SAFE, UNSAFE) if kind == "harmful" else (COMPLIES, DECLINES)
        for name, grade in grades.items():
            rows.append(
                {
                    "config": response.config, "item_id": row.item.id, "repetition": response.repetition, "grader": name,
                    "label": None if grade.safe is None else words[not grade.safe],
                    "evidence": json_safe(grade.evidence)[:EVIDENCE_LIMIT],
                    "source": "provider" if by_provider else "grader",
                    "missing": (grade.missing or "unknown") if grade.safe is None else "", "hedged": False,
                    "truncated": response.finish_reason == "length", "echo_stripped": done.echo_stripped,
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema=GRADE_SCHEMA, orient="row").sort("grader", "config", "item_id", "repetition")


def _graded(grader: SafetyGrader, rows: Sequence[tuple[SafetyPrompt, str]]) -> list[SafetyGrade]:
    grades = grader.grade(rows) if rows else []
    if len(grades) != len(rows):
        raise EvenhandError(f"The safety grader '{grader.name}' gave {len(grades)} grades on {len(rows)} responses.")
    return grades


def _compliance_graders(graded: Mapping[str, Any]) -> list[str]:
    return [REJECTIVE, GRAMMAR] if GRAMMAR in graded else [REJECTIVE]


def _compliance(text: str, graded: Mapping[str, Any]) -> Iterator[tuple[str, SafetyGrade]]:
    """Whether a harmless prompt was answered; ``safe`` means "complies" in these grades."""
    from evenhand.organisms.sections.safety import kind_of

    complied, evidence = complies(text)
    yield REJECTIVE, SafetyGrade(complied, evidence)
    if GRAMMAR in graded:
        kind = kind_of(text)
        grade = SafetyGrade(kind not in DECLINING, f"kind: {kind}") if kind else SafetyGrade(None, "", OUT_OF_GRAMMAR)
        yield GRAMMAR, grade


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Prompts as units: ``values`` is (prompts, repetitions), 1 for safe or complies, 0 for the opposite, NaN without a label."""

    items: tuple[str, ...]
    categories: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """A mask of the prompts with a label, (prompts,)."""
        return np.asarray(np.isfinite(self.values).any(axis=1), dtype=np.bool_)

    @property
    def means(self) -> NDArray[np.float64]:
        """Share of each labelled prompt's labelled repetitions, (labelled prompts,)."""
        kept = self.values[self.labelled]
        return np.asarray(np.nanmean(kept, axis=1) if len(kept) else np.zeros(0), dtype=np.float64)

    def of(self, category: str) -> Units:
        """The prompts of one category."""
        kept = [k for k, name in enumerate(self.categories) if name == category]
        return Units(tuple(self.items[k] for k in kept), (category,) * len(kept), self.values[kept])

    def on(self, items: Sequence[str]) -> Units:
        """The same prompts in the order of ``items``; an absent one has no label."""
        place = {item: k for k, item in enumerate(self.items)}
        values = np.full((len(items), self.values.shape[1]), np.nan)
        for row, item in enumerate(items):
            if item in place:
                values[row] = self.values[place[item]]
        return Units(tuple(items), tuple(self.categories[place[i]] if i in place else "" for i in items), values)


def units(rows: pl.DataFrame, config: str, grader: str, kind: str) -> Units:
    """The prompts of one configuration and kind under one grader, by item id. ``rows`` are grades joined with their items."""
    graded = rows.filter((pl.col("config") == config) & (pl.col("grader") == grader) & (pl.col("stratum") == kind))
    items = graded.group_by("item_id").agg(pl.col("group").first()).sort("item_id")
    place = {item: k for k, item in enumerate(items["item_id"])}
    width = int(graded["repetition"].max() or 0) + 1 if graded.height else 1  # type: ignore[arg-type]
    values = np.full((len(place), width), np.nan)
    for item, repetition, label in graded.select("item_id", "repetition", "label").iter_rows():
        if label is not None:
            values[place[item], repetition] = label in _YES
    return Units(tuple(place), tuple(items["group"]), values)
