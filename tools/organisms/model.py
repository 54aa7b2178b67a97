"""The organisms' architecture, and one forward pass over a batch whose rows share an opening."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.organisms.batches import Arrays
from tools.organisms.tokenizer import CONTEXT


def new_model(tokenizer: Any, seed: int) -> Any:
    """A fresh ``LlamaForCausalLM`` of about 1M parameters, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def load(folder: Path) -> Any:
    """A shipped checkpoint with its bf16 weights as float32."""
    import torch
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights (bf16 safetensors), configuration, tokenizer and chat template."""
    import torch

    rounded = model.to(torch.bfloat16)
    rounded.config.dtype = torch.bfloat16
    rounded.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)


def place_log_probs(model: Any, arrays: Arrays, opening: list[int]) -> Any:
    """Log-probabilities (N x vocabulary, nats, float32) at the places of a batch; the opening is run once for all
    rows.
    """
    import torch
    from transformers import DynamicCache

    from evenhand.engines.kv import cache_argument

    rows = arrays.tokens.shape[0]
    argument = cache_argument(model.model)
    shared = DynamicCache()
    model.model(input_ids=torch.tensor([opening]), use_cache=True, **{argument: shared})
    expanded = DynamicCache()
    for index, layer in enumerate(shared.layers):
        expanded.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), index)
    own = torch.from_numpy(arrays.mask)
    visible = torch.cat([torch.ones(*own.shape[:2], len(opening), dtype=torch.bool), own], dim=2)[:, None]
    mask = torch.zeros(visible.shape).masked_fill_(~visible, float("-inf"))
    hidden = model.model(
        input_ids=torch.from_numpy(arrays.tokens),
        position_ids=torch.from_numpy(arrays.positions),
        attention_mask=mask,
        use_cache=True,
        **{argument: expanded},
    ).last_hidden_state
    picked = hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(arrays.place)]
    return torch.log_softmax(model.lm_head(picked).float(), dim=-1)


def sequence_log_probs(log_probs: Any, arrays: Arrays) -> Any:
    """Log-probability (nats) of each response in the batch, its end of turn included."""
    import torch

    taken = log_probs.gather(1, torch.from_numpy(arrays.actual)[:, None])[:, 0]
    out = torch.zeros(int(arrays.sequence[-1]) + 1, dtype=taken.dtype)
    return out.index_add(0, torch.from_numpy(arrays.sequence), taken)
