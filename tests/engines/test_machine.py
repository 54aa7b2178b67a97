"""The CPU thread count, and what importing the engines costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from evenhand.engines.machine import MOST_THREADS, cpu_threads, one_blas_thread


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("2,1", 2)])
def test_environment_wins(monkeypatch: pytest.MonkeyPatch, asked: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cpu_threads() == threads


@pytest.mark.parametrize("asked", ["", "0", "many"])
def test_else_usable_cores(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert 1 <= cpu_threads() <= MOST_THREADS


def test_a_small_model_takes_one_thread_and_a_large_one_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cpu_threads(1_000_000) == 1
    assert cpu_threads(8_000_000_000) == cpu_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cpu_threads(1_000_000) == 2


def test_torch_is_loaded_late_and_with_sleeping_threads() -> None:
    script = """
import os, sys
os.environ.pop("OMP_WAIT_POLICY", None)
import evenhand.engines.spec, evenhand.engines.local, evenhand.engines.http, evenhand.engines.cache
assert not {"torch", "transformers", "polars", "matplotlib", "scipy"} & set(sys.modules)
from evenhand.engines.machine import cpu_threads, torch_with_threads
torch = torch_with_threads()
assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
assert torch.get_num_threads() == cpu_threads()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_linear_algebra_on_one_thread_and_then_as_before() -> None:
    import numpy as np  # loads the library that is limited
    from threadpoolctl import threadpool_info

    def blas() -> list[int]:
        return [int(found["num_threads"]) for found in threadpool_info() if found["user_api"] == "blas"]

    assert np.eye(2).sum() == 2
    before = blas()

    @one_blas_thread()
    def inside() -> list[int]:
        return blas()

    assert before
    assert set(inside()) == {1}
    assert blas() == before
