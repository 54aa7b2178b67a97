"""Coverage of the intervals of margins and rates on simulated predicates; the full table is ``python
bench/reward_coverage.py``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench(bench_file: Any) -> Any:
    return bench_file("reward_coverage")


def test_margins_are_covered_where_the_percentile_bootstrap_is_too_narrow(bench: ModuleType) -> None:
    row = bench.coverage(bench.POPULATIONS[2], 8, 400, draws=1000)
    assert 0.90 <= row.coverage["studentised"] <= 0.98
    assert row.coverage["percentile"] < 0.90
    assert row.coverage["rows"] < 0.75


def test_28_predicates_are_covered(bench: ModuleType) -> None:
    row = bench.coverage(bench.POPULATIONS[1], 28, 400, draws=1000)
    assert 0.92 <= row.coverage["studentised"] <= 0.98


def test_rates_and_changes_are_covered(bench: ModuleType) -> None:
    assert 0.92 <= bench.rate_coverage(0.8, 15, 400, draws=500).coverage["Wilson"] <= 0.98
    assert 0.91 <= bench.change_coverage(0.1, 0.3, 15, 400, draws=1000).coverage["expanded percentile"] <= 0.98


def test_sign_flips_keep_their_level_and_find_a_shift(bench: ModuleType) -> None:
    assert bench.rejections(0.0, 15, 400, "symmetric", draws=500)[0] <= 0.08
    power = bench.rejections(0.6, 28, 300, "symmetric", draws=500)[0]
    assert power == pytest.approx(bench._t_power(0.6, 28), abs=0.08)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_primary_cell_lies_within_92_to_98_percent(bench: ModuleType) -> None:
    assert bench.main(["--quick"]) == 0
