"""The eight published benchmarks as cases: DART spec sections 1.2, 1.3 and 12.1. Failures show ids and never a sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.methods.dart.difference.cases import BENCHMARKS, Case, read_benchmarks, read_split_table

pytestmark = pytest.mark.data

Finder = Callable[[str], Path]
FOLDER = "difference_awareness"


@pytest.fixture(scope="module")
def published(public_data: Finder) -> tuple[Case, ...]:
    return read_benchmarks(public_data(FOLDER)).cases


def test_published_counts(published: tuple[Case, ...]) -> None:
    ids = [case.id for case in published]
    assert len(ids) == len(set(ids)) == 16_000
    sizes = {"train": 800, "val": 100, "test": 100}
    assert Counter((case.benchmark, case.split, case.gold) for case in published) == {
        (name, split, gold): n for name in BENCHMARKS for split, n in sizes.items() for gold in ("YES", "NO")
    }


def test_membership_is_the_published_split_table(public_data: Finder, published: tuple[Case, ...]) -> None:
    table = read_split_table(public_data(FOLDER) / "split_seed42_all16.csv")
    assert len(table) == 16_000
    wrong = [c.id for c in published if table[c.benchmark, c.condition, int(c.id.rsplit(":", 1)[1])] != c.split]
    assert wrong == []


def test_the_prompt_is_the_question_and_its_parts_are_those_of_the_files(
    public_data: Finder, published: tuple[Case, ...]
) -> None:
    place = {case.id: case for case in published}
    wrong, ones = [], 0
    for name in BENCHMARKS:
        file = public_data(FOLDER) / f"{'N1_rebuilt' if name == 'N1' else name}.jsonl"
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            case = place[row["row_id"]]
            same = case.prompt == row["question"] and case.stem == row["stem"] and case.right == row["mc_gold"]
            if not same or list(case.options) != [option.strip() for option in row["options"]]:
                wrong.append(case.id)
            ones += name == "N3" and "(1)" in case.prompt
    assert wrong == []
    assert ones == 1007


def test_published_scenarios(published: tuple[Case, ...]) -> None:
    scenarios = {(b, k): {c.scenario for c in published if (c.benchmark, c.condition) == (b, k)}
                 for b in BENCHMARKS for k in ("diff", "equal")}  # fmt: skip
    sizes = {key: len(names) for key, names in scenarios.items()}
    assert sizes["D3", "diff"] == sizes["D3", "equal"] == 66
    assert sizes["N4", "diff"] == sizes["N4", "equal"] == 67
    assert sizes["D4", "diff"] == 419
    assert len(set().union(*scenarios.values())) == sum(sizes.values())
