"""The one place where the number of CPU threads is chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
