"""Rows of logits from a real model: the right positions, whatever the padding (specification 9.1, 9.4)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import open_engine
from evenhand.errors import EngineError
from evenhand.methods.tsdi.estimate.model_rows import ModelRows, checked_rows, drawn

torch = torch_with_threads()
CONTEXTS = [np.arange(10, 10 + size, dtype=np.int64) for size in (9, 4, 31, 17)]


@pytest.fixture(scope="module")
def source(pair: SimpleNamespace) -> Any:
    return ModelRows(open_engine(f"hf/{pair.reference}", device="cpu"))  # type: ignore[arg-type]


def alone(model: Any, ids: Any, length: int) -> Any:
    """All logits of one context by itself, and of these the rows T-1 to T+L-2."""
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(ids[None])).logits[0]
    start = len(ids) - length + 1  # T: template and prompt
    return logits[start - 1 : start + length - 1]


@pytest.mark.parametrize("length", [1, 3])
def test_rows_predict_the_measured_positions_in_a_padded_batch(source: Any, length: int) -> None:
    assert source.padded
    found = source.rows(CONTEXTS, length)
    assert found.shape == (4, length, 320)
    for row, ids in enumerate(CONTEXTS):
        np.testing.assert_allclose(found[row], alone(source.model, ids, length), atol=2e-5)


def test_only_these_rows_go_through_the_head(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    handle = source.model.lm_head.register_forward_hook(lambda m, given, out: seen.append(out.shape[1]))
    source.rows(CONTEXTS, 3)
    handle.remove()
    assert seen == [3]


def test_a_model_that_padding_changes_is_given_equal_lengths(pair: SimpleNamespace, source: Any) -> None:
    class Blind(torch.nn.Module):
        """Takes no notice of mask and positions."""

        def __init__(self, model: Any):
            super().__init__()
            self.model, self.batches = model, []

        def forward(self, input_ids: Any, attention_mask: Any = None, logits_to_keep: int = 0) -> Any:
            self.batches.append(tuple(input_ids.shape))
            return self.model(input_ids=input_ids, logits_to_keep=logits_to_keep)

        def get_input_embeddings(self) -> Any:
            return self.model.get_input_embeddings()

    engine = open_engine(f"hf/{pair.reference}", device="cpu")
    engine._model = Blind(engine.model)  # type: ignore[attr-defined]
    rows = ModelRows(engine)  # type: ignore[arg-type]
    assert not rows.padded
    rows.model.batches.clear()
    found = rows.rows([*CONTEXTS, CONTEXTS[0]], 2)
    assert sorted(rows.model.batches) == [(1, 4), (1, 17), (1, 31), (2, 9)]
    for row, ids in enumerate(CONTEXTS):
        np.testing.assert_allclose(found[row], alone(source.model, ids, 2), atol=2e-5)


def test_a_model_that_gives_only_the_last_row_is_refused() -> None:
    assert checked_rows(torch.zeros(2, 3, 5), 3, 9, "m").shape == (2, 3, 5)
    assert checked_rows(torch.zeros(2, 9, 5), 3, 9, "m").shape == (2, 3, 5)
    assert checked_rows(torch.zeros(2, 1, 5), 1, 9, "m").shape == (2, 1, 5)
    with pytest.raises(EngineError, match=r"m returned logits of 1 positions where 3 .* the last token's only"):
        checked_rows(torch.zeros(2, 1, 5), 3, 9, "m")


def test_drawing_follows_the_probabilities_of_the_allowed_ids() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.1, 0.2]])).expand(4, 4)
    found = drawn(logits, np.asarray([0.0, 0.24, 0.26, 0.999999]), np.asarray([1, 2, 3]))
    assert found.tolist() == [1, 1, 1, 3]
    found = drawn(logits, np.asarray([0.39, 0.41, 0.59, 0.61]), np.asarray([1, 2, 3]))
    assert found.tolist() == [1, 2, 2, 3]


def test_a_sampled_prefix_does_not_depend_on_the_batch(source: Any) -> None:
    uniform = np.random.default_rng(0).random((4, 5))
    allowed = np.arange(6, 320)
    whole = source.sample(CONTEXTS, uniform, allowed)
    assert whole.shape == (4, 5)
    assert whole.min() >= 6
    single = [source.sample([ids], uniform[i : i + 1], allowed)[0].tolist() for i, ids in enumerate(CONTEXTS)]
    assert whole.tolist() == single
