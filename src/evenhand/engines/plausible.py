"""Whether a model's configuration can belong to its weights: checked before transformers builds what it describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evenhand.engines.identity import read_config
from evenhand.errors import EngineError

_BITS_EACH = 1
"""Fewest bits that a weight takes in any format."""

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model")
_WORDS = ("vocab_size",)
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff")
_MOST = {
    **dict.fromkeys(_LAYERS, 2_000),
    **dict.fromkeys(_WIDTH, 1_000_000),
    **dict.fromkeys(_WORDS, 20_000_000),
    **dict.fromkeys(_INNER, 10_000_000),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "num_heads"), 65_536),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 65_536),
    "head_dim": 65_536,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 1_000_000_000),
}
_PARTS = ("text_config", "vision_config", "audio_config", "decoder", "encoder")


def check_plausible(folder: Path, adapter: Path | None = None) -> None:
    """Raise EngineError for a ``config.json`` that no model with the folder's weights can have.

    Layers, widths and the vocabulary must be whole numbers in a plausible range, and the smallest model that they describe
    must fit the safetensors files at one bit a weight. The same holds for the rank of an adapter.
    """
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    file = folder / "config.json"
    config = read_config(folder)
    for place, part in _parts(config):
        _check_ranges(part, place, file)
    text = config.get("text_config")
    main = {**config, **text} if isinstance(text, dict) else config
    layers, width, words, inner = (_first(main, names) for names in (_LAYERS, _WIDTH, _WORDS, _INNER))
    for what, weights in (
        (f"{layers:,} layers of width {width:,}", layers * width),
        (f"a vocabulary of {words:,} tokens and a width of {width:,}", words * width),
        (f"a layer of {width:,} x {inner:,}", width * inner),
    ):
        if weights * _BITS_EACH > 8 * size:
            raise EngineError(
                f"{file}: the configuration names {what}, but the safetensors files hold only {size:,} bytes. "
                "The file is damaged or belongs to another model; fetch the model again."
            )
    if adapter is not None:
        _check_adapter(adapter)


def _parts(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", config
    for name in _PARTS:
        if isinstance(config.get(name), dict):
            yield f"{name}.", config[name]


def _check_ranges(config: dict[str, Any], place: str, file: Path) -> None:
    for name, most in _MOST.items():
        value = config.get(name)
        values = value if isinstance(value, list) else [value]
        for each in values:
            if each is None or isinstance(each, (list, dict)):
                continue
            if isinstance(each, bool) or not isinstance(each, int) or not 0 <= each <= most:
                raise EngineError(
                    f"{file}: '{place}{name}' is {str(each)[:40]!r}, not a whole number from 0 to {most:,}. "
                    "The file is damaged or belongs to another model; fetch the model again."
                )


def _first(config: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int)), 0)


def _check_adapter(adapter: Path) -> None:
    size = (adapter / "adapter_model.safetensors").stat().st_size
    rank = read_config(adapter, "adapter_config.json").get("r")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank <= 8 * size):
        raise EngineError(
            f"{adapter / 'adapter_config.json'}: the rank r is {str(rank)[:40]!r}, which cannot belong to weights of "
            f"{size:,} bytes. The file is damaged or belongs to another adapter."
        )
