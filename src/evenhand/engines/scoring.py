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

from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.logits import answer_positions, has_direct_head, target_log_probs
from evenhand.engines.packing import pack, sort_key
from evenhand.engines.ticks import tick
from evenhand.errors import EngineError

_LOG = logging.getLogger(__name__)
Sequence32 = NDArray[np.int32]
IntArray = NDArray[np.int64]
Answers = Sequence[bool] | None
_HEAD_NUMBERS = 1 << 22
"""Logits held at a time, in numbers: bounds the memory of the head."""
_PASS_TOKENS = {"cpu": 800, "other": 32_768}
"""Tokens of one forward pass over rows of prefix trees, padding included. Small on a CPU, where what a layer hands to the next
then stays in the cache: 7 % less processor time than 4,096 with 110 million parameters. The other number is not measured."""
_ROW_NUMBERS = 1 << 27
"""Logits held at a time where whole rows of them come out of a model, in numbers."""
_ROWS_TOKENS = {"cpu": 4096, "other": 65_536}
"""Tokens of a batch, padding included, where each sequence has a row of its own."""
_PROBE = ((5, 11, 7, 13, 9, 6), (5, 11, 7, 8, 12), (5, 10, 9))
_CLOSE = {"float32": 1e-3}
_ATTENTION = frozenset(("full_attention", "sliding_attention", "chunked_attention", "attention"))
"""Layers that a dense mask governs. A layer with a state of its own goes from token to token along the whole row."""


def _some(answers: Answers, part: Sequence[int]) -> Answers:
    return None if answers is None else [answers[i] for i in part]


