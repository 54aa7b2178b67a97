"""The correction as a logits processor of transformers: ``model.generate(..., logits_processor=[tsdi_processor(...)])``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor
from xxhash import xxh128_hexdigest

from evenhand.engines.bias_kernel import BiasKernel, check_tokenizer
from evenhand.engines.token_bias import TokenBias, read_token_bias
from evenhand.errors import BadInput

_LOG = logging.getLogger(__name__)
_NORMALISED = 1e-3
"""Nats: a row of log-probabilities has a log-sum-exp of 0, or less where tokens are masked."""


class TsdiProcessor(LogitsProcessor):  # type: ignore[misc]  # transformers gives no types
    """Subtracts a bias from the scores of the first output tokens (docs/tsdi.md).

    The position is ``i = input_ids.shape[1] - start + 1 + prefill``: it comes from the length, never from a count of calls,
    so it stays right in beam search, in assisted decoding (which calls once for each candidate) and for rows that have
    ended. All rows of a call are at one position: pad prompts on the left.

    Parameters
    ----------
    kernel : what is subtracted.
    start : the width of ``input_ids`` at which the first new token is drawn: the padded prompt length. Encoder-decoder
        models: the number of decoder tokens at the start, mostly 1. ``inputs_embeds`` alone: 0. None learns it from the
        first call; the instance then serves *one* call of ``generate``, until `reset`, and refuses another it can tell
        apart (other prompts, or more than one new token since the call before). With ``start`` given it serves many.
    prefill : tokens of the answer that are already part of the prompt: the next token is number ``prefill + 1``.
    renormalise : whether corrected rows become log-probabilities. Beam search hands over log-probabilities and adds them
        up, so that there they must (``generate(renormalize_logits=True)`` does the same). None looks at the first row: its
        log-sum-exp is not above 0 where these are log-probabilities. Renormalising changes no probability, so a wrong
        guess about logits is harmless; without it the scores of beams would be wrong.

    transformers runs its own processors (repetition penalty, masks) before, temperature and top-p after this one. Raises
    BadInput for scores that do not have the columns of the bias, naming both widths.
    """

    def __init__(
        self, kernel: BiasKernel, *, start: int | None = None, prefill: int = 0, renormalise: bool | None = None
    ):
        for name, value in (("start", start), ("prefill", prefill)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise BadInput(f"{name}={value} is not a number of tokens.", do="Give a whole number of at least 0.")
        self.kernel, self.start, self.prefill, self.renormalise = kernel, start, prefill, renormalise
        self._prompt: Any = None
        self._longest = 0

    def reset(self) -> None:
        """Forget the prompt length learnt from the first call, so that the instance serves another ``generate``."""
        self._prompt = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The corrected scores, shape ``[rows, vocabulary]``; the very same tensor beyond the last corrected position."""
        start = self._learnt(input_ids) if self.start is None else self.start
        width = int(input_ids.shape[1])
        if width < start:
            raise BadInput(
                f"The prompt is said to be {start} tokens wide, but only {width} are there.",
                do="Give start as the width of the padded prompt.",
            )
        position = width - start + 1 + self.prefill
        if position > self.kernel.length:
            return scores
        normalised = self._are_log_probs(scores) if self.renormalise is None else self.renormalise
        corrected: torch.Tensor = self.kernel.apply(scores, position, normalised=normalised)
        return corrected

    def _learnt(self, input_ids: torch.Tensor) -> int:
        width = int(input_ids.shape[1])
        if self._prompt is None:
            self._prompt, self._longest = input_ids.clone(), width
        start = int(self._prompt.shape[1])
        same = (
            width <= self._longest + 1
            and input_ids.shape[0] == self._prompt.shape[0]
            and torch.equal(input_ids[:, :start], self._prompt)
        )
        if not same:
            raise BadInput(
                "This processor learnt its prompt length from another call of generate.",
                do="Make one for each call, call reset() in between, or give start.",
            )
        self._longest = max(self._longest, width)
        return start

    @staticmethod
    def _are_log_probs(scores: torch.Tensor) -> bool:
        return bool(scores.shape[0]) and bool(torch.logsumexp(scores[0].float(), dim=-1) <= _NORMALISED)


def tsdi_processor(
    folder_or_bias: str | Path | TokenBias,
    tokenizer: Any,
    *,
    alpha: float = 1.0,
    length: int | None = None,
    start: int | None = None,
    prefill: int = 0,
    renormalise: bool | None = None,
    allow_negative: bool = False,
) -> TsdiProcessor:
    """The processor of a bias, for the model of ``tokenizer``.

    ``alpha``, ``length`` and ``allow_negative`` are those of `BiasKernel`, the others those of `TsdiProcessor`. Raises
    BadInput, naming both sides, for a tokenizer with another vocabulary than the bias was estimated with. A chat template
    that differs from the one of the estimate is warned about: the prompt may come from elsewhere.
    """
    if isinstance(folder_or_bias, TokenBias):
        bias, where = folder_or_bias, "the artefact"
    else:
        bias, where = read_token_bias(Path(folder_or_bias)), str(folder_or_bias)
    name = str(getattr(tokenizer, "name_or_path", "") or "this model")
    check_tokenizer(bias.header, tokenizer, bias=where, name=name)
    template = getattr(tokenizer, "chat_template", None)
    found = xxh128_hexdigest(json.dumps(template, sort_keys=True).encode()) if template else "plain"
    if found != bias.header.template:
        _LOG.warning(
            "The bias in %s was estimated under the chat template %s, the tokenizer of %s has %s. The first assistant token "
            "must stand at the same place.",
            where, bias.header.template, name, found,
        )  # fmt: skip
    kernel = BiasKernel(bias, alpha=alpha, length=length, allow_negative=allow_negative)
    for warning in kernel.warnings:
        _LOG.warning("%s: %s", name, warning)
    return TsdiProcessor(kernel, start=start, prefill=prefill, renormalise=renormalise)
