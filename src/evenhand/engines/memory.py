"""Memory of this process, and what a batch of a local model adds to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_SAMPLED, _GREEDY = 36, 8
"""Bytes of one logit while a token is drawn: float32, and where it is sampled four float64 tables beside it."""


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
