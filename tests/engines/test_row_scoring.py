"""Where prefix trees are not exact or one text has no numbers: rows of one text each, with the same numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

CLOSE = 1e-4


def sequences(*rows: list[int]) -> list[NDArray[np.int32]]:
    return [np.asarray(row, dtype=np.int32) for row in rows]


def scorer_of(model: Any) -> Any:
    from evenhand.engines.scoring import Scorer

    return Scorer(model)


def alone(scorer: Any, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Log-probabilities from the model's ordinary pass over one sequence."""
    import torch

    with torch.inference_mode():
        logits = scorer.model(torch.from_numpy(ids[None].astype(np.int64))).logits[0]
    values = torch.log_softmax(logits.double(), dim=-1)[
        torch.arange(len(ids) - 1), torch.from_numpy(ids[1:].astype(np.int64))
    ]
    return np.asarray(values.numpy(), dtype=np.float32)


def test_a_text_without_numbers_does_not_spoil_the_others_of_its_row(tiny: SimpleNamespace) -> None:
    import torch

    model = tiny.make_model()
    with torch.no_grad():
        model.model.embed_tokens.weight[50] = float("nan")
    scorer = scorer_of(model)
    ids = sequences([0, 50, 20, 30], [0, 21, 22, 23], [0, 24, 25, 26])
    bad, *good = scorer.run(ids, [1, 1, 1])
    assert scorer.packing == "tree"
    assert np.isnan(bad).any()
    for row, values in zip(ids[1:], good, strict=True):
        np.testing.assert_allclose(values, alone(scorer, row), atol=CLOSE)


def test_a_short_text_scores_the_same_beside_a_long_one_under_long_rope() -> None:
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    rope = {
        "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
        "factor": 8.0, "original_max_position_embeddings": 16,
    }  # fmt: skip
    config = Phi3Config(
        vocab_size=360, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, original_max_position_embeddings=16, bos_token_id=0, eos_token_id=1,
        pad_token_id=2, initializer_range=0.6, rope_parameters=rope,
    )  # fmt: skip
    scorer = scorer_of(Phi3ForCausalLM(config).eval())
    ids = sequences(list(range(5, 15)), list(range(20, 60)), list(range(5, 20)))
    assert scorer.packing == "tree"
    for found in (scorer.run(ids, [1, 1, 1]), scorer.plainly(ids, [1, 1, 1])):
        for row, values in zip(ids, found, strict=True):
            np.testing.assert_allclose(values, alone(scorer, row), atol=CLOSE)


def test_a_text_longer_than_a_chunk_of_attention_is_left_to_the_model(tiny: SimpleNamespace) -> None:
    model = tiny.make_model()
    scorer = scorer_of(model)
    short, long = sequences([0, 5, 6], list(range(12)))
    assert not scorer._too_far(len(long))
    model.config.attention_chunk_size = 8
    assert scorer._too_far(len(long))
    assert not scorer._too_far(len(short))


@pytest.mark.parametrize("direct", [True, False])
def test_rows_are_few_at_a_time_and_change_nothing(monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    import torch
    from transformers import BloomConfig, BloomForCausalLM

    from evenhand.engines import scoring

    torch.manual_seed(4)
    scorer = scorer_of(
        BloomForCausalLM(
            BloomConfig(vocab_size=360, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1)
        ).eval()
    )
    assert scorer.packing == "rows"
    assert scorer.direct_head
    scorer.direct_head = direct
    if direct:
        monkeypatch.setattr(scoring, "_ROWS_TOKENS", {"cpu": 24, "other": 24})
    else:
        monkeypatch.setattr(scoring, "_ROW_NUMBERS", 24 * 360)
    shapes: list[tuple[int, ...]] = []
    hook = scorer.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: shapes.append(tuple(given[0].shape))
    )
    generator = np.random.default_rng(1)
    ids = sequences(*(generator.integers(3, 360, size).tolist() for size in (3, 9, 4, 40, 8, 8, 2, 5)))
    starts = [1, 3, 2, 30, 1, 7, 1, 4]
    found = scorer.run(ids, starts)
    hook.remove()
    assert len(shapes) > 2
    assert all(rows == 1 or rows * width <= 24 for rows, width in shapes)
    for row, start, values in zip(ids, starts, found, strict=True):
        np.testing.assert_allclose(values, alone(scorer, row)[start - 1 :], atol=CLOSE)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("tokens", [1, 40, 100_000])
def test_a_pack_may_be_run_in_several_passes(
    monkeypatch: pytest.MonkeyPatch, tiny: SimpleNamespace, tokens: int, direct: bool
) -> None:
    from evenhand.engines import scoring

    scorer = scorer_of(tiny.make_model())
    assert scorer.packing == "tree"
    scorer.direct_head, scorer.row_tokens = direct, 16
    monkeypatch.setattr(scoring, "_PASS_TOKENS", {"cpu": tokens, "other": tokens})
    shapes: list[tuple[int, ...]] = []
    hook = scorer.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: shapes.append(tuple(given[0].shape))
    )
    generator = np.random.default_rng(2)
    ids = sequences(*([0, *generator.integers(3, 360, size).tolist()] for size in (3, 9, 14, 5, 8, 8, 2, 11)))
    ids += [ids[2].copy(), np.append(ids[2][:9], np.int32(77))]
    starts = [1, 3, 2, 4, 1, 7, 1, 4, 6, 9]
    found = scorer.run(ids, starts)
    hook.remove()
    assert (len(shapes) == 1) == (tokens == 100_000)
    assert all(rows == 1 or rows * width <= tokens for rows, width in shapes)
    for row, start, values in zip(ids, starts, found, strict=True):
        np.testing.assert_allclose(values, alone(scorer, row)[start - 1 :], atol=CLOSE)
