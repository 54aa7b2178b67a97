"""Train, validation and test: by row as the DART code does, or by whole scenarios; and what leaks between them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.data.cases import Case

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
    return {name for name, found in splits.items() if "train" in found and len(found) > 1}


def leakage(cases: Sequence[Case]) -> dict[tuple[str, str], float | None]:
    """(benchmark, condition) -> share of test rows whose scenario also has rows in train; None without test rows."""
    shared = shared_scenarios(cases)
    rows: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for case in cases:
        found = rows[case.benchmark, case.condition]
        if case.split == "test":
            found.append(case.scenario in shared)
    return {key: sum(found) / len(found) if found else None for key, found in rows.items()}


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
            do="Split by scenario, or say that the split is by row.",
        )
