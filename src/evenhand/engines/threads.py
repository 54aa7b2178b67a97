"""The one place where the number of CPU threads is chosen."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["MOST_THREADS", "cpu_threads", "torch_with_threads"]

MOST_THREADS = 16
"""More threads than this do not pay for the small batches of an audit, and other jobs share the machine."""

_chosen: int | None = None


def cpu_threads() -> int:
    """Threads that a local model uses on the CPU: ``OMP_NUM_THREADS`` if set, else the usable cores, at most 16."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(usable, MOST_THREADS))


def torch_with_threads() -> Any:
    """Import torch with waiting threads that sleep, and with the thread count set once for the process.

    ``OMP_WAIT_POLICY`` is read when torch is loaded, so it must be set before; spinning threads on a busy machine were
    measured fifteen times slower than one thread.
    """
    global _chosen
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if _chosen is None:
        _chosen = cpu_threads()
        if torch.get_num_threads() != _chosen:
            torch.set_num_threads(_chosen)
    return torch
