"""The decode loop. Rows that share a history share its computation: a prompt is read once for all its repetitions, and
repetitions are computed together until the token at which they part.

A *row* is one response to be drawn; a *state* is a distinct history (prompt and tokens so far). State s lives in cache
slot s. After each step the states are the distinct (old state, drawn token) pairs of the rows still open: the first
child of a state stays in its slot, further children are copied into free slots, and slots of finished histories are
filled from the end, so that the open states are always the first ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evenhand.engines.base import Sampling
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.kv import SlotCache, cache_argument, cache_layout
from evenhand.engines.logits import draw
from evenhand.engines.ticks import tick

_SHARED_PREFIX = 8
_PREFILL_TOKENS = 8192
_FIRST_ROOM = 32


class StopCheck(Protocol):
    """Finds stop strings in what a row has produced so far."""

    def candidates(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these newest tokens could complete a stop string."""
        ...

    def stops(self, tokens: Sequence[int]) -> bool:
        """Whether the text of these tokens holds a stop string."""
        ...


@dataclass(slots=True)
class Completion:
    """What one row produced: its tokens without the end token, how many were drawn (with it), and why it ended."""

    tokens: list[int]
    drawn: int
    finish: Literal["stop", "length", "error"]
    error: str = ""


@dataclass(slots=True)
class Decoder:
    """Draws tokens from one causal model of transformers.

    ``end_ids`` end a response; ``pad_id`` fills the left of shorter prompts and is masked. ``kernel`` corrects the logits
    of the first tokens of every completion, before temperature and top-p.
    """

    model: Any
    end_ids: frozenset[int]
    pad_id: int
    prefill_tokens: int = _PREFILL_TOKENS
    share_prefix: bool = True
    kernel: BiasKernel | None = None
    layout: tuple[str, ...] = field(init=False)
    kept: list[dict[str, Any]] = field(init=False, repr=False)
    _keywords: frozenset[str] = field(init=False)
    _cache_argument: str = field(init=False)

    def __post_init__(self) -> None:
        self.layout = cache_layout(self.model)
        self.kept = [{} for _ in self.layout]
        self._keywords = frozenset(inspect.signature(self.model.forward).parameters)
        self._cache_argument = cache_argument(self.model)

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        row_prompt: Sequence[int],
        limits: Sequence[int],
        sampling: Sampling,
        uniform: NDArray[np.float64] | None,
        stop: StopCheck | None = None,
    ) -> list[Completion]:
        """Draw one completion per row.

        Parameters
        ----------
        prompts : distinct prompts as token ids.
        row_prompt : for each row, the index of its prompt.
        limits : for each row, the most tokens it may draw (at least 1).
        uniform : numbers in [0, 1), shape ``[rows, max(limits)]``; None decodes greedily.
        stop : how stop strings are found, None where there are none.
        """
        with torch.inference_mode():
            return DecodeBatch(self, prompts, row_prompt, limits, sampling, uniform, stop).run()

    def forward(self, cache: SlotCache, tokens: Any, positions: Any, mask: Any) -> Any:
        """Logits of the last position, float32 or wider, shape ``[slots in focus, vocabulary]``."""
        given: dict[str, Any] = {"input_ids": tokens, self._cache_argument: cache, "use_cache": True}
        if mask is not None:
            given["attention_mask"] = mask
        if "position_ids" in self._keywords:
            given["position_ids"] = positions
        if "logits_to_keep" in self._keywords:
            given["logits_to_keep"] = 1
        return self.model(**given).logits[:, -1].float()


