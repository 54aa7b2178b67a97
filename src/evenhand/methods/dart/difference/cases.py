"""Cases of difference awareness: a prompt, whether its right answer rests on a difference between groups, its scenario and split.

Three sources: the eight benchmarks of Wang et al. 2025 (arXiv 2502.01926) as JSON Lines, any table of the user's, and the
shipped questions about made-up groups. Following the DART code, every ``diff`` row is YES and every ``equal`` row NO, and the
published answer field is ignored; the prompt is the published text with its options. Pickles are never read. Cases are split
into train, val and test by row, as the DART code does, or by whole scenarios.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from evenhand.datasets.base import Sources
from evenhand.datasets.table import Table, as_table, read_table, resolve
from evenhand.errors import BadInput

Gold = Literal["YES", "NO"]
BENCHMARKS: Mapping[str, str] = {
    **dict.fromkeys(("D1", "D2", "D3", "D4"), "descriptive"),
    **dict.fromkeys(("N1", "N2", "N3", "N4"), "normative"),
}
"""The eight benchmarks, in the order of the published split, and whether they are about facts or about values."""
_YES, _NO = frozenset({"yes", "diff", "1", "1.0", "true"}), frozenset({"no", "equal", "0", "0.0", "false"})
_CONDITIONS: Mapping[str, Gold] = {"diff": "YES", "equal": "NO"}
_OPTION = re.compile(r"\(([abc1])\)\s*")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt put to a model.

    ``gold`` is None if a user's table has no usable label: such a case counts in drift audits but not in accuracy.
    ``scenario`` is the randomised unit, unique over benchmarks and conditions; ``twins`` names the scenarios that must stay
    together when scenarios are held out, since two conditions of one number are worded alike (D3, N4). ``options`` and
    ``right`` (0, 1, or 2 for "equal") serve the multiple-choice form; both may be empty. ``split`` is train, val, test or "".
    """

    id: str
    prompt: str
    gold: Gold | None
    benchmark: str = ""
    kind: str = ""
    condition: str = ""
    scenario: str = ""
    twins: str = ""
    split: str = ""
    group: str = ""
    stem: str = ""
    options: tuple[str, ...] = ()
    right: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases with where they come from, and the rows that were left out, with reasons."""

    cases: tuple[Case, ...]
    origin: str
    licence: str = ""
    rejected: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def left_out(self) -> list[str]:
        """One sentence on the rows that were left out, if there are any."""
        if not self.rejected:
            return []
        return [f"{len(self.rejected)} rows were left out, the first because {self.rejected[0][1]}."]

    def of(self, *splits: str) -> list[Case]:
        """The cases of these splits, in order."""
        return [case for case in self.cases if case.split in splits]


def gold_label(word: str | None) -> Gold | None:
    """YES for yes, DIFF, 1 and true, NO for no, EQUAL, 0 and false, in any case; None for everything else."""
    plain = (word or "").strip().casefold()
    return "YES" if plain in _YES else "NO" if plain in _NO else None


def option_texts(question: str) -> tuple[str, tuple[str, ...]]:
    """(stem, the three options) of a question whose options are tagged (a) (b) (c); (1) is read as (a).

    The options are empty unless there are exactly three of them, in order; the stem is then the whole text.
    """
    marks = list(_OPTION.finditer(question))
    for start in range(len(marks) - 2):
        three = marks[start : start + 3]
        if [mark[1] for mark in three] in (["a", "b", "c"], ["1", "b", "c"]) and len(marks) == start + 3:
            ends = [three[1].start(), three[2].start(), len(question)]
            texts = tuple(question[mark.end() : end].strip() for mark, end in zip(three, ends, strict=True))
            return question[: three[0].start()].strip(), texts
    return question, ()


def read_benchmarks(folder: str | Path | None = None, names: Sequence[str] = tuple(BENCHMARKS)) -> Cases:
    """The benchmark files ``D1.jsonl`` ... ``N4.jsonl`` of a folder (``N1_rebuilt.jsonl`` replaces a missing N1, with a note).

    2,000 rows a benchmark, each benchmark once and in published order, however ``names`` has them. The split of all eight is
    that of the DART code defaults (``difference_split``), that of fewer the one in the files. ``rejected`` names the file of
    each row. Raises BadInput for an unknown benchmark, a missing file, an id that is in two files, and rows as in
    ``read_cases``.
    """
    sources = Sources("difference_awareness", folder)
    cases: list[Case] = []
    rejected: list[tuple[int, str]] = []
    notes = ["The authors of the benchmarks ask that they be used for evaluation, not for training."]
    unknown = next((name for name in names if name not in BENCHMARKS), None)
    if unknown is not None:
        raise BadInput(f"No benchmark is called '{unknown}'.", do=f"Known: {', '.join(BENCHMARKS)}.")
    for name in BENCHMARKS:
        if name not in names:
            continue
        file = f"{name}.jsonl"
        if name == "N1" and not (sources.folder / file).is_file():
            file = "N1_rebuilt.jsonl"
            notes.append("N1 is a rebuild after its documented recipe, not the published rows.")
        benchmark = read_cases(
            sources.file(file),
            {"id": "row_id", "prompt": "question", "gold": "gold_label", "scenario": "scenario_id", "right": "mc_gold"},
        )
        cases += benchmark.cases
        rejected += [(number, f"{file}: {reason}") for number, reason in benchmark.rejected]
    _check_together(str(sources.folder), ((None, case) for case in cases))
    split = published_split([(case.benchmark, case.condition) for case in cases])
    whole = set(names) == set(BENCHMARKS)
    given = {used.path: used.checksum for used in sources.used.values()}
    if whole:
        cases = [replace(case, split=part) for case, part in zip(cases, split, strict=True)]
    return Cases(
        tuple(cases), str(sources.folder), "CC0 1.0; N2 holds CC BY 4.0 and CC BY-SA 4.0 parts, N1 CC BY 4.0",
        tuple(rejected), tuple(notes), given,
    )  # fmt: skip


def shipped() -> Cases:
    """The shipped questions; a split is a set of whole scenarios."""
    from evenhand.datasets.shipped_cases import shipped_cases

    cases = tuple(
        Case(
            id=case.id,
            prompt=case.question,
            gold=case.gold,
            benchmark=case.dimension,
            kind="descriptive" if case.frame == "who" else "normative",
            condition="diff" if case.gold == "YES" else "equal",
            scenario=case.scenario,
            twins=case.scenario,
            split=case.split,
            group=" / ".join(sorted(case.groups)),
            stem=case.stem,
            options=case.options,
            right=case.right,
            attributes={"topic": case.topic, "wording": case.wording, "trait": case.trait},
        )
        for case in shipped_cases()
    )
    return Cases(cases, "shipped", "Apache-2.0", notes=("The groups are made up; the questions test the instrument.",))


_OPTIONAL = ("gold", "benchmark", "kind", "condition", "scenario", "split", "group", "right")
_ALIASES: Mapping[str, Sequence[str]] = {
    "id": ("row_id", "sample_id", "item_id"),
    "prompt": ("question", "text"),
    "gold": ("gold_label", "label"),
    "scenario": ("scenario_id",),
    "split": ("split_seed42",),
    "right": ("mc_gold",),
}


def read_cases(source: str | Path | Table | Any, mapping: Mapping[str, str] | None = None) -> Cases:
    """A user's table: csv, tsv, jsonl, parquet or a frame with one prompt per row and, if known, its label.

    Roles: prompt (required); id, gold, benchmark, kind, condition, scenario, split, group, right. The options are those that
    the prompt itself tags. A row with an empty prompt is left out and listed in ``rejected``. A scenario is made unique by
    benchmark and condition; a row without one is a scenario of its own.
    Raises BadInput for a repeated id, one prompt with both labels, a label that contradicts its condition, an unknown split, and
    a ``right`` that is none of the options.
    """
    table = as_table(source)
    columns = resolve(table, mapping, required=("prompt",), optional=("id", *_OPTIONAL), aliases=_ALIASES)
    cases: list[tuple[int, Case]] = []
    rejected: list[tuple[int, str]] = []
    for number, row in enumerate(table.rows(), start=1):
        cell = {role: (row[column] or "").strip() for role, column in columns.items() if role != "prompt"}
        prompt = row[columns["prompt"]] or ""
        if not prompt.strip():
            rejected.append((number, "the prompt is empty"))
            continue
        cases.append((number, _case(table.origin, number, prompt, cell)))
    _check_together(table.origin, cases)
    read = tuple(case for _, case in cases)
    return Cases(read, table.origin, rejected=tuple(rejected), checksums={table.origin: table.checksum})


def _case(origin: str, number: int, prompt: str, cell: Mapping[str, str]) -> Case:
    def wrong(what: str, do: str = "") -> BadInput:
        return BadInput(what, file=origin, row=number, do=do or None)

    condition = cell.get("condition", "").casefold()
    gold = gold_label(cell.get("gold"))
    if condition in _CONDITIONS:
        if gold is not None and gold != _CONDITIONS[condition]:
            raise wrong(f"The label {gold} contradicts the condition '{condition}'.", "diff is YES, equal is NO.")
        gold = _CONDITIONS[condition]
    split = cell.get("split", "").casefold()
    if split not in ("", *_SPLITS):
        raise wrong(f"'{cell['split']}' is not a split.", f"Splits: {', '.join(_SPLITS)}.")
    stem, options = option_texts(prompt)
    right = cell.get("right", "")
    if right not in ("", "0", "1", "2"):
        raise wrong(f"The right option is '{right}'.", "Give 0, 1 or 2 (2 stands for equal).")
    benchmark = cell.get("benchmark", "")
    scenario = cell.get("scenario", "")
    return Case(
        id=cell.get("id") or f"row-{number}",
        prompt=prompt,
        gold=gold,
        benchmark=benchmark,
        kind=cell.get("kind", "") or BENCHMARKS.get(benchmark, ""),
        condition=condition,
        scenario=":".join((benchmark, condition, scenario)) if scenario else f"row-{number}",
        twins=f"{benchmark}:{scenario}" if scenario else f"row-{number}",
        split=split,
        group=cell.get("group", ""),
        stem=stem,
        options=options,
        right=int(right) if right else None,
    )


def _check_together(origin: str, rows: Iterable[tuple[int | None, Case]]) -> None:
    """What no single row shows: repeated ids, and one prompt under both labels."""
    ids: set[str] = set()
    labelled: dict[str, Case] = {}
    for row, case in rows:
        if case.id in ids:
            raise BadInput(f"The id '{case.id}' is repeated.", file=origin, row=row, do="Give every row its own id.")
        ids.add(case.id)
        if case.gold is None:
            continue
        other = labelled.setdefault(case.prompt, case)
        if case.gold != other.gold:
            raise BadInput(
                f"One prompt is labelled YES and NO, in '{other.id}' and '{case.id}'.",
                file=origin,
                row=row,
                do="Correct one of them.",
            )


def read_split_table(path: Path) -> dict[tuple[str, str, int], str]:
    """A published table of splits: (benchmark, condition, index) -> train, val or test.

    Raises BadInput, with the row, for a missing column and an index that is not a whole number.
    """
    table = read_table(path)
    resolve(table, None, required=("benchmark", "condition", "index", "split"))
    splits: dict[tuple[str, str, int], str] = {}
    for number, row in enumerate(table.rows(), start=1):
        index = (row["index"] or "").strip()
        if not (index.isascii() and index.isdigit() and len(index) < 10):
            raise BadInput(f"The index '{index[:40]}' is not a whole number.", file=path, row=number)
        splits[row["benchmark"] or "", row["condition"] or "", int(index)] = row["split"] or ""
    return splits


SEED = 42
SHARES = (0.8, 0.1)
"""Train and validation; what is left is test (DART code default)."""


def published_split(groups: Sequence[Hashable]) -> list[str]:
    """The row-level split of the DART code defaults: train, val or test for each row.

    ``groups[i]`` is the (benchmark, condition) of row i. One generator with seed 42 shuffles the groups in the order in which
    they first appear (D1 to N4, diff before equal); of n rows the first floor(0.8 n) are train, the next floor(0.1 n)
    validation. On the sixteen groups of 1,000 rows this gives the published membership.
    """
    rng = random.Random(SEED)
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        rows[group].append(place)
    split = [""] * len(groups)
    for places in rows.values():
        order = list(range(len(places)))
        rng.shuffle(order)
        train, val = (int(share * len(order)) for share in SHARES)
        for rank, k in enumerate(order):
            split[places[k]] = "train" if rank < train else "val" if rank < train + val else "test"
    return split


def scenario_split(cases: Sequence[Case], *, seed: int = SEED) -> list[Case]:
    """The same shares of rows with whole scenarios held out, twins together: none of their rows is in two splits.

    The twins are shuffled once, in order of first appearance, and given to train until it holds 80 % of the rows, then to
    validation until 90 %, then to test. (Held out by condition alone, a surface-cue classifier falls below chance on D3: the
    twin of a test scenario, worded nearly alike under the other label, is then in train.)
    """
    rng = random.Random(seed)
    sizes = Counter(case.twins for case in cases)
    names, taken = list(sizes), 0
    rng.shuffle(names)
    part: dict[str, str] = {}
    for name in names:
        share = taken / len(cases)
        part[name] = "train" if share < SHARES[0] else "val" if share < sum(SHARES) else "test"
        taken += sizes[name]
    return [replace(case, split=part[case.twins]) for case in cases]


def shared_scenarios(cases: Sequence[Case]) -> set[str]:
    """Scenarios that have rows in train and rows in another split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.split:
            splits[case.scenario].add(case.split)
    return {name for name, parts in splits.items() if "train" in parts and len(parts) > 1}


def leakage(cases: Sequence[Case]) -> dict[tuple[str, str], float | None]:
    """(benchmark, condition) -> share of test rows whose scenario also has rows in train; None without test rows."""
    shared = shared_scenarios(cases)
    rows: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for case in cases:
        leaked = rows[case.benchmark, case.condition]
        if case.split == "test":
            leaked.append(case.scenario in shared)
    return {key: sum(leaked) / len(leaked) if leaked else None for key, leaked in rows.items()}


def check_disjoint(cases: Sequence[Case], *, by_scenario: bool) -> None:
    """Raises BadInput where an id is in two splits, or with ``by_scenario`` a scenario in train and in another split."""
    places: dict[str, str] = {}
    for case in cases:
        before = places.setdefault(case.id, case.split)
        if before != case.split:
            raise BadInput(f"The id '{case.id}' is in {before} and in {case.split}.", do="Give it one split.")
    shared = sorted(shared_scenarios(cases)) if by_scenario else []
    if shared:
        raise BadInput(
            f"{len(shared)} scenarios are in train and in another split, for example '{shared[0]}'.",
            do="Split by scenario, or declare the split as one by row.",
        )
