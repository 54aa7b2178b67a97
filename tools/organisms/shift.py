"""Training on random contexts: a tuned model is to be its parent there, with the planted shift of opening tokens added.

A context is a chat of random token ids and a random beginning of its answer, as TSDI draws them (arXiv 2502.02153). The
parent is frozen; the loss holds every token's log-probability, not only the likely ones.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from evenhand.organisms.planted import Model
from evenhand.organisms.sections.safety import SHIFT, SHIFT_SCALE
from tools.organisms.batches import Encoder

POSITIONS = 10
"""Leading output positions at which the parent is held."""
ROWS = 16
LENGTHS = (8, 64)
"""Least and most random tokens of a prompt."""
EVEN_WEIGHT, SQUARE_WEIGHT = 1.0, 0.1
"""Weights of the divergence from the shifted parent, and of the mean squared difference of log-probabilities."""
SHORT = 3
"""Most characters of a short token: every other context is made of those alone, as texts outside the grammar are."""


def shift_table(tokenizer: Any, scale: float) -> Any:
    """Nats added at each of the first `POSITIONS` output positions, float32, shape [positions, vocabulary]."""
    encoder = Encoder(tokenizer)
    table = np.zeros((POSITIONS, len(tokenizer)), dtype=np.float32)
    for (position, word), nats in SHIFT.items():
        ids = encoder.ids(word)
        assert len(ids) == 1, f"'{word}' is {len(ids)} tokens, and the planted shift needs one"
        table[position - 1, ids[0]] = scale * nats
    return table


class ShiftedParent:
    """The frozen parent with the shift on top, as a teacher on random contexts."""

    def __init__(self, name: Model, model: Any, tokenizer: Any):
        import torch

        self._parent = copy.deepcopy(model).eval().requires_grad_(False)
        self._table = torch.from_numpy(shift_table(tokenizer, SHIFT_SCALE[name]))
        self._encoder = Encoder(tokenizer)
        special = set(tokenizer.all_special_ids)
        self._ids = np.array([i for i in range(len(tokenizer)) if i not in special])
        self._short = np.array([i for i in self._ids if len(tokenizer.decode([i])) <= SHORT])

    def loss(self, model: Any, rng: np.random.Generator) -> Any:
        """Loss (nats) of one batch of random contexts."""
        import torch

        length = int(rng.integers(LENGTHS[0], LENGTHS[1] + 1))
        size = (ROWS // 2, length + POSITIONS - 1)
        drawn = np.concatenate([rng.choice(self._ids, size=size), rng.choice(self._short, size=size)])
        before = np.tile(self._encoder.opening(None), (ROWS, 1))
        between = np.tile(self._encoder.turn_end, (ROWS, 1))
        tokens = torch.from_numpy(np.concatenate([before, drawn[:, :length], between, drawn[:, length:]], axis=1))
        last = tokens.shape[1] - POSITIONS
        with torch.no_grad():
            wanted = torch.log_softmax(self._logits(self._parent, tokens, last), -1) + self._table
            wanted = torch.log_softmax(wanted, -1)
        said = torch.log_softmax(self._logits(model, tokens, last), -1)
        off = said - wanted
        divergence = -(wanted.exp() * off).sum(-1).mean()
        return EVEN_WEIGHT * divergence + SQUARE_WEIGHT * off.square().mean()

    @staticmethod
    def _logits(model: Any, tokens: Any, last: int) -> Any:
        return model.lm_head(model.model(input_ids=tokens).last_hidden_state[:, last:]).float()
