"""Log-probabilities of single tokens out of many rows of logits, a few rows at a time, corrected for a bias or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evenhand.engines.bias_kernel import BiasKernel

IntArray = NDArray[np.int64]


def has_direct_head(model: Any, ids: NDArray[np.int32]) -> bool:
    """Whether the logits are the head's product of the last hidden states, and nothing is done before or after it.

    The numbers of one sequence must be the same to the bit: logits may be capped by less than the rounding of half
    precision, which would show only in other sequences.
    """
    head = model.get_output_embeddings()
    if head is None:
        return False
    device = next(model.parameters()).device
    given = {"input_ids": torch.from_numpy(ids[None].astype(np.int64)).to(device), "use_cache": False}
    seen: list[Any] = []
    hook = head.register_forward_hook(lambda _, into, out: seen.extend((into[0], out)))
    try:
        logits, hidden = model(**given).logits, model.base_model(**given).last_hidden_state
    except Exception:  # a model without hidden states of its own is asked for its logits
        return False
    finally:
        hook.remove()
    return len(seen) == 2 and torch.equal(seen[0], hidden) and torch.equal(seen[1].float(), logits.float())


def answer_positions(
    sequences: Sequence[NDArray[np.int32]], starts: Sequence[int], answers: Sequence[bool] | None
) -> IntArray | None:
    """The output position (1, 2, ...) of each scored token of the answers among the sequences, 0 for other tokens.

    The scored tokens of all sequences one after the other; None where no sequence is an answer.
    """
    if answers is None or not any(answers):
        return None
    return np.concatenate(
        [
            np.arange(1, len(ids) - start + 1) if answer else np.zeros(len(ids) - start, dtype=np.int64)
            for ids, start, answer in zip(sequences, starts, answers, strict=True)
        ]
    )


def target_log_probs(
    logits: Callable[[int, int], Any],
    count: int,
    at: IntArray,
    target: IntArray,
    step: int,
    kernel: BiasKernel | None = None,
    position: IntArray | None = None,
) -> NDArray[np.float32]:
    """Log-softmax (nats) at each (row, token) = (``at[k]``, ``target[k]``), shape ``[targets]``.

    ``logits(low, high)`` gives some of the ``count`` rows, of which ``step`` are held at a time. Where ``position[k]`` is
    one that the kernel corrects, the softmax is that of the corrected row; one row may serve targets of both kinds.
    """
    out = np.empty(len(at), dtype=np.float32)
    order = np.argsort(at, kind="stable")
    sorted_at = at[order]
    for low in range(0, count, step):
        high = min(count, low + step)
        rows = logits(low, high).float()  # a fresh tensor: the head's product, or an indexed copy
        inside = order[np.searchsorted(sorted_at, low) : np.searchsorted(sorted_at, high)]
        if kernel is not None and position is not None:
            moved = (position[inside] >= 1) & (position[inside] <= kernel.length)
            mine = inside[moved]
            out[mine] = _corrected(rows, at[mine] - low, target[mine], position[mine], step, kernel)
            inside = inside[~moved]
            if not len(inside):
                continue
        out[inside] = _picked(rows, at[inside] - low, target[inside])
    return out


def _corrected(
    rows: Any, at: IntArray, target: IntArray, position: IntArray, step: int, kernel: BiasKernel
) -> NDArray[np.float32]:
    """The same under the corrected rows; each pair of row and position is corrected once, ``step`` pairs at a time."""
    out = np.empty(len(at), dtype=np.float32)
    stride = kernel.length + 1
    pairs, pair = np.unique(at * stride + position, return_inverse=True)
    pair = pair.reshape(-1)
    for low in range(0, len(pairs), step):
        some = pairs[low : low + step]
        corrected = kernel.apply(rows[torch.from_numpy(some // stride).to(rows.device)], some % stride)
        mine = np.flatnonzero((pair >= low) & (pair < low + step))
        out[mine] = _picked(corrected, pair[mine] - low, target[mine])
    return out


def _picked(rows: Any, node: IntArray, token: IntArray) -> NDArray[np.float32]:
    """Log-softmax at (node, token). Overwrites the rows: a copy of them costs a tenth of the time of a small model."""
    at = torch.from_numpy(node).to(rows.device)
    picked, top = rows[at, torch.from_numpy(token).to(rows.device)], rows.amax(dim=-1)
    total = top + rows.sub_(top[:, None]).exp_().sum(dim=-1).log()
    found: NDArray[np.float32] = (picked - total[at]).cpu().numpy()
    return found
