"""The machine a local model runs on: CPU threads, device, number type, memory, and how many tokens fit a batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evenhand.engines.identity import read_config
from evenhand.errors import BadInput, EngineError

MOST_THREADS = 16
"""More threads than this do not pay for the small batches of an audit, and other jobs share the machine."""

SMALL_MODEL = 20_000_000
"""Parameters below which a second thread costs more than it brings (measured on 2 cores: 8.1 s alone, 9.9 s with two)."""


def cpu_threads(parameters: int | None = None) -> int:
    """Threads that a local model uses on the CPU.

    ``OMP_NUM_THREADS`` if set; one for a model of fewer than 20 million parameters; else the usable cores, at most 16.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if parameters is not None and parameters < SMALL_MODEL:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(usable, MOST_THREADS))


def torch_with_threads(parameters: int | None = None) -> Any:
    """Import torch with waiting threads that sleep; with ``parameters``, set the thread count for a model of that size.

    ``OMP_WAIT_POLICY`` is read when torch is loaded, so it must be set before; spinning threads on a busy machine were
    measured fifteen times slower than one thread.
    """
    first = "torch" not in sys.modules
    if first:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if first or parameters is not None:
        threads = cpu_threads(parameters)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
    return torch


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Linear algebra of numpy and scipy on one thread; also a decorator.

    For many products of small matrices: on two busy cores a REML fit of 7,280 ratings took 4.6 s with two threads, 0.27 s with
    one.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


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


_SAMPLED, _GREEDY = 36, 8
"""Bytes of one logit while a token is drawn: float32, and where it is sampled four float64 tables as well."""


def resident_peak() -> int | None:
    """Bytes of the largest resident set of this process so far; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def resident_now() -> int | None:
    """Bytes of the resident set now; its peak where the system tells only that, None where it tells neither."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return resident_peak()


def decode_bytes(model: Any, rows: int, tokens: int, prompt_tokens: int, *, sampled: bool) -> int:
    """Bytes that a batch of ``rows`` rows adds: keys and values, the tables of one draw, and the first pass.

    Parameters
    ----------
    tokens : positions of one row, prompt and response together.
    prompt_tokens : tokens read in one forward pass.
    """
    from evenhand.engines.kv import kv_bytes_per_token

    text = model.config.get_text_config(decoder=True)
    size = next(model.parameters()).element_size()
    vocabulary = model.get_input_embeddings().weight.shape[0]
    hidden = getattr(text, "hidden_size", None) or 0
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    drawn = rows * vocabulary * (_SAMPLED if sampled else _GREEDY)
    read = prompt_tokens * (2 * inner + 6 * hidden) * size
    return int(rows * tokens * kv_bytes_per_token(model.config, size) + max(drawn, read))
