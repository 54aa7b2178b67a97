"""Peers that TSDI is compared with in a sweep: four simple ways to make a model refuse less, opened by `open_peer`.

Each is an engine that only generates, on one model or two. A peer of strength 0 is the plain model, to the bit. Wordings and
strengths are ours; nothing here reproduces published numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from xxhash import xxh128_hexdigest

from evenhand.datasets.question_texts import CAREFUL_SYSTEM_PROMPT, OPEN_SYSTEM_PROMPT
from evenhand.engines.base import Batch, Engine, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.cache import CachedEngine
from evenhand.engines.chat import ChatRenderer, Prompt
from evenhand.engines.local import LocalEngine
from evenhand.engines.planning import length_sorted
from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.estimate.tokens import OPENERS_VERSION, control_ids, opener_ids
from evenhand.records import Message

PeerName = Literal["static", "system_prompt", "self_cd", "interpolation"]
_WIRE_LIMIT = 100.0


class StaticKernel(BiasKernel):
    """The same subtraction at every position: ``strength`` nats from each of ``ids`` of a vocabulary, all others unchanged.

    Its table has one row, so ``length`` is 1, but positions make no difference. Raises BadInput as `BiasKernel` does.
    """

    def __init__(self, ids: Sequence[int], vocabulary: int, strength: float):
        table = np.zeros((1, vocabulary), dtype=np.float32)
        table[0, list(ids)] = 1
        super().__init__(table, alpha=strength)
        self.warnings = ()  # strengths above 1 are usual for this peer

    def apply(self, logits: Any, positions: Any, *, normalised: bool = False) -> Any:
        """``z - s`` in the columns of the ids, whatever the positions; see `BiasKernel.apply`."""
        return super().apply(logits, 1, normalised=normalised)


def logit_bias(ids: Sequence[int], strength: float) -> dict[str, float]:
    """The static bias as the ``logit_bias`` of an OpenAI-style request: token id to what is added.

    Raises BadInput for a strength beyond 100, which such endpoints do not take.
    """
    if not math.isfinite(strength) or abs(strength) > _WIRE_LIMIT:
        raise BadInput(f"A logit_bias of {strength:g} is not possible.", do="Endpoints take -100 to 100.")
    return {str(token): -float(strength) for token in ids}


class PeerEngine(TextOnly, LocalEngine):
    """A model with one peer's correction, in the weights of ``aligned``; see `open_peer`.

    Chats are corrected. A plain text that is continued has neither a system turn nor an opening: only interpolation changes
    it. With Self-CD and interpolation every token is computed twice, which the batch plan and the estimate count.
    Both models of an interpolation read the same ids, under the template of ``aligned``, whose end tokens end a response.
    """

    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(
        self, name: PeerName, aligned: LocalEngine, strength: float, reference: LocalEngine | None, prompt: str | None
    ):
        self.name, self.aligned, self.strength, self.reference = name, aligned, strength, reference
        wording = {"system_prompt": OPEN_SYSTEM_PROMPT, "self_cd": CAREFUL_SYSTEM_PROMPT}.get(name, "")
        self.prompt = wording if prompt is None else prompt
        self.paired = strength > 0 and name in ("self_cd", "interpolation")
        self._second_prompts: dict[tuple[int, ...], tuple[int, ...]] = {}
        super().__init__(aligned.checkpoint, aligned.options)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of ``aligned``."""
        return self.aligned.tokenizer

    @cached_property
    def renderer(self) -> ChatRenderer:
        """The renderer of ``aligned``."""
        return self.aligned.renderer

    @cached_property
    def openers(self) -> tuple[int, ...]:
        """Ids that the static bias is subtracted from: first tokens of the refusal openers, control tokens left out."""
        return opener_ids(self.tokenizer, control_ids(self.tokenizer))

    @cached_property
    def _identity(self) -> Identity:
        """The model's identity with the peer in ``processors``: cached and resumed rows never mix with other settings'."""
        peer: dict[str, Any] = {"name": self.name, "strength": self.strength}
        if self.name == "static":
            peer |= {"openers_version": OPENERS_VERSION, "ids": list(self.openers)}
        if self.prompt:
            peer["prompt"] = self.prompt
        if self.reference is not None:
            peer["reference"] = asdict(self.reference.identity())
        digest = xxh128_hexdigest(repr(sorted(peer.items())).encode("utf-8", "backslashreplace"))
        plain = self.aligned.identity()
        label = f"peer {self.name} strength={self.strength!r} {digest}"
        return replace(plain, processors=label, extra={**plain.extra, "peer": peer})

    @property
    def model(self) -> Any:
        """The model of ``aligned``, loaded once for both."""
        if self._model is None:
            _ = self._identity
            self._model = self.aligned.model
            self._parameters = self.aligned._parameters
        return self._model

    @property
    def _kernel(self) -> Any:
        """The static bias; None for the other peers."""
        if self.name != "static":
            return None
        kernel = StaticKernel(self.openers, max(self.tokenizer.get_vocab().values()) + 1, self.strength)
        head = self.model.get_output_embeddings()
        kernel.fits((head or self.model.get_input_embeddings()).weight.shape[0])
        return kernel

    @property
    def decoder(self) -> Any:
        """The decoder that draws the tokens: the plain one, or one of two sides."""
        if self._decoder is None:
            plain = super().decoder
            self._decoder = self._pair(plain) if self.paired else plain
        return self._decoder

    def _pair(self, plain: Any) -> Any:
        from evenhand.methods.tsdi.sweep.peer_decode import OtherDecoder, PairedDecoder, contrast, interpolate

        second = self.reference or self.aligned
        mix = (
            partial(contrast, strength=self.strength)
            if self.reference is None
            else partial(interpolate, weight=self.strength)
        )
        other = OtherDecoder(second.model, plain.end_ids, plain.pad_id, inside=second._inside)
        return PairedDecoder(
            plain.model, plain.end_ids, plain.pad_id, inside=self.aligned._inside, other=other, mix=mix,
            replaced=self._second_prompts, most=second.context,
        )  # fmt: skip

    def _inside(self) -> AbstractContextManager[None]:
        """Context of every use of the model; of two sides each enters its own."""
        return nullcontext() if self.paired else self.aligned._inside()

    def _prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """The prompts as the first side reads them; those of the second side are kept for the batch decoded next."""
        if self.name == "system_prompt" and self.strength:
            requests = [request if _has_system(request) else _with_system(request, self.prompt) for request in requests]
        prompts = super()._prompts(requests)
        if not self.paired:
            return prompts
        others = prompts
        if self.name == "self_cd":
            others = super()._prompts([_with_system(request, self.prompt) for request in requests])
        self._second_prompts.clear()
        for prompt, other in zip(prompts, others, strict=True):
            if self._second_prompts.setdefault(prompt.ids, other.ids) != other.ids:
                raise EngineError(
                    f"{self.spec}: the chat template renders two different chats alike, but not once a system prompt is "
                    "added, so Self-CD cannot distinguish them."
                )
        most = (self.reference or self.aligned).context
        return [self._fitting(prompt, other, most) for prompt, other in zip(prompts, others, strict=True)]

    def _fitting(self, prompt: Prompt, other: Prompt, most: int | None) -> Prompt:
        if prompt.error or other.error:
            return replace(prompt, error=prompt.error or other.error)
        if most is not None and len(other.ids) >= most:
            side = (
                f"{self.reference.spec} takes"
                if self.reference
                else "with the system prompt of Self-CD the model takes"
            )
            return replace(prompt, error=f"context exceeded: the prompt has {len(other.ids)} tokens, {side} {most}")
        return prompt

    def _cost(self, prompts: Sequence[Prompt]) -> list[int]:
        """Prompt tokens of each request on both sides together."""
        return [len(p.ids) + (len(self._second_prompts[p.ids]) if self.paired else 0) for p in prompts]

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches as the plain engine makes them; with two sides the tokens of both count against the budget."""
        if not self.paired:
            return super().plan(requests, sampling)
        most = sampling.max_tokens if self.context is None else min(sampling.max_tokens, self.context)
        return length_sorted(requests, self._cost(self._prompts(requests)), 2 * most, self.batch_tokens)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """As the plain engine counts; with two sides the prompt tokens of both."""
        tokens = sum(self._cost(self._prompts(requests)))
        return Estimate(len(requests), tokens, len(requests) * sampling.max_tokens, exact=True)


def _has_system(request: Request) -> bool:
    return request.plain or any(message.role == "system" for message in request.chat)


def _with_system(request: Request, text: str) -> Request:
    """The chat with this system prompt; before the chat's own, with a blank line between them, if it has one."""
    if request.plain:
        return request
    first, *rest = request.chat
    if first.role == "system":
        return replace(request, chat=(Message("system", f"{text}\n\n{first.content}"), *rest))
    return replace(request, chat=(Message("system", text), first, *rest))


