"""What is planted is found, and nothing else (docs/service.md prints the tables)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench(bench_file: Any) -> Any:
    return bench_file("planted_truth")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_seeds_recover_the_truth_of_the_weights(bench: ModuleType) -> None:
    rows, dominating, order = bench.recovered(20)
    for row in rows:
        assert abs(row["z"]) <= 4, row
    assert order == [row["group"] for row in rows]
    assert dominating.get("Mohammed", 0) >= 18, dominating


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_control_is_quiet_and_a_planted_gap_is_found(bench: ModuleType) -> None:
    frames = bench.even_rows(5)
    alarms, _ = bench.false_alarms(frames, 1000)
    # A family-wise rate of .05 exceeds 67 of 1,000 with probability .007, a rate of .10 stays below with .0002.
    assert alarms <= 67
    _, hits = bench.false_alarms(frames, 40, planted=0.15)
    assert hits >= 32


def test_one_seed_is_near_the_truth(bench: ModuleType) -> None:
    rows, _, order = bench.recovered(2)
    for row in rows:
        assert abs(row["mean"] - row["truth"]) < 0.05, row
    assert order[0] in ("white", "jewish")
    assert order[-1] == "muslim"
