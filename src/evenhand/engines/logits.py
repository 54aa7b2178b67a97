"""Rows of logits: log-probabilities of given tokens, corrected for a bias or not, and the draw of the next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from xxhash import xxh128_intdigest

from evenhand.engines.base import Sampling
from evenhand.engines.bias_kernel import BiasKernel


def stream(seed: int, item_id: str, repetition: int) -> np.random.Generator:
    """The random stream of one row: Philox keyed by the xxh128 of (seed, item id, repetition)."""
    text = f"{seed}\x1f{item_id}\x1f{repetition}".encode("utf-8", "surrogatepass")
    return np.random.Generator(np.random.Philox(key=xxh128_intdigest(text)))


def uniforms(seed: int, rows: Sequence[tuple[str, int]], steps: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), shape ``[rows, steps]``: row r, step t is number t of the row's own stream."""
    table = np.empty((len(rows), steps), dtype=np.float64)
    for index, (item_id, repetition) in enumerate(rows):
        stream(seed, item_id, repetition).random(out=table[index])
    return table


def next_token_probabilities(logits: Any, sampling: Sampling) -> Any:
    """Probabilities after temperature and top-p, shape ``[states, vocabulary]``, float64, each row summing to one.

    Top-p keeps the fewest most probable tokens whose mass reaches ``top_p`` (ties in order of token id), then
    renormalises. Temperature must be above zero: greedy decoding draws nothing.
    """
    probabilities = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, index = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        before = torch.cumsum(ordered, dim=-1) - ordered
        kept = torch.where(before < sampling.top_p, ordered, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter_(-1, index, kept)
        probabilities /= probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def draw(
    logits: Any, row_state: NDArray[np.int64], uniform: NDArray[np.float64] | None, sampling: Sampling
) -> NDArray[np.int64]:
    """The next token of each row.

    Parameters
    ----------
    logits : tensor ``[states, vocabulary]``; rows with the same history share a state.
    row_state : the state of each row, shape ``[rows]``.
    uniform : one number in [0, 1) for each row, or None for greedy decoding.

    Returns token ids, shape ``[rows]``: at temperature 0 the most probable token, else the first token whose
    cumulative probability exceeds the row's number.
    """
    if sampling.temperature == 0 or uniform is None:
        best: NDArray[np.int64] = torch.argmax(logits, dim=-1).cpu().numpy()
        return best[row_state]
    if logits.device.type == "mps":  # no float64 there
        logits = logits.cpu()
    cumulative = torch.cumsum(next_token_probabilities(logits, sampling), dim=-1)
    # Rows of one state are laid side by side, so that one search serves each state.
    states = logits.shape[0]
    order = np.argsort(row_state, kind="stable")
    counts = np.bincount(row_state, minlength=states)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    rank = np.arange(len(row_state)) - starts[row_state[order]]
    table = np.zeros((states, int(counts.max())), dtype=np.float64)
    table[row_state[order], rank] = uniform[order]
    total = cumulative[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))
    targets = torch.minimum(torch.from_numpy(table).to(cumulative.device) * total, below)
    found = torch.searchsorted(cumulative, targets, right=True).cpu().numpy()
    tokens = np.empty(len(row_state), dtype=np.int64)
    tokens[order] = found[row_state[order], rank]
    return tokens


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
