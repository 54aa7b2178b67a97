"""A bias put to use on a model: only if it was estimated for this tokenizer and this chat template."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.chat import ChatRenderer
from evenhand.engines.spec_tsdi import Tsdi
from evenhand.engines.token_bias import BiasHeader, TokenBias, read_token_bias, vocabulary_digest
from evenhand.errors import BadInput
from evenhand.records import Message

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Correction:
    """A bias, the kernel that subtracts it, and ``label``: what it is called in a model's identity."""

    bias: TokenBias
    kernel: BiasKernel
    label: str


def check_tokenizer(header: BiasHeader, tokenizer: Any, *, bias: str, name: str) -> None:
    """Raises BadInput, naming both, where ``name``'s tokenizer has other ids than the one the bias was estimated with."""
    found = vocabulary_digest(tokenizer)
    if found != header.tokenizer:
        raise BadInput(
            f"The bias in {bias} belongs to the tokenizer {header.tokenizer} (of {_model(header)}), but {name} has the "
            f"tokenizer {found}: a token's id does not mean the same in both.",
            do="Estimate a bias for this model.",
        )


def open_correction(asked: Tsdi, tokenizer: Any, renderer: ChatRenderer) -> Correction:
    """Read the bias of a spec for the model of ``renderer``.

    Raises BadInput for a bias that cannot be read, of another tokenizer or another chat template (position 1 would not
    mean the same), EngineError for a template that opens a reasoning block.
    """
    bias = read_token_bias(asked.folder)
    header, name = bias.header, renderer.name
    check_tokenizer(header, tokenizer, bias=str(asked.folder), name=name)
    if header.template != renderer.digest:
        raise BadInput(
            f"The bias in {asked.folder} was estimated under the chat template {header.template} (of {_model(header)}), "
            f"but {name} uses {renderer.digest}: the first assistant token does not stand at the same place.",
            do="Estimate a bias under this template.",
        )
    renderer.may_reason = False
    renderer.prompts([(Message("user", "Hello"),)])  # most templates that open a reasoning block do so always
    kernel = BiasKernel(bias, alpha=asked.alpha, length=asked.length)
    for warning in kernel.warnings:
        _LOG.warning("%s: %s", name, warning)
    return Correction(bias, kernel, f"tsdi {bias.digest} alpha={kernel.alpha:g} length={kernel.length}")


def _model(header: BiasHeader) -> str:
    return str(header.aligned.get("spec") or "an unnamed model")