PEERS: Mapping[str, str] = {
    "static": "the same bias against the refusal openers' first tokens at every position; strength in nats",
    "system_prompt": "a system prompt that asks for answers, before chats that have none; strength 1 (0 leaves it out)",
    "self_cd": "logits minus a times what a safety-stressing system prompt adds (Self-CD, arXiv 2401.17633); strength a",
    "interpolation": "(1 - w) log-probabilities of the model + w of the reference; strength w, 0 to 1",
}
"""What each peer does, by name."""
_LONGEST_PROMPT = 100_000


def read_prompt(path: Path) -> str:
    """A system prompt from a UTF-8 text file, without white space around it. Raises BadInput if there is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
    except OSError as error:
        raise BadInput(f"The system prompt cannot be read ({error.strerror}).", file=path) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"The system prompt is not UTF-8 text ({error}).", file=path, do="Save it as UTF-8.") from error
    if not text or len(text) > _LONGEST_PROMPT:
        what = f"has {len(text):,} characters, the most is {_LONGEST_PROMPT:,}" if text else "is empty"
        raise BadInput(f"The system prompt {what}.", file=path)
    return text


def open_peer(
    name: str, aligned: Engine, *, strength: float, reference: Engine | None = None, prompt: str | Path | None = None
) -> Engine:
    """The engine of one peer, in the weights of ``aligned``.

    Parameters
    ----------
    name : one of `PEERS`.
    aligned : a local engine without ``+tsdi``; one with a request cache gives a peer with the same cache.
    strength : at least 0; meaning and range are in `PEERS`.
    reference : the local model to interpolate with, of the same vocabulary; for interpolation alone.
    prompt : the system prompt, or a text file that holds it, in place of our own wording; for system_prompt and self_cd.

    Raises BadInput for another name, an engine that is not local or is corrected already, a strength that is not finite or
    out of range, another vocabulary, and arguments that the peer does not use.
    """
    if name not in PEERS:
        raise BadInput(f"Unknown peer '{name}'.", do=f"Known: {', '.join(PEERS)}.")
    if isinstance(aligned, CachedEngine):
        peer = open_peer(name, aligned.engine, strength=strength, reference=reference, prompt=prompt)
        return CachedEngine(peer, aligned.path)
    inner = reference.engine if isinstance(reference, CachedEngine) else reference
    local = _uncorrected(aligned, name)
    _check_strength(name, strength)
    if prompt is not None and name not in ("system_prompt", "self_cd"):
        raise BadInput(f"The peer {name} has no system prompt.", do="Leave it out.")
    if (inner is not None) != (name == "interpolation"):
        needs = "needs a reference model" if inner is None else "has no use for a reference model"
        raise BadInput(f"The peer {name} {needs}.")
    other = _of_one_vocabulary(local, _uncorrected(inner, name)) if inner is not None else None
    text = read_prompt(prompt) if isinstance(prompt, Path) else prompt
    if text is not None and not text.strip():
        raise BadInput("The system prompt is empty.")
    kind: PeerName = next(kind for kind in get_args(PeerName) if kind == name)
    return PeerEngine(kind, local, float(strength), other, text)


def _uncorrected(engine: Engine, name: str) -> LocalEngine:
    if not isinstance(engine, LocalEngine):
        raise BadInput(
            f"{engine.spec} is not a local model: the peer {name} needs its logits.",
            do="Give organism/NAME or hf/ID-or-FOLDER.",
        )
    if isinstance(engine, PeerEngine) or engine.correction is not None:
        raise BadInput(
            f"{engine.spec} is already corrected: peers are compared with TSDI, not added to it.",
            do="Give the model without +tsdi.",
        )
    return engine


def _check_strength(name: str, strength: float) -> None:
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not math.isfinite(strength) or strength < 0:
        raise BadInput(f"The strength {strength} of the peer {name} is not a finite number of at least 0.")
    if name == "interpolation" and strength > 1:
        raise BadInput(f"The weight {strength:g} is above 1.", do="0 is the model, 1 the reference.")
    if name == "system_prompt" and strength not in (0, 1):
        raise BadInput(f"A system prompt has no strength {strength:g}.", do="Give 1, or 0 to leave it out.")


def _of_one_vocabulary(aligned: LocalEngine, reference: LocalEngine) -> LocalEngine:
    """The reference. Raises BadInput, naming both, if a token's id differs in meaning in both models."""
    ours, theirs = aligned.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
    if ours != theirs:
        apart = len(set(ours.items()) ^ set(theirs.items()))
        raise BadInput(
            f"{aligned.spec} and {reference.spec} have different vocabularies ({len(ours):,} and {len(theirs):,} tokens, "
            f"{apart:,} entries apart): their next-token probabilities cannot be mixed.",
            do="Give the model that it was tuned from.",
        )
    return reference
