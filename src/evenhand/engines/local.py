"""The local engine: a transformers model on this machine, decoded by our own loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from evenhand.engines.base import (
    Batch,
    Choice,
    Estimate,
    Identity,
    Question,
    Request,
    Sampling,
    ScoreBatch,
    Span,
    Verb,
)
from evenhand.engines.chat import ChatRenderer, Prompt
from evenhand.engines.encode import SpanEncoder
from evenhand.engines.identity import (
    adapter_files,
    digest_files,
    engine_version,
    file_stamps,
    read_config,
    tokenizer_files,
    weight_files,
)
from evenhand.engines.local_scores import LocalScores
from evenhand.engines.planning import length_sorted
from evenhand.engines.reasoning import split_reasoning
from evenhand.engines.spec import EngineOptions, Spec
from evenhand.engines.threads import torch_with_threads
from evenhand.engines.weights import Checkpoint, find_hf, find_organism, load_model, load_tokenizer
from evenhand.errors import BadInput, EngineError
from evenhand.records import LogProb, Response

__all__ = ["LocalEngine", "open_hf", "open_organism"]

_LOG = logging.getLogger(__name__)
_CACHE_BYTES = {"cpu": 1 << 30, "other": 8 << 30}
_MOST_SCORED = {True: 4_096, False: 131_072}
"""Distinct prefix tokens scored at once, on the CPU and elsewhere."""
_FEWEST_TOKENS, _MOST_TOKENS = 2048, {"cpu": 65_536, "other": 524_288}


def open_organism(spec: Spec, options: EngineOptions) -> LocalEngine:
    """An organism shipped with Evenhand."""
    return LocalEngine(find_organism(spec), options)


def open_hf(spec: Spec, options: EngineOptions) -> LocalEngine:
    """A model folder or hub id, with an adapter if the spec names one."""
    return LocalEngine(find_hf(spec), options)


class LocalEngine:
    """A causal language model of transformers on this machine.

    Greedy text does not depend on the batches; sampled text depends on (seed, item id, repetition) alone, but for
    draws that fall within rounding (about 1e-6) of the border between two tokens.
    """

    verbs: frozenset[Verb] = frozenset({"generate", "score", "choose"})
    cache_unit: ClassVar[str] = "batch"

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions):
        self.spec = checkpoint.spec.text
        self.checkpoint, self.options = checkpoint, options
        self._model: Any = None
        self._decoder: Any = None
        self._scorer: Any = None
        self._parameters = 0
        self._stamps = file_stamps(self._files())
        _ = self.renderer  # a model without a chat template is refused here

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        torch_with_threads()
        return load_tokenizer(self.checkpoint)

    @cached_property
    def renderer(self) -> ChatRenderer:
        """Chats to token ids."""
        return ChatRenderer(self.tokenizer, name=self.spec, plain=self.options.plain)

    @cached_property
    def device(self) -> str:
        """The device the model runs on."""
        torch = torch_with_threads()
        asked = self.options.device
        if asked == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            kind = torch.device(asked).type
        except RuntimeError as error:
            raise BadInput(f"There is no device '{asked}'.", do="Use auto, cpu, cuda, cuda:1 or mps.") from error
        if (kind == "cuda" and not torch.cuda.is_available()) or (
            kind == "mps" and not torch.backends.mps.is_available()
        ):
            raise EngineError(f"This machine has no {kind} device that torch can use. Use --device cpu.")
        return asked

    @cached_property
    def dtype(self) -> str:
        """``float32``, ``bfloat16`` or ``float16``: on the CPU float32 unless asked otherwise."""
        if self.options.dtype != "auto":
            return self.options.dtype
        if self.device == "cpu":
            return "float32"
        config = read_config(self.checkpoint.folder)
        return str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")

    @cached_property
    def context(self) -> int | None:
        """Most tokens of prompt and response together; None where the config names no limit."""
        config = read_config(self.checkpoint.folder)
        text = {**config, **config.get("text_config", {})}
        found = next((text[k] for k in ("max_position_embeddings", "n_positions", "max_seq_len") if text.get(k)), None)
        return int(found) if found else None

    @cached_property
    def batch_tokens(self) -> int:
        """The token budget of a batch: what was asked for, else what keeps keys and values within 1 GiB (GPU 8 GiB)."""
        if self.options.batch_tokens is not None:
            return self.options.batch_tokens
        from transformers import AutoConfig

        from evenhand.engines.kv import kv_bytes_per_token

        place = "cpu" if self.device == "cpu" else "other"
        try:
            config = AutoConfig.from_pretrained(
                str(self.checkpoint.folder), trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # an unknown architecture raises several kinds
            raise EngineError(f"{self.spec}: the config cannot be read: {error}") from error
        each = kv_bytes_per_token(config, 4 if self.dtype == "float32" else 2)
        return max(_FEWEST_TOKENS, min(_MOST_TOKENS[place], _CACHE_BYTES[place] // each))

    @cached_property
    def _identity(self) -> Identity:
        folder, adapter = self.checkpoint.folder, self.checkpoint.adapter
        quantisation = read_config(folder).get("quantization_config")
        return Identity(
            spec=self.spec,
            weights=digest_files(weight_files(folder)),
            tokenizer=digest_files(tokenizer_files(self.checkpoint.tokenizer_folder)),
            chat_template=self.renderer.digest,
            adapter=digest_files(adapter_files(adapter)) if adapter else "",
            dtype=self.dtype,
            quantisation=str(sorted(quantisation.items())) if isinstance(quantisation, dict) else "",
            engine=engine_version("local", ("torch", "transformers", "tokenizers", *(("peft",) if adapter else ()))),
            extra={
                "device": self.device.partition(":")[0],
                **({"commit": self.checkpoint.commit} if self.checkpoint.commit else {}),
            },
        )

    def identity(self) -> Identity:
        """The model's identity: digests of the files as they were when it was opened.

        Raises EngineError if they changed since.
        """
        identity = self._identity
        if self._model is None:
            self._check_unchanged()
        return identity

    def _files(self) -> list[Path]:
        checkpoint = self.checkpoint
        adapter = adapter_files(checkpoint.adapter) if checkpoint.adapter else []
        return [*weight_files(checkpoint.folder), *adapter, *tokenizer_files(checkpoint.tokenizer_folder)]

    def _check_unchanged(self) -> None:
        if file_stamps(self._files()) != self._stamps:
            raise EngineError(
                f"The files of {self.spec} changed since it was opened. Start again when they are complete."
            )

    @property
    def decoder(self) -> Any:
        """The loaded model behind our decode loop.

        Raises EngineError where the model cannot be served, or where its files changed since its identity was taken.
        """
        if self._decoder is None:
            from evenhand.engines.decode import Decoder

            model = self.model
            pad = self.tokenizer.pad_token_id
            ends = self._end_ids()
            self._decoder = Decoder(model, ends, pad_id=pad if pad is not None else min(ends, default=0))
        return self._decoder

    @property
    def model(self) -> Any:
        """The loaded model. Raises EngineError where its files changed since its identity was taken."""
        if self._model is None:
            _ = self._identity
            self._model = load_model(self.checkpoint, device=self.device, dtype=self.dtype)
            self._check_unchanged()
            self._parameters = sum(weight.numel() for weight in self._model.parameters())
        return self._model

    def _end_ids(self) -> frozenset[int]:
        """Every token that ends a response: generation config, config, tokenizer and the template's end of turn."""
        ids: set[int] = set(self.renderer.end_of_turn_ids())
        for source in (self._model.generation_config, self._model.config, self.tokenizer):
            found = getattr(source, "eos_token_id", None)
            ids.update(found if isinstance(found, list | tuple) else [found] if found is not None else [])
        return frozenset(int(token) for token in ids)

    def _prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """Chats under the template, plain texts as they stand, in order."""
        plain = iter(self.renderer.plain_prompts([r.chat[-1].content for r in requests if r.plain]))
        chats = iter(self.renderer.prompts([r.chat for r in requests if not r.plain]))
        return [next(plain) if request.plain else next(chats) for request in requests]

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Batches of like prompt length; all repetitions of an item share a batch. See `planning.length_sorted`."""
        prompts = self._prompts(requests)
        lengths = [len(prompt.ids) for prompt in prompts]
        new_tokens = sampling.max_tokens if self.context is None else min(sampling.max_tokens, self.context)
        return length_sorted(requests, lengths, new_tokens, self.batch_tokens)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Exact prompt tokens from the tokenizer (each response counted with its whole prompt); loads no weights."""
        prompts = self._prompts(requests)
        tokens = sum(len(prompt.ids) for prompt in prompts)
        return Estimate(len(requests), tokens, len(requests) * sampling.max_tokens, exact=True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Yield each batch with its responses, in the order given. Raises EngineError at once if it cannot serve."""
        from evenhand.engines.stops import StopStrings

        decoder = self.decoder
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        stop = StopStrings(self.tokenizer, sampling.stop, vocabulary) if any(sampling.stop) else None
        if stop is not None:
            from dataclasses import replace

            decoder = replace(decoder, end_ids=decoder.end_ids | stop.end_ids)
        return ((batch, self._responses(decoder, batch.requests, sampling, stop, config)) for batch in batches)

    def _responses(
        self, decoder: Any, requests: Sequence[Request], sampling: Sampling, stop: Any, config: str
    ) -> list[Response]:
        prompts = self._prompts(requests)
        errors = [self._refusal(prompt) for prompt in prompts]
        good = [index for index, error in enumerate(errors) if not error]
        done = self._complete(decoder, [requests[i] for i in good], [prompts[i] for i in good], sampling, stop, config)
        found = dict(zip(good, done, strict=True))
        return [
            found[index] if index in found else _failed(request, config, errors[index], prompts[index])
            for index, request in enumerate(requests)
        ]

    def _refusal(self, prompt: Prompt) -> str:
        if prompt.error:
            return prompt.error
        if self.context is not None and len(prompt.ids) >= self.context:
            return f"context exceeded: the prompt has {len(prompt.ids)} tokens, the model takes {self.context}"
        return ""

    def _complete(
        self, decoder: Any, requests: list[Request], prompts: list[Prompt], sampling: Sampling, stop: Any, config: str
    ) -> list[Response]:
        """Responses of rows that fit the context; a batch that does not fit the memory is halved."""
        if not requests:
            return []
        torch = torch_with_threads(self._parameters)
        try:
            with self._inside():
                return self._decode(decoder, requests, prompts, sampling, stop, config)
        except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if type(error) is RuntimeError and "can't allocate memory" not in str(error):
                raise
            if len(requests) == 1:
                return [_failed(requests[0], config, "out of memory: not even this row alone fits", prompts[0])]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(requests) // 2
        _LOG.warning(
            "Out of memory on %s: a batch of %d rows is halved. A smaller --batch-tokens than %d avoids this.",
            self.device, len(requests), self.batch_tokens,
        )  # fmt: skip
        first = self._complete(decoder, requests[:half], prompts[:half], sampling, stop, config)
        return first + self._complete(decoder, requests[half:], prompts[half:], sampling, stop, config)

    def _decode(
        self, decoder: Any, requests: list[Request], prompts: list[Prompt], sampling: Sampling, stop: Any, config: str
    ) -> list[Response]:
        from evenhand.engines.sampler import uniforms
        from evenhand.engines.stops import cut_at_stop, decode_text

        order = {ids: index for index, ids in enumerate(dict.fromkeys(prompt.ids for prompt in prompts))}
        room = [sampling.max_tokens if self.context is None else self.context - len(p.ids) for p in prompts]
        limits = [min(sampling.max_tokens, free) for free in room]
        rows = [(request.item_id, request.repetition) for request in requests]
        uniform = uniforms(sampling.seed, rows, max(limits)) if sampling.temperature > 0 else None
        done = decoder.run(list(order), [order[p.ids] for p in prompts], limits, sampling, uniform, stop)
        texts = decode_text(self.tokenizer, [completion.tokens for completion in done])
        responses = []
        for request, prompt, completion, raw in zip(requests, prompts, done, texts, strict=True):
            if completion.finish == "error":
                responses.append(_failed(request, config, completion.error, prompt))
                continue
            text = cut_at_stop(raw, stop.stops_text) if stop is not None else raw
            visible, reasoning = split_reasoning(text, opened=prompt.opens_reasoning)
            responses.append(
                Response(
                    config,
                    request.item_id,
                    request.repetition,
                    visible,
                    completion.finish,
                    reasoning,
                    prompt_tokens=len(prompt.ids),
                    completion_tokens=completion.drawn,
                )
            )
        return responses

    @cached_property
    def _scores(self) -> LocalScores:
        return LocalScores(
            lambda: SpanEncoder(self.tokenizer, self.renderer, name=self.spec, limit=self.context),
            self._open_scorer,
            lambda: min(self.batch_tokens, _MOST_SCORED[self.device == "cpu"]),
            self._inside,
        )

    def _inside(self) -> AbstractContextManager[None]:
        """What every use of the model happens in."""
        return nullcontext()

    def without_adapter(self, spec: str) -> LocalEngine:
        """The base model under its own ``spec``, in the same weights where these give it exactly. See `open_bare`."""
        from evenhand.engines.bare import open_bare

        return open_bare(self, spec)

    def _open_scorer(self) -> Any:
        torch_with_threads(self._parameters)
        if self._scorer is None:
            from evenhand.engines.scoring import Scorer

            pad = self.tokenizer.pad_token_id
            with self._inside():
                self._scorer = Scorer(self.model, pad=pad if pad is not None else 0)
            torch_with_threads(self._parameters)
        return self._scorer

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """Batches of spans that share their beginnings. See `LocalScores.plan`."""
        return self._scores.plan(spans)

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """Yield each batch with its scores, in the order given."""
        return self._scores.score(batches)

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """Yield the probabilities of each question's options, in order."""
        return self._scores.choose(questions)

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        """Where context ends and text begins, alike for all texts. See `SpanEncoder.fit`."""
        return self._scores.encoder.fit(context, texts)

    def noise_floor(self, spans: Sequence[Span]) -> float | None:
        """Largest difference (nats) of a score by another path through the model. See `LocalScores.noise_floor`."""
        return self._scores.noise_floor(spans)

    def observed(self) -> dict[str, Any]:
        """How texts were packed for scoring, and what a plain text's first token is conditioned on."""
        if self._scorer is None:
            return {}
        found = {"packing": self._scorer.packing, "start": self._scores.encoder.starts_with}
        return {**found, "why_rows": self._scorer.why_rows} if self._scorer.why_rows else found

    def close(self) -> None:
        """Forget the model and free its memory."""
        if self._model is not None:
            self._model = self._decoder = self._scorer = None
            torch = torch_with_threads()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _failed(request: Request, config: str, reason: str, prompt: Prompt) -> Response:
    return Response(
        config, request.item_id, request.repetition, "", "error", error=reason, prompt_tokens=len(prompt.ids) or None
    )
