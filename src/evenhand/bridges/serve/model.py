"""The served model: opened once, held against its correction, and requests turned into work for the step loop."""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

from xxhash import xxh128_hexdigest

from evenhand.bridges.serve.generate import Piece, StepLoop, Work
from evenhand.bridges.serve.text import TokenNames
from evenhand.bridges.serve.wire import ApiError, ChatBody, CompletionBody, ServeConfig, SharedBody
from evenhand.engines.bias_kernel import BiasKernel, open_correction
from evenhand.engines.chat import ChatRenderer, Prompt
from evenhand.engines.local import LocalEngine
from evenhand.engines.machine import torch_with_threads
from evenhand.engines.spec import Tsdi, open_engine, parse_spec
from evenhand.engines.token_bias import TokenBias
from evenhand.errors import BadInput, EngineError
from evenhand.records import Message

_COMPLETION_TOKENS = 16
_CONTEXT_TOKENS = 16
_KERNELS = 8


class ServedModel:
    """A local model with, perhaps, a TSDI correction.

    Raises BadInput for a model that is not a local one, or a correction that cannot be used with it; EngineError where
    the model cannot be loaded. Loading is done here, so that a server which starts can serve.
    """

    def __init__(self, config: ServeConfig):
        self.config = config
        parsed = parse_spec(config.model)
        if parsed.kind not in ("organism", "hf") or parsed.tsdi is not None:
            raise BadInput(
                f"'{config.model}' cannot be served: only plain local models can.",
                do="Use organism/NAME or hf/ID-or-FOLDER, and name a correction by --tsdi DIR.",
            )
        if config.tsdi is None and (config.alpha != 1.0 or config.length is not None):
            raise BadInput(
                "--alpha and --length say how a correction is used, and none is given.", do="Add --tsdi DIR."
            )
        engine = open_engine(config.model, device=config.device, dtype=config.dtype)
        assert isinstance(engine, LocalEngine), "both kinds are local engines"
        self.engine, self.name, self.warnings = engine, engine.spec, list[str]()
        self.bias: TokenBias | None = None
        if config.tsdi is not None:
            asked = Tsdi(config.tsdi, config.alpha, config.length)
            # A renderer of its own: one that was used for a correction refuses reasoning in uncorrected requests too.
            found = open_correction(asked, engine.tokenizer, ChatRenderer(engine.tokenizer, name=engine.spec))
            self.bias = found.bias
            self.warnings += [*found.bias.header.warnings, *_other_weights(found.bias, engine)]
        self._lock = threading.Lock()
        decoding = copy.deepcopy(engine.tokenizer)  # encoding changes a tokenizer's settings while it lasts
        self._loop = StepLoop(engine.model, decoding)
        self._end_ids: frozenset[int] = engine.decoder.end_ids
        head = engine.model.get_output_embeddings() or engine.model.get_input_embeddings()
        self.vocabulary = int(head.weight.shape[0])
        self.names = TokenNames(decoding)
        self._special = {str(token): index for index, token in engine.tokenizer.added_tokens_decoder.items()}
        self._kernel = lru_cache(_KERNELS)(self._make_kernel)
        if self.bias is not None:
            self._kernel(config.alpha).fits(self.vocabulary)

    @cached_property
    def fingerprint(self) -> str:
        """Of model and correction: answers to the same seed are comparable while it stays."""
        parts = [self.engine.identity().digest, "" if self.bias is None else self.bias.digest, str(self.length)]
        return "fp_" + xxh128_hexdigest("\x1f".join(parts).encode())[:16]

    @property
    def length(self) -> int:
        """Corrected positions; 0 without a correction."""
        return 0 if self.bias is None else (self.config.length or self.bias.header.length)

    def generate(self, works: list[Work]) -> Iterator[Piece | None]:
        """The pieces of one request after the other's prompt; runs in the worker thread alone."""
        for work in works:
            yield from self._loop.pieces(work)

    def enter(self) -> Any:
        """What the worker thread runs in."""
        torch = torch_with_threads(sum(weight.numel() for weight in self.engine.model.parameters()))
        return torch.inference_mode()

    def chat(self, body: ChatBody) -> list[Work]:
        """The work of a chat. An assistant's message at its end is continued; its tokens count as positions 1 to k.

        Raises ApiError.
        """
        self._check_shared(body)
        alpha = self._alpha(body, usual=True)
        messages = [
            Message("system" if message.role == "developer" else message.role, message.content)
            for message in body.messages
        ]
        prefill = messages.pop() if messages[-1].role == "assistant" else None
        if not messages:
            raise ApiError(400, "messages: an assistant's message alone is no chat.", param="messages")
        with self._lock:
            prompt = self._rendered(tuple(messages))
            begun = [] if prefill is None else self._plain_ids(prefill.content)
        if alpha and prompt.opens_reasoning:
            raise ApiError(400, 'The template opens a reasoning block here: send "tsdi": false.', param="tsdi")
        asked = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
        if body.max_completion_tokens is not None and asked != body.max_completion_tokens:
            raise ApiError(400, "max_tokens and max_completion_tokens differ.", param="max_tokens")
        if body.top_logprobs is not None and not body.logprobs:
            raise ApiError(400, "top_logprobs: needs logprobs to be true.", param="top_logprobs")
        field = "max_completion_tokens" if body.max_tokens is None else "max_tokens"
        top = (body.top_logprobs or 0) if body.logprobs else None
        ids = (*prompt.ids, *begun)
        limit = self._limit(len(ids), asked, self.config.max_tokens_limit, field=field, what="messages")
        return [self._work(body, ids, limit, alpha, top=top, position=len(begun) + 1, context=len(begun))]

    def completion(self, body: CompletionBody) -> list[Work]:
        """The work of raw prompts, one Work each. They hold no assistant's turn, so a correction must be asked for.

        Raises ApiError.
        """
        self._check_shared(body)
        alpha = self._alpha(body, usual=False)
        if body.max_tokens == 0 and not body.echo:
            raise ApiError(400, "max_tokens: 0 is of use with echo alone.", param="max_tokens")
        works = []
        for group, prompt in enumerate(body.prompt):
            ids, hidden, text = self._raw(prompt)
            limit = self._limit(len(ids), body.max_tokens, _COMPLETION_TOKENS, field="max_tokens", what="prompt")
            context = min(len(ids) - hidden, _CONTEXT_TOKENS)
            echo = text if body.echo else None
            works.append(
                self._work(
                    body, ids, limit, alpha, top=body.logprobs, echo=echo, hidden=hidden, context=context, group=group
                )
            )
        return works

    def alpha_of(self, work: Work) -> float:
        """The strength a request is corrected with; 0 for none."""
        return 0.0 if work.kernel is None else work.kernel.alpha

    def _work(self, body: SharedBody, ids: tuple[int, ...], limit: int, alpha: float, **more: Any) -> Work:
        ends = {self._special[stop] for stop in body.stop if stop in self._special}
        return Work(
            prompt=ids,
            limit=limit,
            rows=body.n or 1,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            seed=secrets.randbits(63) if body.seed is None else body.seed,
            stops=body.stop,
            end_ids=self._end_ids | ends,
            kernel=self._kernel(alpha) if alpha else None,
            logit_bias=body.logit_bias,
            **more,
        )

    def _check_shared(self, body: SharedBody) -> None:
        if body.model != self.name:
            raise ApiError(
                404,
                f"The model '{body.model[:200]}' is not here; this server has '{self.name}'.",
                param="model",
                code="model_not_found",
            )
        if body.stream_options is not None and not body.stream:
            raise ApiError(400, "stream_options: needs stream to be true.", param="stream_options")
        for token, _ in body.logit_bias:
            if token >= self.vocabulary:
                why = f"the model has no token {token}; its ids end at {self.vocabulary - 1}"
                raise ApiError(400, f"logit_bias: {why}.", param="logit_bias")

    def _alpha(self, body: SharedBody, *, usual: bool) -> float:
        """The strength that a request asks for; ``usual`` says whether it is corrected when it does not say."""
        on = usual if body.tsdi is None else body.tsdi
        if self.bias is None:
            if body.tsdi or body.tsdi_alpha is not None:
                param = "tsdi" if body.tsdi else "tsdi_alpha"
                raise ApiError(400, f"{param}: this server was started without a correction (--tsdi).", param=param)
            return 0.0
        if body.tsdi_alpha is not None and not on:
            why = 'the correction is off in this request; send "tsdi": true too'
            raise ApiError(400, f"tsdi_alpha: {why}.", param="tsdi_alpha")
        if not on:
            return 0.0
        return self.config.alpha if body.tsdi_alpha is None else body.tsdi_alpha

    def _make_kernel(self, alpha: float) -> BiasKernel:
        assert self.bias is not None, "asked for with a correction alone"
        return BiasKernel(self.bias, alpha=alpha, length=self.config.length)

    def _limit(self, used: int, asked: int | None, usual: int, *, field: str, what: str) -> int:
        """Most new tokens. Raises ApiError 400 for more than the server gives or the model's context has room for."""
        if asked is not None and asked > self.config.max_tokens_limit:
            raise ApiError(400, f"{field}: this server gives {self.config.max_tokens_limit} at most.", param=field)
        context = self.engine.context
        if context is None:
            return usual if asked is None else asked
        least = 1 if asked is None else asked
        if used + least > context:
            raise ApiError(
                400,
                f"This model takes {context} tokens in all. Yours are {used} in {what} and {least} to be written.",
                param=what,
                code="context_length_exceeded",
            )
        return min(usual, context - used) if asked is None else asked

    def _rendered(self, chat: tuple[Message, ...]) -> Prompt:
        try:
            prompt = self._render(chat)
        except EngineError as error:
            raise ApiError(400, str(error), param="messages") from None
        if prompt.error:
            raise ApiError(400, f"messages: {prompt.error}.", param="messages")
        return prompt

    def _render(self, chat: tuple[Message, ...]) -> Prompt:
        try:
            return self.engine.renderer.prompts([chat])[0]
        finally:
            self.engine.renderer.forget()  # what clients write is not kept

    def _plain_ids(self, text: str) -> list[int]:
        """Tokens of an assistant's message that is to be continued; control tokens in it stay text."""
        return list(self.engine.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _raw(self, prompt: str | tuple[int, ...]) -> tuple[tuple[int, ...], int, str]:
        """Token ids of a raw prompt, how many of them were added (the start token), and its text."""
        if not isinstance(prompt, str):
            if wrong := [token for token in prompt if not 0 <= token < self.vocabulary]:
                raise ApiError(400, f"prompt: the model has no token {wrong[0]}.", param="prompt")
            with self._lock:
                return prompt, 0, self._loop.decode(list(prompt))
        with self._lock:
            ids = list(self.engine.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids)
        bos = self.engine.renderer.bos
        added = [bos] if bos is not None and ids[:1] != [bos] else []
        if not ids and not added:
            raise ApiError(400, "prompt: it is empty, and this model has no start token.", param="prompt")
        return (*added, *ids), len(added), prompt


def _other_weights(bias: TokenBias, engine: LocalEngine) -> list[str]:
    """A warning where a correction was estimated on other weights than are served."""
    aligned, identity = bias.header.aligned, engine.identity()
    if (aligned.get("weights"), aligned.get("adapter", "")) == (identity.weights, identity.adapter):
        return []
    made_for = aligned.get("spec") or "a model without a name"
    return [f"The correction was estimated on other weights ({made_for}) than those of {engine.spec}."]
