"""Log-probabilities of given texts: one forward pass over prefix trees, the head only where something is predicted."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evenhand.engines.packing import pack, sort_key

__all__ = ["Scorer"]

_LOG = logging.getLogger(__name__)
Sequence32 = NDArray[np.int32]
_HEAD_NUMBERS = 1 << 22
"""Logits held at a time, in numbers: bounds the memory of the head."""
_PROBE = ((5, 11, 7, 13, 9, 6), (5, 11, 7, 8, 12), (5, 10, 9))
_CLOSE = {"float32": 1e-3}


@dataclass(slots=True)
class Scorer:
    """Scores token sequences with one causal model of transformers.

    ``packing`` is ``"tree"`` where a prefix tree under a dense mask gives the model's own numbers, which is tried once, on
    sequences of the vocabulary's first ids; else ``"rows"``, one sequence a row, and ``why_rows`` says why.
    """

    model: Any
    row_tokens: int = 192
    pad: int = 0
    packing: Literal["tree", "rows"] = "rows"
    why_rows: str = ""
    direct_head: bool = False
    _keywords: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._keywords = frozenset(inspect.signature(self.model.forward).parameters)
        with torch.inference_mode():
            self._choose_packing()

    @property
    def _device(self) -> Any:
        return next(self.model.parameters()).device

    def _choose_packing(self) -> None:
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        probe = [np.asarray([t % vocabulary for t in ids], dtype=np.int32) for ids in _PROBE]
        wanted = np.concatenate(self._rows(probe, [1] * len(probe), padding="right"))
        dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        close = _CLOSE.get(dtype, 0.15)
        why = []
        for direct in (True, False):
            self.direct_head = direct
            try:
                order = sorted(range(len(probe)), key=lambda i: sort_key(probe[i]))
                found = self._tree([probe[i] for i in order], [1] * len(probe))
                back = dict(zip(order, found, strict=True))
                off = float(np.abs(np.concatenate([back[i] for i in range(len(probe))]) - wanted).max())
            except Exception as error:  # whatever a model makes of a dense mask, it is then served row by row
                why.append(f"{type(error).__name__}: {error}")
                continue
            if off <= close:
                self.packing = "tree"
                return
            why.append(f"its numbers differ by {off:.2g} nats")
        self.packing, self.why_rows, self.direct_head = "rows", why[-1], False
        _LOG.info("%s is scored one sequence a row: %s", type(self.model).__name__, self.why_rows)

    def run(self, sequences: Sequence[Sequence32], starts: Sequence[int]) -> list[NDArray[np.float32]]:
        """Log-probabilities (nats, float32) of the tokens from ``starts[i]`` on of each sequence, in order.

        A token whose logits are not numbers gets NaN.
        """
        with torch.inference_mode():
            if self.packing == "rows" or self._too_far(sequences):
                return self._rows(sequences, starts, padding="right")
            order = sorted(range(len(sequences)), key=lambda i: sort_key(sequences[i]))
            found = self._tree([sequences[i] for i in order], [starts[i] for i in order])
            out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)
            for i, values in zip(order, found, strict=True):
                out[i] = values
            return out

    def plainly(self, sequences: Sequence[Sequence32], starts: Sequence[int]) -> list[NDArray[np.float32]]:
        """The same numbers by another path: one sequence a row, padded on the left, few rows at a time."""
        with torch.inference_mode():
            parts = [
                self._rows(sequences[i : i + 3], starts[i : i + 3], padding="left") for i in range(0, len(starts), 3)
            ]
            return [values for part in parts for values in part]

    def _too_far(self, sequences: Sequence[Sequence32]) -> bool:
        """Whether a sliding window would cut a path, which a dense mask does not do."""
        window: int | None = getattr(self.model.config.get_text_config(decoder=True), "sliding_window", None)
        return window is not None and max(map(len, sequences)) > window

    def _tree(self, sequences: Sequence[Sequence32], starts: Sequence[int]) -> list[NDArray[np.float32]]:
        packed = pack(sequences, starts, self.row_tokens, self.pad)
        device = self._device
        dtype = next(self.model.parameters()).dtype
        mask = torch.zeros(packed.mask.shape, dtype=dtype, device=device)
        mask.masked_fill_(~torch.from_numpy(packed.mask).to(device), torch.finfo(dtype).min)
        given: dict[str, Any] = {
            "input_ids": torch.from_numpy(packed.tokens).to(device),
            "attention_mask": mask[:, None],
            "use_cache": False,
        }
        if "position_ids" in self._keywords:
            given["position_ids"] = torch.from_numpy(packed.depths).to(device)
        nodes = torch.from_numpy(packed.nodes).to(device)
        if self.direct_head:
            hidden = self.model.base_model(**given).last_hidden_state
            head = self.model.get_output_embeddings()
            picked = hidden.reshape(-1, hidden.shape[-1])[nodes]
            values = self._values(lambda low, high: head(picked[low:high]), len(nodes), packed.at, packed.target)
        else:
            logits = self.model(**given).logits
            flat = logits.reshape(-1, logits.shape[-1])
            values = self._values(lambda low, high: flat[nodes[low:high]], len(nodes), packed.at, packed.target)
        return [values[low:high] for low, high in packed.bounds]

    def _values(self, logits: Any, count: int, at: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.float32]:
        """Log-softmax at (node, target), some nodes at a time; ``logits(low, high)`` gives those of some nodes."""
        out = np.empty(len(at), dtype=np.float32)
        order = np.argsort(at, kind="stable")
        sorted_at = at[order]
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        step = max(1, _HEAD_NUMBERS // vocabulary)
        for low in range(0, count, step):
            high = min(count, low + step)
            rows = logits(low, high).float()  # a fresh tensor: the head's product, or an indexed copy
            inside = order[np.searchsorted(sorted_at, low) : np.searchsorted(sorted_at, high)]
            node = torch.from_numpy(at[inside] - low).to(rows.device)
            token = torch.from_numpy(target[inside]).to(rows.device)
            picked, top = rows[node, token], rows.amax(dim=-1)
            # In place, because the rows are ours and a copy of them costs a tenth of the time of a small model.
            total = top + rows.sub_(top[:, None]).exp_().sum(dim=-1).log()
            out[inside] = (picked - total[node]).cpu().numpy()
        return out

    def _rows(
        self, sequences: Sequence[Sequence32], starts: Sequence[int], *, padding: Literal["left", "right"]
    ) -> list[NDArray[np.float32]]:
        """One sequence a row, by the model's ordinary forward pass."""
        width = max(map(len, sequences)) - 1
        tokens = np.full((len(sequences), width), self.pad, dtype=np.int64)
        seen = np.zeros((len(sequences), width), dtype=np.int64)
        first = [0 if padding == "right" else width - len(ids) + 1 for ids in sequences]
        for i, ids in enumerate(sequences):
            own = slice(first[i], first[i] + len(ids) - 1)
            tokens[i, own], seen[i, own] = ids[:-1], 1
        device = self._device
        given: dict[str, Any] = {
            "input_ids": torch.from_numpy(tokens).to(device),
            "attention_mask": torch.from_numpy(seen).to(device),
            "use_cache": False,
        }
        if "position_ids" in self._keywords:
            given["position_ids"] = torch.from_numpy(np.maximum(np.cumsum(seen, axis=1) - 1, 0)).to(device)
        logits = self.model(**given).logits
        out = []
        for i, (ids, start) in enumerate(zip(sequences, starts, strict=True)):
            rows = logits[i, first[i] + start - 1 : first[i] + len(ids) - 1].float()
            target = torch.from_numpy(ids[start:].astype(np.int64)).to(device)
            values = rows.gather(1, target[:, None])[:, 0] - torch.logsumexp(rows, dim=-1)
            out.append(values.cpu().numpy().astype(np.float32))
        return out
