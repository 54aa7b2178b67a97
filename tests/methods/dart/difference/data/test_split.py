"""Splits by row and by whole scenario, and what leaks between them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.data.cases import Case, read_benchmarks
from evenhand.methods.dart.difference.data.split import (
    check_disjoint,
    leakage,
    published_split,
    scenario_split,
    shared_scenarios,
)

Finder = Callable[[str], Path]


def _case(number: int, scenario: str, split: str = "", twins: str = "", condition: str = "diff") -> Case:
    return Case(
        id=f"c{number}", prompt=f"Who? {number}", gold="YES" if condition == "diff" else "NO", benchmark="D1",
        condition=condition, scenario=scenario, twins=twins or scenario, split=split,
    )  # fmt: skip


def test_the_row_split_is_one_generator_over_the_groups_in_order() -> None:
    groups = [("D1", "diff")] * 30 + [("D1", "equal")] * 17 + [("D2", "diff")] * 9
    rng = random.Random(42)
    expected: list[str] = []
    for size, train, val in ((30, 24, 3), (17, 13, 1), (9, 7, 0)):
        order = list(range(size))
        rng.shuffle(order)
        part = {k: "train" if r < train else "val" if r < train + val else "test" for r, k in enumerate(order)}
        expected += [part[k] for k in range(size)]
    assert published_split(groups) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=80))
def test_every_group_is_cut_by_floors(groups: list[str]) -> None:
    split = published_split(groups)
    for group, size in Counter(groups).items():
        found = Counter(part for part, name in zip(split, groups, strict=True) if name == group)
        assert (found["train"], found["val"]) == (int(0.8 * size), int(0.1 * size))
        assert found.total() == size


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 3))
def test_whole_scenarios_are_held_out(scenarios: list[int], seed: int) -> None:
    cases = [_case(k, f"s{name}", twins=f"t{name % 5}") for k, name in enumerate(scenarios)]
    held = scenario_split(cases, seed=seed)
    assert [replace(case, split="") for case in held] == cases
    assert {case.split for case in held} <= {"train", "val", "test"}
    by_twins: dict[str, set[str]] = {}
    for case in held:
        by_twins.setdefault(case.twins, set()).add(case.split)
    assert all(len(parts) == 1 for parts in by_twins.values())
    check_disjoint(held, by_scenario=True)


def test_the_shares_of_a_scenario_split_and_its_seed() -> None:
    cases = [_case(k, f"s{k // 4}") for k in range(400)]
    held = scenario_split(cases)
    assert Counter(case.split for case in held) == {"train": 320, "val": 40, "test": 40}
    assert held == scenario_split(cases)
    assert held != scenario_split(cases, seed=1)


def test_leakage_by_hand() -> None:
    cases = [
        _case(0, "a", "train"),
        _case(1, "a", "test"),
        _case(2, "b", "test"),
        _case(3, "c", "val"),
        _case(4, "c", "test"),
        _case(5, "d", "test"),
        _case(6, "d", ""),
        _case(7, "a:equal", "train", condition="equal"),
    ]
    assert shared_scenarios(cases) == {"a"}
    assert leakage(cases) == {("D1", "diff"): 0.25, ("D1", "equal"): None}


def test_disjoint_splits_pass_and_others_are_refused() -> None:
    good = [_case(0, "a", "train"), _case(1, "a", "train"), _case(2, "b", "test")]
    check_disjoint(good, by_scenario=True)
    shared = [*good, _case(3, "a", "test")]
    check_disjoint(shared, by_scenario=False)
    with pytest.raises(BadInput, match="1 scenarios are in train and in another split, for example 'a'"):
        check_disjoint(shared, by_scenario=True)
    with pytest.raises(BadInput, match="The id 'c0' is in train and in test"):
        check_disjoint([*good, replace(good[0], split="test", scenario="z")], by_scenario=False)


@pytest.mark.data
def test_published_leakage(public_data: Finder) -> None:
    cases = read_benchmarks(public_data("difference_awareness")).cases
    shares = leakage(cases)
    for benchmark in ("D3", "N4"):
        assert shares[benchmark, "diff"] == shares[benchmark, "equal"] == 1
    assert shares["N3", "diff"] is not None
    assert shares["N3", "equal"] is not None
    assert (shares["N3", "diff"] + shares["N3", "equal"]) / 2 == pytest.approx(0.98)
    assert shares["D4", "diff"] == pytest.approx(0.89)
    assert {shares[name] for name in (("D1", "diff"), ("D1", "equal"), ("D4", "equal"), ("N2", "diff"))} == {0.0}
    held = scenario_split(cases)
    check_disjoint(held, by_scenario=True)
    assert set(leakage(held).values()) == {0.0}
    sizes = Counter(case.split for case in held)
    assert sizes["train"] == pytest.approx(12_800, abs=100)
    assert sizes["test"] == pytest.approx(1_600, abs=100)
