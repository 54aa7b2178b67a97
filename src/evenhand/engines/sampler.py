"""Drawing the next token: a random stream for each row, one uniform number a step, inverse of the cumulative sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from xxhash import xxh128_intdigest

from evenhand.engines.base import Sampling


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