class DecodeBatch:
    """The state of one call of `Decoder.run`."""

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[Sequence[int]],
        row_prompt: Sequence[int],
        limits: Sequence[int],
        sampling: Sampling,
        uniform: NDArray[np.float64] | None,
        stop: StopCheck | None,
    ):
        self.decoder, self.sampling, self.uniform, self.stop = decoder, sampling, uniform, stop
        self.device = next(decoder.model.parameters()).device
        self.prompts = prompts
        self.limits = np.asarray(limits, dtype=np.int64)
        self.lengths = np.asarray([len(prompt) for prompt in prompts], dtype=np.int64)
        self.width = int(self.lengths.max())
        self.most = self.width + int(self.limits.max())
        rows = len(row_prompt)
        self.tokens = np.zeros((rows, int(self.limits.max())), dtype=np.int64)
        self.drawn = np.zeros(rows, dtype=np.int64)
        self.finish: list[Literal["stop", "length", "error"]] = ["length"] * rows
        self.errors = [""] * rows
        self.ended = np.zeros(rows, dtype=np.bool_)
        self.end_ids = np.fromiter(sorted(decoder.end_ids), dtype=np.int64)
        # Open rows and their states; at first a state is a prompt.
        self.open = np.arange(rows, dtype=np.int64)
        self.row_state = np.asarray(row_prompt, dtype=np.int64)
        self.state_prompt = np.arange(len(prompts), dtype=np.int64)
        capacity = min(self.most, self.width + _FIRST_ROOM)
        self.cache = SlotCache(decoder.layout, slots=max(rows, len(prompts)), capacity=capacity, kept=decoder.kept)

    def run(self) -> list[Completion]:
        logits = self.prefill()
        step = 0
        while True:
            tokens = self.step(logits, step)
            step += 1
            tick(self._done(self.read, step))
            if not len(self.open):
                break
            logits = self.advance(tokens, step)
        return [
            Completion(
                self.tokens[row, : self.drawn[row] - self.ended[row]].tolist(), int(self.drawn[row]), finish, why
            )
            for row, (finish, why) in enumerate(zip(self.finish, self.errors, strict=True))
        ]

    def _done(self, read: int, step: int) -> float:
        """Share of the batch's tokens that are read or drawn; a closed row counts as drawn to its limit."""
        left = int((self.limits[self.open] - step).sum()) if step else int(self.limits.sum())
        return (read + int(self.limits.sum()) - left) / (self.read + int(self.limits.sum()))

    def prefill(self) -> Any:
        """Read every prompt once (what all of them begin with, once for all) and return the logits after each."""
        count, width, cache = len(self.prompts), self.width, self.cache
        shared = self._shared_prefix()
        if shared:
            cache.see(0, 1, 0)
            head = torch.tensor([self.prompts[0][:shared]], device=self.device)
            self.decoder.forward(cache, head, torch.arange(shared, device=self.device)[None], None)
            cache.see(0, count, shared)
            cache.move(
                torch.arange(1, count, device=self.device), torch.zeros(count - 1, dtype=torch.long, device=self.device)
            )
        ids = np.full((count, width - shared), self.decoder.pad_id, dtype=np.int64)
        mask = np.ones((count, self.most), dtype=np.int64)
        for index, prompt in enumerate(self.prompts):
            gap = width - len(prompt)
            ids[index, gap:] = prompt[shared:]
            mask[index, shared : shared + gap] = 0
        self.gaps = width - self.lengths
        padded = bool(self.gaps.any())
        self.prompt_mask = torch.from_numpy(mask).to(self.device) if padded else None
        position = np.maximum(np.arange(shared, width)[None] - self.gaps[:, None], 0)
        tokens, positions = torch.from_numpy(ids).to(self.device), torch.from_numpy(position).to(self.device)
        pieces = []
        self.read = count * (width - shared)
        size = max(1, self.decoder.prefill_tokens // (width - shared))
        for low in range(0, count, size):
            high = min(count, low + size)
            cache.see(low, high, shared)
            piece = None if self.prompt_mask is None else self.prompt_mask[low:high, :width]
            pieces.append(self.decoder.forward(cache, tokens[low:high], positions[low:high], piece))
            tick(self._done(high * (width - shared), 0))
        cache.see(0, count, width)
        self.mask = self.prompt_mask
        return torch.cat(pieces)

    def _shared_prefix(self) -> int:
        """Tokens that every prompt begins with; 0 where reading them apart does not pay or is not exact."""
        if not self.decoder.share_prefix or len(self.prompts) < 2 or "sliding" in self.decoder.layout:
            return 0
        low, high = min(map(tuple, self.prompts)), max(map(tuple, self.prompts))
        most = int(self.lengths.min()) - 1
        shared = next((i for i in range(most) if low[i] != high[i]), most)
        return shared if shared >= _SHARED_PREFIX else 0

    def step(self, logits: Any, step: int) -> NDArray[np.int64]:
        """Draw a token for every open row, close the rows that end, and return the tokens of the rows left open."""
        if self.decoder.kernel is not None:  # all states are at the same place of their completions
            logits = self.decoder.kernel.apply(logits, step + 1)
        largest = torch.amax(logits, dim=-1)
        broken = ~torch.isfinite(largest).cpu().numpy()
        if broken.any():
            hit = broken[self.row_state]
            for row in self.open[hit]:
                self.finish[row], self.errors[row] = (
                    "error",
                    f"the model returned logits that are not numbers at token {step + 1}",
                )
            self._keep(~hit)
            if not len(self.open):
                return np.empty(0, dtype=np.int64)
            logits = torch.where(torch.from_numpy(broken).to(logits.device)[:, None], 0.0, logits)
        uniform = None if self.uniform is None else self.uniform[self.open, step]
        tokens = draw(logits, self.row_state, uniform, self.sampling)
        self.tokens[self.open, step] = tokens
        self.drawn[self.open] = step + 1
        at_end = np.isin(tokens, self.end_ids)
        closed = at_end.copy()
        self.ended[self.open[at_end]] = True
        if self.stop is not None:
            for index in np.flatnonzero(self.stop.candidates(tokens) & ~at_end):
                closed[index] = self.stop.stops(self.tokens[self.open[index], : step + 1].tolist())
        for row in self.open[closed]:
            self.finish[row] = "stop"
        keep = ~closed & (step + 1 < self.limits[self.open])
        tokens = tokens[keep]
        self._keep(keep)
        return tokens

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        self.open, self.row_state = self.open[keep], self.row_state[keep]

    def advance(self, tokens: NDArray[np.int64], step: int) -> Any:
        """Fork and compact the states for the drawn tokens, run the model on them, and return their logits."""
        stride = int(tokens.max()) + 1
        pairs, inverse = np.unique(self.row_state * stride + tokens, return_inverse=True)
        parent, token = pairs // stride, pairs % stride
        count = len(pairs)
        first = np.ones(count, dtype=np.bool_)
        first[1:] = parent[1:] != parent[:-1]
        stays = first & (parent < count)
        slot = np.where(stays, parent, -1)
        free = np.setdiff1d(np.arange(count), parent[stays], assume_unique=True)
        movers = np.flatnonzero(~stays)
        slot[movers] = free
        cache, length, before = self.cache, self.width + step - 1, len(self.state_prompt)
        cache.see(0, before, length)
        cache.reserve(length + 1, self.most)
        if len(movers):
            cache.move(torch.from_numpy(free).to(self.device), torch.from_numpy(parent[movers]).to(self.device))
        if count != before or len(movers):
            state_prompt = np.empty(count, dtype=np.int64)
            state_prompt[slot] = self.state_prompt[parent]
            self.state_prompt = state_prompt
            if self.prompt_mask is not None:
                self.mask = self.prompt_mask[torch.from_numpy(state_prompt).to(self.device)]
        self.row_state = slot[inverse.reshape(-1)]
        newest = np.empty((count, 1), dtype=np.int64)
        newest[slot, 0] = token
        position = (self.lengths[self.state_prompt] + step - 1)[:, None]
        cache.see(0, count, length)
        mask = None if self.mask is None else self.mask[:, : length + 1]
        return self.decoder.forward(
            cache, torch.from_numpy(newest).to(self.device), torch.from_numpy(position).to(self.device), mask
        )
