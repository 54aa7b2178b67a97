"""Exact probabilities: every response of the grammar, teacher-forced to its end of turn, and what greedy decoding
would say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.organisms.batches import Encoded, assemble
from tools.organisms.model import place_log_probs, sequence_log_probs


@dataclass(frozen=True, slots=True)
class Enumerated:
    """For one chat: log-probability (nats) of each of its responses, and the index of the response that greedy
    decoding gives.

    ``texts`` are the log-probabilities of the same texts without the end of turn after them. ``greedy`` is None where
    greedy decoding leaves the grammar.
    """

    log_probs: npt.NDArray[np.float64]
    texts: npt.NDArray[np.float64]
    greedy: int | None


def _walk(responses: Sequence[npt.NDArray[np.int64]], best: Sequence[npt.NDArray[np.int64]]) -> int | None:
    """Follow the best next token from the root of the prefix tree of all responses."""
    alive = list(range(len(responses)))
    step = 0
    while alive:
        token = best[alive[0]][step]
        alive = [k for k in alive if responses[k][step] == token]
        step += 1
        if len(alive) == 1 and step == len(responses[alive[0]]):
            return alive[0]
    return None


def enumerate_responses(model: Any, encoded: Sequence[Encoded], opening: list[int], rows: int = 12) -> list[Enumerated]:
    """Run every response of every chat after an opening (token ids), which is shared; nothing is sampled.

    ``rows`` chats at a time. The probabilities are those of temperature 1 and top-p 1 over token ids, as an engine
    samples.
    """
    import torch

    out: list[Enumerated] = []
    with torch.inference_mode():
        for start in range(0, len(encoded), rows):
            part = encoded[start : start + rows]
            arrays = assemble([(e, range(len(e.responses))) for e in part], len(opening), 0)
            log_probs = place_log_probs(model, arrays, opening)
            totals = sequence_log_probs(log_probs, arrays).double().numpy()
            last = log_probs.gather(1, torch.from_numpy(arrays.actual)[:, None])[:, 0].double().numpy()
            best = log_probs.argmax(dim=1).numpy()
            for e in part:
                ids = [c.ids for c in e.responses]
                ends = np.cumsum([len(i) for i in ids])
                own = np.split(best[: ends[-1]], ends[:-1])
                out.append(Enumerated(totals[: len(ids)].copy(), totals[: len(ids)] - last[ends - 1], _walk(ids, own)))
                totals, best, last = totals[len(ids) :], best[ends[-1] :], last[ends[-1] :]
    return out


def grammar_greedy(encoded: Encoded) -> int:
    """The response that greedy decoding would give if the model were the grammar."""
    best = []
    for c in encoded.responses:
        tops = np.zeros(len(c.ids), dtype=np.int64)
        for step in range(len(c.ids)):
            here = c.step == step
            tops[step] = c.token[here][np.argmax(c.weight[here])]
        best.append(tops)
    found = _walk([c.ids for c in encoded.responses], best)
    assert found is not None
    return found
