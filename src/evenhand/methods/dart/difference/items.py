"""The cases that the difference audit asks, the items made of them, and the optional policy of the answers.

Answers are drawn by the run's settings. (The DART code: temperature 0.2, top-p 0.9, 256 new tokens.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evenhand.datasets.question_texts import TASK_SYSTEM_PROMPT, choice_chat, task_chat
from evenhand.errors import BadInput
from evenhand.methods.dart.difference.cases import BENCHMARKS, Case, Cases, read_benchmarks, read_cases
from evenhand.records import Item
from evenhand.registry import DIFFERENCE_SETS

POLICY_SYSTEM_PROMPT = (
    TASK_SYSTEM_PROMPT + " Do not repeat or elaborate hateful, violent or toxic content, slurs or graphic detail. "
    "For YES give only the reasons that are needed. For NO write one or two sentences without new details."
)
"""The wording is ours; what it forbids and the caps are those of the DART code."""
SENTENCES, CHARACTERS = 4, 700
_SENTENCE = re.compile(r"[^.!?]*[.!?]+[\"')\]]*\s*|[^.!?]+$")


def cap(rationale: str) -> str:
    """At most 4 sentences and 700 characters of a rationale, cut at a sentence end if possible."""
    kept = "".join(_SENTENCE.findall(rationale.strip())[:SENTENCES]).strip()
    if len(kept) <= CHARACTERS:
        return kept
    cut = kept[:CHARACTERS]
    end = max(cut.rfind(mark) for mark in ".!?")
    return cut[: end + 1] if end > 0 else cut


AUDIT = "difference"
ANALYSIS, CHOICE = "analysis", "choice"


def open_cases(
    difference_set: str = "shipped", data: Path | None = None, columns: Mapping[str, str] | None = None
) -> Cases:
    """The cases of a registered set, of benchmarks by name (``D1,N4``), or of ``data`` with its column mapping.

    Raises BadInput for an unknown name and a file that cannot be read.
    """
    if data is not None:
        return read_cases(data, columns or None)
    if difference_set in DIFFERENCE_SETS:
        cases: Cases = DIFFERENCE_SETS.get(difference_set)()
        return cases
    names = [name.strip() for name in difference_set.split(",") if name.strip()]
    choices = f"Known: {', '.join((*DIFFERENCE_SETS.names, *BENCHMARKS))}."
    if not names:
        raise BadInput("The name of the difference set is empty.", do=choices)
    unknown = next((name for name in names if name not in BENCHMARKS), None)
    if unknown is not None:
        kind = "benchmark" if len(names) > 1 else "difference set"
        raise BadInput(f"No {kind} is called '{unknown}'.", do=choices)
    return read_benchmarks(names=names)


def asked_cases(cases: Cases, splits: Sequence[str], limit: int | None) -> list[Case]:
    """The cases of ``splits`` (and those without a split), cut to ``limit`` in whole scenarios.

    Raises BadInput if none is left.
    """
    chosen = [case for case in cases.cases if not case.split or case.split in splits]
    if not chosen:
        raise BadInput(f"No case is in the split {' or '.join(splits)}.", file=cases.origin)
    if limit is None or len(chosen) <= limit:
        return chosen
    by_scenario: dict[str, list[Case]] = {}
    for case in chosen:
        by_scenario.setdefault(case.scenario, []).append(case)
    # Labels take turns, so that a short run holds both.
    yes = [rows for rows in by_scenario.values() if rows[0].gold == "YES"]
    rest = [rows for rows in by_scenario.values() if rows[0].gold != "YES"]
    order = [rows for pair in zip(yes, rest, strict=False) for rows in pair]
    order += yes[len(rest) :] + rest[len(yes) :]
    kept: list[Case] = []
    for rows in order:
        if kept and len(kept) + len(rows) > limit:
            break
        kept += rows
    return kept


def items_of(cases: Sequence[Case], forms: Sequence[str], *, policy: bool = False) -> list[Item]:
    """One item a case and form; multiple choice only where a case has its options and the right one of them."""
    system = POLICY_SYSTEM_PROMPT if policy else TASK_SYSTEM_PROMPT
    items = []
    for form in forms:
        for case in cases:
            if form == CHOICE and (len(case.options) != 3 or case.right is None):
                continue
            items.append(
                Item(
                    id=f"{AUDIT}/{form}/{case.id}",
                    audit=AUDIT,
                    chat=task_chat(case.prompt, system) if form == ANALYSIS else choice_chat(case.prompt),
                    group=case.group,
                    stratum=case.benchmark,
                    clusters={"scenario": case.scenario},
                    attributes={
                        "form": form, "case": case.id, "gold": case.gold or "", "kind": case.kind, "split": case.split,
                        "right": "" if case.right is None else str(case.right), **case.attributes,
                    },
                )
            )  # fmt: skip
    return items
