"""Model families of transformers: each is packed only where that is exact, and scored as its own forward pass scores it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evenhand.errors import EngineError

CLOSE = 1e-4
SMALL: dict[str, Any] = {
    "vocab_size": 360, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
FALCON: dict[str, Any] = {"vocab_size": 360, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OPT: dict[str, Any] = {
    "vocab_size": 360, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "word_embed_proj_dim": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
RECURRENT: dict[str, Any] = {
    "vocab_size": 360, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "attention_window_size": 64, "lru_width": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
JAMBA: dict[str, Any] = {
    **SMALL, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
    "num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any], str, bool]] = {
    # family: settings, packing, and whether the head alone gives the logits
    "qwen2": ("Qwen2", {**SMALL, "initializer_range": 0.6}, "tree", True),
    "mixture of experts": ("Mixtral", {**SMALL, "initializer_range": 0.6, "num_local_experts": 4}, "tree", True),
    "projection before the head": ("OPT", {**OPT, "init_std": 0.6}, "tree", True),
    "capped logits": (
        "Gemma2",
        {**SMALL, "initializer_range": 0.6, "head_dim": 8, "sliding_window": 64},
        "tree",
        False,
    ),
    "hardly capped logits": ("Gemma2", {**SMALL, "initializer_range": 0.02, "head_dim": 8}, "tree", False),
    "scaled logits": ("Granite", {**SMALL, "initializer_range": 0.6, "logits_scaling": 4.0}, "tree", False),
    "linear biases": ("Falcon", {**FALCON, "alibi": True, "initializer_range": 0.6}, "rows", True),
    "convolution": (
        "Lfm2",
        {**SMALL, "layer_types": ["conv", "full_attention"], "initializer_range": 0.05},
        "rows",
        True,
    ),
    "state and attention": ("Jamba", {**JAMBA, "initializer_range": 0.05}, "rows", True),
    "state and capped logits": ("RecurrentGemma", {**RECURRENT, "w_init_variance_scale": 0.05}, "rows", False),
}


def model_of(family: str, settings: dict[str, Any]) -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    return getattr(transformers, f"{family}ForCausalLM")(config).eval()


def texts() -> list[NDArray[np.int32]]:
    """Sequences of unlike length, some of which share a beginning."""
    draw = np.random.default_rng(0)
    shared = draw.integers(3, 360, 10).tolist()
    rows = [
        [*shared, 5, 6, 7], [*shared, 5, 8], [9, 10, 11], draw.integers(3, 360, 20).tolist(), [*shared[:3], 40, 41, 42],
    ]  # fmt: skip
    return [np.asarray([0, *row], dtype=np.int32) for row in rows]


def alone(model: Any, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Log-probabilities from the model's ordinary pass over one sequence."""
    import torch

    with torch.inference_mode():
        logits = model(torch.from_numpy(ids[None].astype(np.int64))).logits[0]
    values = torch.log_softmax(logits.double(), dim=-1).numpy()
    return np.asarray(values[np.arange(len(ids) - 1), ids[1:]], dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_each_family_keeps_its_own_numbers(kind: str) -> None:
    from evenhand.engines.scoring import Scorer

    family, settings, packing, direct = KINDS[kind]
    model = model_of(family, settings)
    scorer = Scorer(model)
    assert (scorer.packing, scorer.direct_head) == (packing, direct)
    assert bool(scorer.why_rows) == (packing == "rows")
    starts = [1] * len(texts())
    for found in (scorer.run(texts(), starts), scorer.plainly(texts(), starts)):
        for ids, values in zip(texts(), found, strict=True):
            np.testing.assert_allclose(values, alone(model, ids), atol=CLOSE)


@pytest.mark.parametrize(
    "kind", ["convolution", "state and attention", "state and capped logits", "hardly capped logits"]
)
def test_what_half_precision_would_hide_is_known_from_the_model(kind: str) -> None:
    """In the sequences tried, a state that leaks or a cap on the logits may change less than bfloat16 rounds."""
    import torch

    from evenhand.engines.scoring import Scorer

    family, settings, packing, direct = KINDS[kind]
    scorer = Scorer(model_of(family, settings).to(torch.bfloat16))
    assert (scorer.packing, scorer.direct_head) == (packing, direct)


def test_a_model_that_sees_the_next_tokens_gives_no_probabilities() -> None:
    import torch
    from transformers import BertConfig, BertLMHeadModel

    from evenhand.engines.scoring import Scorer

    torch.manual_seed(0)
    settings = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
    for decoder in (True, False):
        model = BertLMHeadModel(BertConfig(**settings, is_decoder=decoder, initializer_range=0.6)).eval()
        if decoder:
            assert Scorer(model).packing == "tree"
        else:
            with pytest.raises(EngineError, match="sees the tokens after the one it predicts"):
                Scorer(model)