@dataclass(slots=True)
class Scorer:
    """Scores token sequences with one causal model of transformers.

    ``packing`` is ``"tree"`` where a prefix tree under a dense mask gives the model's own numbers, which is tried once, on
    sequences of the vocabulary's first ids; else ``"rows"``, one sequence a row, and ``why_rows`` says why.
    ``direct_head``: the head alone, put on the last hidden states, gives the model's logits. ``kernel`` corrects the first
    tokens of answers. Raises EngineError for a model that sees the tokens after the one it predicts.
    """

    model: Any
    row_tokens: int = 192
    pad: int = 0
    packing: Literal["tree", "rows"] = "rows"
    why_rows: str = ""
    direct_head: bool = False
    kernel: BiasKernel | None = None
    _keywords: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._keywords = frozenset(inspect.signature(self.model.forward).parameters)
        with torch.inference_mode():
            self._choose_packing()

    @property
    def _device(self) -> Any:
        return next(self.model.parameters()).device

    def _choose_packing(self) -> None:
        probe = [np.asarray([t % self._vocabulary for t in ids], dtype=np.int32) for ids in _PROBE]
        wanted = np.concatenate(self._rows(probe, [1] * len(probe), padding="right"))
        dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        close = _CLOSE.get(dtype, 0.15)
        # The first two sequences share three tokens, of which the first predicts the second and the second the third.
        early = np.abs(wanted[:2] - wanted[len(probe[0]) - 1 :][:2]).max()
        if early > close:
            raise EngineError(
                f"{type(self.model).__name__} sees the tokens after the one it predicts: it gives no probability of a text."
            )
        self.direct_head = has_direct_head(self.model, probe[0])
        if not self._keeps_state:
            try:
                order = sorted(range(len(probe)), key=lambda i: sort_key(probe[i]))
                found = self._tree([probe[i] for i in order], [1] * len(probe))
                back = dict(zip(order, found, strict=True))
                off = float(np.abs(np.concatenate([back[i] for i in range(len(probe))]) - wanted).max())
            except Exception as error:  # whatever a model makes of a dense mask, it is then served row by row
                self.why_rows = f"{type(error).__name__}: {error}"
            else:
                if off <= close:
                    self.packing = "tree"
                    return
                self.why_rows = f"its numbers differ by {off:.2g} nats"
        else:
            self.why_rows = "it has layers that keep a state along the row, which no mask governs"
        _LOG.info("%s is scored one sequence a row: %s", type(self.model).__name__, self.why_rows)

    @property
    def _keeps_state(self) -> bool:
        """Whether a token passes something on to the next one by another way than attention.

        What leaks in this way may be less than the rounding of half precision in the sequences tried, and more elsewhere.
        """
        kinds = getattr(self._config, "layer_types", None) or ()
        return bool(getattr(self.model, "_is_stateful", False)) or not _ATTENTION.issuperset(kinds)

    def run(
        self, sequences: Sequence[Sequence32], starts: Sequence[int], answers: Answers = None
    ) -> list[NDArray[np.float32]]:
        """Log-probabilities (nats, float32) of the tokens from ``starts[i]`` on of each sequence, in order.

        ``answers`` says which sequences are an assistant's turn from ``starts[i]`` on: those are scored under the corrected
        model where there is a ``kernel``. A token whose logits are not numbers gets NaN; the other sequences keep theirs.
        """
        out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)

        def fill(way: Any, part: list[int]) -> None:
            found = way([sequences[i] for i in part], [starts[i] for i in part], _some(answers, part))
            for i, values in zip(part, found, strict=True):
                out[i] = values

        with torch.inference_mode():
            for part in self._alike(sequences):
                if self.packing == "rows" or self._too_far(max(len(sequences[i]) for i in part)):
                    fill(self._row_by_row, part)
                    continue
                fill(self._tree, sorted(part, key=lambda i: sort_key(sequences[i])))
                # A value that is no number spoils its whole row, since no weight times it is one either.
                if spoilt := [i for i in part if not np.isfinite(out[i]).all()]:
                    fill(self._row_by_row, spoilt)
        return out

    def plainly(
        self, sequences: Sequence[Sequence32], starts: Sequence[int], answers: Answers = None
    ) -> list[NDArray[np.float32]]:
        """The same numbers by another path: one sequence a row, padded on the left, few rows at a time, all logits.

        Where layers keep a state, which may run over the padding, a sequence is alone and not padded.
        """
        size = 1 if self._keeps_state else 3
        out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)
        with torch.inference_mode():
            for part in self._alike(sequences):
                for few in (part[i : i + size] for i in range(0, len(part), size)):
                    ids, begun = [sequences[i] for i in few], [starts[i] for i in few]
                    found = self._rows(ids, begun, padding="left", answers=_some(answers, few))
                    for i, values in zip(few, found, strict=True):
                        out[i] = values
        return out

    @property
    def _config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)

    def _alike(self, sequences: Sequence[Sequence32]) -> list[list[int]]:
        """Sequences that may share a batch: a long-rope model turns all positions of a batch by its longest row."""
        rope = getattr(self._config, "rope_parameters", None) or {}
        border = rope.get("original_max_position_embeddings") if rope.get("rope_type") == "longrope" else None
        parts: tuple[list[int], list[int]] = ([], [])
        for i, ids in enumerate(sequences):
            parts[border is not None and len(ids) - 1 > border].append(i)
        return [part for part in parts if part]

    def _too_far(self, longest: int) -> bool:
        """Whether a sliding window or a chunk of attention would cut a path, which a dense mask does not do."""
        reach = [getattr(self._config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return any(width is not None and longest > width for width in reach)

    def _row_by_row(
        self, sequences: Sequence[Sequence32], starts: Sequence[int], answers: Answers = None
    ) -> list[NDArray[np.float32]]:
        """One sequence a row, those of like length together, as many at a time as the memory is meant for."""
        budget = _ROWS_TOKENS["cpu" if self._device.type == "cpu" else "other"]
        if not self.direct_head:
            budget = min(budget, _ROW_NUMBERS // self._vocabulary)
        out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)
        left = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        while left:
            part = left[: max(1, budget // len(sequences[left[0]]))]
            left = left[len(part) :]
            found = self._rows(
                [sequences[i] for i in part], [starts[i] for i in part], padding="right", direct=self.direct_head,
                answers=_some(answers, part),
            )  # fmt: skip
            for i, values in zip(part, found, strict=True):
                out[i] = values
            tick(1 - len(left) / len(sequences))
        return out

    @property
    def _vocabulary(self) -> int:
        return int(self.model.get_input_embeddings().weight.shape[0])

    def _tree(
        self, sequences: Sequence[Sequence32], starts: Sequence[int], answers: Answers = None
    ) -> list[NDArray[np.float32]]:
        packed = pack(sequences, starts, self.row_tokens, self.pad)
        position = answer_positions(sequences, starts, answers)
        rows, width = packed.tokens.shape
        step = max(1, _PASS_TOKENS["cpu" if self._device.type == "cpu" else "other"] // width)
        values = np.empty(len(packed.at), dtype=np.float32)
        for low in range(0, rows, step):
            own = slice(low, low + step)
            first, last = np.searchsorted(packed.nodes, [low * width, (low + step) * width])  # nodes are sorted
            inside = np.flatnonzero((packed.at >= first) & (packed.at < last))
            values[inside] = self._pass(
                packed.tokens[own], packed.depths[own], packed.mask[own], packed.nodes[first:last] - low * width,
                packed.at[inside] - first, packed.target[inside], None if position is None else position[inside],
            )  # fmt: skip
            tick((low + step) / rows)
        return [values[low:high] for low, high in packed.bounds]

    def _pass(
        self,
        tokens: IntArray,
        depths: IntArray,
        seen: NDArray[np.bool_],
        where: IntArray,
        at: IntArray,
        target: IntArray,
        position: IntArray | None,
    ) -> NDArray[np.float32]:
        """One forward pass over some rows of a pack; the arrays are those of `Pack`, counted from the first of them."""
        device = self._device
        dtype = next(self.model.parameters()).dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        mask.masked_fill_(~torch.from_numpy(seen).to(device), torch.finfo(dtype).min)
        given: dict[str, Any] = {
            "input_ids": torch.from_numpy(tokens).to(device),
            "attention_mask": mask[:, None],
            "use_cache": False,
        }
        if "position_ids" in self._keywords:
            given["position_ids"] = torch.from_numpy(depths).to(device)
        nodes = torch.from_numpy(where).to(device)
        if self.direct_head:
            hidden = self.model.base_model(**given).last_hidden_state
            head = self.model.get_output_embeddings()
            picked = hidden.reshape(-1, hidden.shape[-1])[nodes]
            return self._values(lambda low, high: head(picked[low:high]), len(nodes), at, target, position)
        logits = self.model(**given).logits
        flat = logits.reshape(-1, logits.shape[-1])
        return self._values(lambda low, high: flat[nodes[low:high]], len(nodes), at, target, position)

    def _values(
        self, logits: Any, count: int, at: IntArray, target: IntArray, position: IntArray | None
    ) -> NDArray[np.float32]:
        """Log-softmax at (node, target), some nodes at a time. See `target_log_probs`."""
        step = max(1, _HEAD_NUMBERS // self._vocabulary)
        return target_log_probs(logits, count, at, target, step, self.kernel, position)

    def _rows(
        self,
        sequences: Sequence[Sequence32],
        starts: Sequence[int],
        *,
        padding: Literal["left", "right"],
        direct: bool = False,
        answers: Answers = None,
    ) -> list[NDArray[np.float32]]:
        """One sequence a row, by the model's ordinary forward pass; ``direct`` runs the head where it is needed only."""
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
        if direct:
            hidden = self.model.base_model(**given).last_hidden_state
            head = self.model.get_output_embeddings()
            wanted = [
                np.arange(start - 1, len(ids) - 1) + i * width + first[i]
                for i, (ids, start) in enumerate(zip(sequences, starts, strict=True))
            ]
            nodes = torch.from_numpy(np.concatenate(wanted)).to(device)
            picked = hidden.reshape(-1, hidden.shape[-1])[nodes]
            aim = np.concatenate([ids[start:] for ids, start in zip(sequences, starts, strict=True)]).astype(np.int64)
            position = answer_positions(sequences, starts, answers)
            at = np.arange(len(nodes))
            values = self._values(lambda low, high: head(picked[low:high]), len(nodes), at, aim, position)
            return np.split(values, np.cumsum([len(part) for part in wanted])[:-1])
        logits = self.model(**given).logits
        out = []
        for i, (ids, start) in enumerate(zip(sequences, starts, strict=True)):
            rows = logits[i, first[i] + start - 1 : first[i] + len(ids) - 1].float()
            if self.kernel is not None and answers is not None and answers[i]:
                rows = self.kernel.apply(rows, np.arange(1, len(ids) - start + 1))
            target = torch.from_numpy(ids[start:].astype(np.int64)).to(device)
            values = rows.gather(1, target[:, None])[:, 0] - torch.logsumexp(rows, dim=-1)
            out.append(values.cpu().numpy().astype(np.float32))
        return out
