"""Rows of logits from a local model: those that predict the measured positions, and no others, through the head."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evenhand.engines.local import LocalEngine
from evenhand.engines.machine import torch_with_threads
from evenhand.errors import EngineError

Ids = NDArray[np.int64]
_CLOSE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Mean divergence (nats) of a row alone and in a padded batch that is rounding; half precision has more."""
_CLOSE_HALF = 0.05


class RowSource(Protocol):
    """What the estimate needs of a model. ``rows`` gives logits ``[contexts, length, width]`` that predict each context's last
    ``length`` positions: row k is seen after all but the last ``length - 1 - k`` tokens.
    """

    name: str

    def rows(self, contexts: Sequence[Ids], length: int) -> Any:
        """Logits of the last ``length`` positions, any float type."""
        ...

    def sample(self, contexts: Sequence[Ids], uniform: NDArray[np.float64], allowed: Ids) -> Ids:
        """``uniform.shape[1]`` tokens after each context, drawn from the model among ``allowed`` ids."""
        ...


class ModelRows:
    """A local engine's model, used without its own decoding. Rows are padded on the left, with mask and position ids.

    A model whose numbers a padded neighbour changes (one that keeps a state, or takes no mask) is given contexts of equal length
    only, without padding; ``padded`` then is False (specification 9.1).
    """

    def __init__(self, engine: LocalEngine):
        self.name, self.engine = engine.spec, engine
        self.model: Any = engine.model
        torch_with_threads(sum(weight.numel() for weight in self.model.parameters()))
        self._keywords = frozenset(inspect.signature(self.model.forward).parameters)
        self.device = next(self.model.parameters()).device
        self.padded = "attention_mask" in self._keywords and not getattr(self.model, "_is_stateful", False)
        if self.padded:
            with torch.inference_mode():
                self._try_padding()

    def _try_padding(self) -> None:
        """Compare one short context alone with the same one beside a longer one."""
        width = int(self.model.get_input_embeddings().weight.shape[0])
        long = (np.arange(24, dtype=np.int64) * 7 + 3) % width
        short = long[:5] + 0
        alone = torch.log_softmax(self._forward([short], 2).float(), -1)[0]
        beside = torch.log_softmax(self._forward([short, long], 2).float(), -1)[0]
        far = float((alone.exp() * (alone - beside)).sum(-1).abs().max())
        self.padded = bool(far <= _CLOSE.get(next(self.model.parameters()).dtype, _CLOSE_HALF))

    def rows(self, contexts: Sequence[Ids], length: int) -> Any:
        """Logits ``[contexts, length, width]`` in the model's own type."""
        with torch.inference_mode():
            if self.padded or len({len(ids) for ids in contexts}) == 1:
                return self._forward(contexts, length)
            out: list[Any] = [None] * len(contexts)
            for size in sorted({len(ids) for ids in contexts}):
                places = [i for i, ids in enumerate(contexts) if len(ids) == size]
                found = self._forward([contexts[i] for i in places], length)
                for row, place in enumerate(places):
                    out[place] = found[row]
            return torch.stack(out)

    def _forward(self, contexts: Sequence[Ids], length: int) -> Any:
        given, width = self._inputs(contexts)
        if "use_cache" in self._keywords:
            given["use_cache"] = False
        if "logits_to_keep" in self._keywords:
            given["logits_to_keep"] = length
        return checked_rows(self._call(given).logits, length, width, self.name)

    def _call(self, given: dict[str, Any]) -> Any:
        try:
            with self.engine._inside():
                return self.model(**given)
        except torch.cuda.OutOfMemoryError as error:
            raise EngineError(
                f"{self.name}: {len(given['input_ids'])} contexts do not fit the memory; give a smaller --batch."
            ) from error

    def _inputs(self, contexts: Sequence[Ids]) -> tuple[dict[str, Any], int]:
        width = max(len(ids) for ids in contexts)
        tokens = np.zeros((len(contexts), width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, ids in enumerate(contexts):
            tokens[row, width - len(ids) :] = ids
            mask[row, width - len(ids) :] = 1
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        given: dict[str, Any] = {"input_ids": torch.from_numpy(tokens).to(self.device)}
        if "attention_mask" in self._keywords and not mask.all():
            given["attention_mask"] = torch.from_numpy(mask).to(self.device)
        if "position_ids" in self._keywords:
            given["position_ids"] = torch.from_numpy(positions).to(self.device)
        return given, width

    def sample(self, contexts: Sequence[Ids], uniform: NDArray[np.float64], allowed: Ids) -> Ids:
        """Tokens drawn one after the other, ``[contexts, uniform.shape[1]]``: number k of a context decides its token k."""
        steps = uniform.shape[1]
        found = np.zeros((len(contexts), steps), dtype=np.int64)
        with torch.inference_mode():
            for step in range(steps):
                so_far = [np.concatenate([ids, found[row, :step]]) for row, ids in enumerate(contexts)]
                found[:, step] = drawn(self.rows(so_far, 1)[:, -1], uniform[:, step], allowed)
        return found


def checked_rows(logits: Any, length: int, width: int, name: str) -> Any:
    """The last ``length`` rows of what a model returned for contexts of ``width`` tokens.

    Raises EngineError where rows are missing: some models compute the last token's logits only (specification 9.4).
    """
    found = logits.shape[1]
    if found not in (length, width):
        raise EngineError(
            f"{name} returned logits of {found} positions where {length} were asked for"
            + (": it computes the last token's only. " if found == 1 else ". ")
            + "TSDI needs the row of every measured position."
        )
    return logits[:, found - length :]


def drawn(logits: Any, uniform: NDArray[np.float64], allowed: Ids) -> Ids:
    """One of the allowed ids for each row, by the inverse of the cumulative probability, in float64."""
    if logits.device.type == "mps":  # no float64 there
        logits = logits.cpu()
    ids = torch.from_numpy(allowed).to(logits.device)
    cumulative = torch.softmax(logits.index_select(-1, ids).double(), -1).cumsum(-1)
    target = torch.from_numpy(uniform).to(logits.device)[:, None] * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, target, right=True).clamp_max(len(allowed) - 1)
    chosen: Ids = ids[place[:, 0]].cpu().numpy()
    return chosen
