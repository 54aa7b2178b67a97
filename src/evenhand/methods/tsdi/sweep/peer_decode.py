"""Decoding from two contexts, or two models, in lockstep: every step mixes the logits that the two give for the same history.

The peers of TSDI that need it are Self-CD (one model, the prompt with and without a safety-stressing system prompt) and the
interpolation of two models. Both sides keep their own keys and values; the draw, its random numbers and the sharing of
histories are those of `engines.decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evenhand.engines.base import Sampling
from evenhand.engines.decode import Completion, DecodeBatch, Decoder, StopCheck
from evenhand.engines.kv import SlotCache

Inside = Callable[[], AbstractContextManager[None]]
Mix = Callable[[Any, Any], Any]
Ids = tuple[int, ...]


def contrast(plain: Any, careful: Any, strength: float) -> Any:
    """``z - a (z_careful - z)``, the logits of Self-CD (arXiv 2401.17633).

    ``plain`` and ``careful`` are ``[states, vocabulary]`` logits of one model without and with the system prompt that
    stresses safety. A token that either rules out (minus infinity) keeps its plain logit.
    """
    ruled_out = torch.isneginf(plain) | torch.isneginf(careful)
    return plain - strength * torch.where(ruled_out, 0.0, careful - plain)


def interpolate(aligned: Any, reference: Any, weight: float) -> Any:
    """``(1 - w) log p_aligned + w log p_reference`` over the columns that both have, ``[states, columns]``, nats.

    At weight 1 it is the reference's logits themselves, to the bit. A token that one of them rules out is ruled out.
    """
    columns = min(aligned.shape[-1], reference.shape[-1])
    aligned, reference = aligned[:, :columns], reference[:, :columns]
    if weight == 1:
        return reference
    ours, theirs = torch.log_softmax(aligned, dim=-1), torch.log_softmax(reference, dim=-1)
    return (1 - weight) * ours + weight * theirs


@dataclass(slots=True)
class OtherDecoder(Decoder):
    """The second side. Every use of its model happens in ``inside`` (with an adapter disabled, for example)."""

    inside: Inside = nullcontext

    def forward(self, cache: SlotCache, tokens: Any, positions: Any, mask: Any) -> Any:
        """Logits of the last position, as `Decoder.forward` gives them."""
        with self.inside():
            return Decoder.forward(self, cache, tokens, positions, mask)


@dataclass(slots=True)
class PairedDecoder(OtherDecoder):
    """Draws from ``mix(own logits, logits of other)``.

    ``other`` and ``mix`` are required. ``replaced`` maps a prompt to the one that the other side reads instead; both read the
    same prompt otherwise. ``most`` is the longest history (tokens) that the other side takes, None for no limit:
    a row ends there as it does where its own side's context ends.
    """

    other: OtherDecoder = field(kw_only=True)
    mix: Mix = field(kw_only=True)
    replaced: Mapping[Ids, Ids] = field(default_factory=dict, kw_only=True)
    most: int | None = field(default=None, kw_only=True)

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        row_prompt: Sequence[int],
        limits: Sequence[int],
        sampling: Sampling,
        uniform: NDArray[np.float64] | None,
        stop: StopCheck | None = None,
    ) -> list[Completion]:
        """Draw one completion per row; arguments and result are those of `Decoder.run`."""
        others = [self.replaced.get(tuple(prompt), tuple(prompt)) for prompt in prompts]
        if self.most is not None:
            room = [self.most - len(others[index]) for index in row_prompt]
            limits = [min(limit, free) for limit, free in zip(limits, room, strict=True)]
        with torch.inference_mode():
            return _Pair(self, prompts, others, row_prompt, limits, sampling, uniform, stop).run()


class _Pair(DecodeBatch):
    """One batch whose logits are mixed with a second one's. Open rows and their states are the same in both at every step."""

    def __init__(
        self,
        decoder: PairedDecoder,
        prompts: Sequence[Sequence[int]],
        others: Sequence[Sequence[int]],
        row_prompt: Sequence[int],
        limits: Sequence[int],
        sampling: Sampling,
        uniform: NDArray[np.float64] | None,
        stop: StopCheck | None,
    ):
        super().__init__(decoder, prompts, row_prompt, limits, sampling, uniform, stop)
        self.second = DecodeBatch(decoder.other, others, row_prompt, limits, sampling, None, None)
        self.mix = decoder.mix

    def prefill(self) -> Any:
        """Read every prompt on both sides and return the mixed logits after each."""
        return self._mixed(super().prefill(), self.second.prefill())

    def advance(self, tokens: NDArray[np.int64], step: int) -> Any:
        """Put the drawn tokens on both sides and return the mixed logits."""
        self.second.open, self.second.row_state = self.open, self.row_state
        theirs = self.second.advance(tokens, step)
        return self._mixed(super().advance(tokens, step), theirs)

    def _mixed(self, ours: Any, theirs: Any) -> Any:
        return self.mix(ours, theirs.to(ours.device))
