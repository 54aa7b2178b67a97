"""Coverage of the default interval on simulated tables; the full table is ``python bench/interval_coverage.py``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench(bench_file: Any) -> Any:
    return bench_file("interval_coverage")


@pytest.mark.parametrize("domination", ["none", "fixed"])
@pytest.mark.parametrize("names", [8, 16])
def test_default_interval_covers(bench: ModuleType, domination: str, names: int) -> None:
    row = bench.simulate(bench.Cell("logit", domination, names, 0.15, 0.15), 200, draws=200)
    assert 0.90 <= row.coverage["default"] <= 0.99
    assert row.coverage["Wald"] < 0.75
    if domination == "fixed":
        assert row.coverage["percentile"] > 0.98
        assert row.width["default"] < 0.6 * row.width["percentile"]


def test_expected_rates_are_exact(bench: ModuleType) -> None:
    import numpy as np

    effect = np.random.default_rng(0).normal(0.15, 0.2, 2_000_000)
    assert bench._expected("probability", 0.15, 0.2) == pytest.approx(np.clip(effect, 0, 1).mean(), abs=4e-4)
    assert bench._expected("logit", 0.15, 0.2) == pytest.approx((1 / (1 + np.exp(-effect))).mean(), abs=4e-4)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_primary_cell_lies_within_92_to_98_percent(bench: ModuleType) -> None:
    assert bench.main([]) == 0
