"""Running moments against numpy over all draws at once, for any batches; exact continuation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.engines.machine import torch_with_threads
from evenhand.methods.tsdi.estimate import moments as module
from evenhand.methods.tsdi.estimate.moments import Moments

torch = torch_with_threads()
DRAWS, LENGTH, TOKENS, OPENERS = 37, 3, 11, [2, 5, 9]


def tables(offset: float = 0.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    z = [torch.from_numpy(rng.normal(offset, 2, (DRAWS, LENGTH, TOKENS))).float() for _ in range(2)]
    return torch.log_softmax(z[0], -1), torch.log_softmax(z[1], -1)


def filled(sizes: list[int], *, ratio: bool = True) -> Moments:
    aligned, reference = tables()
    moments = Moments(LENGTH, TOKENS, OPENERS, "cpu", ratio=ratio)
    low = 0
    for size in sizes:
        moments.add(aligned[low : low + size], reference[low : low + size])
        low += size
    return moments


@settings(max_examples=20)
@given(st.lists(st.integers(0, 12), max_size=8))
def test_any_batches_give_the_moments_of_all(sizes: list[int]) -> None:
    kept, total = [], 0
    for size in sizes:
        kept.append(min(size, DRAWS - total))
        total += kept[-1]
    moments = filled([*kept, DRAWS - total])
    aligned, reference = (table.double().numpy() for table in tables())
    d = aligned - reference
    assert moments.n == DRAWS
    np.testing.assert_allclose(moments.tables["mean"], d.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.variance_of_mean(), d.var(0, ddof=1) / DRAWS, rtol=1e-10)
    np.testing.assert_allclose(moments.tables["p_aligned"], np.exp(aligned).mean(0), atol=1e-7)
    x = (d - d.mean(-1, keepdims=True))[:, :, OPENERS]
    wanted = np.stack([np.cov(x[:, i].T, ddof=1) / DRAWS for i in range(LENGTH)])
    np.testing.assert_allclose(moments.opener_covariance(), wanted, atol=1e-12)
    p, q = np.exp(aligned), np.exp(reference)
    ratio = p / p.mean(0) - q / q.mean(0)
    np.testing.assert_allclose(moments.variance_of_ratio(), ratio.var(0, ddof=1) / DRAWS, rtol=1e-4)


def test_the_size_of_intermediate_tables_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = filled([20, 17]).state()
    monkeypatch.setattr(module, "_ELEMENTS", 1)
    parts = filled([20, 17]).state()
    for name, table in whole.items():
        np.testing.assert_allclose(table, parts[name], atol=1e-13)


def test_large_means_lose_no_digits() -> None:
    moments = Moments(1, 1, [], "cpu")
    values = torch.tensor([[-39.0], [-39.0 + 2**-18], [-39.0 - 2**-18]]).reshape(3, 1, 1)
    for value in values:
        moments.add(value[None], torch.zeros(1, 1, 1))
    assert float(moments.tables["m2"]) == pytest.approx(2 * 2**-36, rel=1e-6)


def test_a_stored_state_goes_on_to_the_same_bytes() -> None:
    aligned, reference = tables()
    whole = filled([10, 10, 17])
    begun = filled([10, 10])
    again = Moments(LENGTH, TOKENS, OPENERS, "cpu", ratio=True)
    again.restore(begun.state(), begun.n)
    again.add(aligned[20:], reference[20:])
    for name, table in whole.state().items():
        assert table.numpy().tobytes() == again.state()[name].numpy().tobytes()


def test_memory_does_not_grow_with_the_draws() -> None:
    small, large = filled([3]).state(), filled([30]).state()
    assert {k: v.shape for k, v in small.items()} == {k: v.shape for k, v in large.items()}
