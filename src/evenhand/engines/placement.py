"""Where and how a local model runs: its device, its numbers, how many tokens fit."""

from __future__ import annotations

from pathlib import Path

from evenhand.engines.identity import read_config
from evenhand.engines.threads import torch_with_threads
from evenhand.errors import BadInput, EngineError

_CACHE_BYTES = {"cpu": 1 << 30, "other": 8 << 30}
_FEWEST_TOKENS, _MOST_TOKENS = 2048, {"cpu": 65_536, "other": 524_288}


def chosen_device(asked: str) -> str:
    """The device asked for; ``auto`` is cuda where there is one. Raises BadInput or EngineError where it is not there."""
    torch = torch_with_threads()
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(asked).type
    except RuntimeError as error:
        raise BadInput(f"There is no device '{asked}'.", do="Use auto, cpu, cuda, cuda:1 or mps.") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise EngineError(f"This machine has no {kind} device that torch can use. Use --device cpu.")
    return asked


def chosen_dtype(asked: str, device: str, folder: Path) -> str:
    """``float32``, ``bfloat16`` or ``float16``: on the CPU float32 unless asked otherwise, elsewhere the checkpoint's."""
    if asked != "auto":
        return asked
    if device == "cpu":
        return "float32"
    config = read_config(folder)
    return str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")


def context_length(folder: Path) -> int | None:
    """Most tokens of prompt and response together; None where the config names no limit."""
    config = read_config(folder)
    inner = config.get("text_config")
    text = {**config, **(inner if isinstance(inner, dict) else {})}
    found = next((text[k] for k in ("max_position_embeddings", "n_positions", "max_seq_len") if text.get(k)), None)
    return int(found) if found else None


def token_budget(folder: Path, *, device: str, dtype: str, name: str) -> int:
    """Tokens of a batch that keep keys and values within 1 GiB (GPU 8 GiB). Raises EngineError for an unknown config."""
    from transformers import AutoConfig

    from evenhand.engines.kv import kv_bytes_per_token

    place = "cpu" if device == "cpu" else "other"
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # an unknown architecture raises several kinds
        raise EngineError(f"{name}: the config cannot be read: {error}") from error
    each = kv_bytes_per_token(config, 4 if dtype == "float32" else 2)
    return max(_FEWEST_TOKENS, min(_MOST_TOKENS[place], _CACHE_BYTES[place] // each))
