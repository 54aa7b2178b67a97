"""The local engine: a transformers model on this machine, decoded by our own loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
from evenhand.engines.bias_kernel import Correction, open_correction
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
from evenhand.engines.local_verbs import LocalScores, LocalTexts
from evenhand.engines.machine import chosen_device, chosen_dtype, context_length, token_budget, torch_with_threads
from evenhand.engines.planning import length_sorted
from evenhand.engines.spec import EngineOptions, Spec, parse_spec
from evenhand.engines.weights import (
    Checkpoint,
    adapter_off,
    find_hf,
    find_organism,
    load_model,
    load_tokenizer,
    may_be_taken_off,
)
from evenhand.errors import BadInput, EngineError
from evenhand.records import LogProb, Response

if TYPE_CHECKING:
    from evenhand.engines.probing import Prober

_MOST_SCORED = {True: 4_096, False: 131_072}
"""Distinct prefix tokens scored at once, on the CPU and elsewhere."""


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

    A bias in the spec (``+tsdi:DIR``) is taken off the logits of an assistant's first tokens, in all three verbs, before
    temperature and top-p; with several turns, off those of the turn that is written. A plain text that is continued or
    scored has no assistant's turn and is left as it is.
    """

    verbs: frozenset[Verb] = frozenset({"generate", "score", "choose"})
    cache_unit: ClassVar[str] = "batch"

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions):
        self.spec = checkpoint.spec.text
        self.checkpoint, self.options = checkpoint, options
        self._model: Any = None
        self._decoder: Any = None
        self._scorer: Any = None
        self.on_observed: Callable[[], None] = lambda: None
        """Called when `observed` has something new."""
        self._parameters = 0
        self.prober: Prober | None = None
        self._stamps = file_stamps(self._files())
        _ = self.renderer  # a model without a chat template is refused here
        _ = self.correction  # and a bias of another tokenizer or template

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
    def correction(self) -> Correction | None:
        """The bias that is taken off the first tokens of every answer, read when the engine is opened; None for none."""
        asked = self.checkpoint.spec.tsdi
        return open_correction(asked, self.tokenizer, self.renderer) if asked is not None else None

    @cached_property
    def device(self) -> str:
        """The device the model runs on."""
        return chosen_device(self.options.device)

    @cached_property
    def dtype(self) -> str:
        """``float32``, ``bfloat16`` or ``float16``: on the CPU float32 unless asked otherwise."""
        return chosen_dtype(self.options.dtype, self.device, self.checkpoint.folder)

    @cached_property
    def context(self) -> int | None:
        """Most tokens of prompt and response together; None where the config names no limit."""
        return context_length(self.checkpoint.folder)

    @cached_property
    def batch_tokens(self) -> int:
        """The token budget of a batch: what was asked for, else what keeps keys and values within 1 GiB (GPU 8 GiB)."""
        if self.options.batch_tokens is not None:
            return self.options.batch_tokens
        return token_budget(self.checkpoint.folder, device=self.device, dtype=self.dtype, name=self.spec)

    @cached_property
    def _identity(self) -> Identity:
        folder, adapter = self.checkpoint.folder, self.checkpoint.adapter
        quantisation = read_config(folder).get("quantization_config")
        return Identity(
            spec=self.spec,
            weights=digest_files(weight_files(folder)),
            tokenizer=digest_files(tokenizer_files(self.checkpoint.tokenizer_folder)),
            chat_template=self.renderer.digest,
            processors=self.correction.label if self.correction else "",
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
            pad_id = pad if pad is not None else min(ends, default=0)
            self._decoder = Decoder(model, ends, pad_id=pad_id, kernel=self._kernel)
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

    @property
    def _kernel(self) -> Any:
        """What corrects the loaded model's logits. Raises BadInput where they have fewer columns than the bias needs."""
        if self.correction is None:
            return None
        head = self.model.get_output_embeddings()
        self.correction.kernel.fits((head or self.model.get_input_embeddings()).weight.shape[0])
        return self.correction.kernel

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
        return self.planned(requests, self._prompts(requests), sampling)

    def planned(self, requests: Sequence[Request], prompts: Sequence[Prompt], sampling: Sampling) -> list[Batch]:
        """`plan` where the prompts of the requests are rendered already."""
        lengths = [len(prompt.ids) for prompt in prompts]
        new_tokens = sampling.max_tokens if self.context is None else min(sampling.max_tokens, self.context)
        return length_sorted(requests, lengths, new_tokens, self.batch_tokens)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Exact prompt tokens from the tokenizer (each response counted with its whole prompt).

        Loads no weights, unless time and memory are to be probed (see `measure_on`).
        """
        prompts = self._prompts(requests)
        tokens = sum(len(prompt.ids) for prompt in prompts)
        cost = Estimate(len(requests), tokens, len(requests) * sampling.max_tokens, exact=True)
        return cost if self.prober is None else self.prober.generation(requests, prompts, sampling, cost)

    def decoding(self, sampling: Sampling) -> tuple[Any, Any]:
        """The decoder for these settings, and what finds their stop strings, None where there are none."""
        from evenhand.engines.reply_text import StopStrings

        decoder = self.decoder
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        stop = StopStrings(self.tokenizer, sampling.stop, vocabulary) if any(sampling.stop) else None
        if stop is not None:
            from dataclasses import replace

            decoder = replace(decoder, end_ids=decoder.end_ids | stop.end_ids)
        return decoder, stop

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Yield each batch with its responses, in the order given. Raises EngineError at once if it cannot serve."""
        decoder, stop = self.decoding(sampling)
        texts = LocalTexts(
            decoder, self.tokenizer, sampling, stop, config, self.context, self.batch_tokens,
            self._prompts, self._inside, lambda: torch_with_threads(self._parameters),
        )  # fmt: skip
        return ((batch, texts.responses(batch.requests)) for batch in batches)

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
        """The model without its bias or adapter, as ``spec`` has it, in the same weights where possible. See `open_bare`."""
        return open_bare(self, spec)

    def _open_scorer(self) -> Any:
        torch_with_threads(self._parameters)
        if self._scorer is None:
            from evenhand.engines.scoring import Scorer

            pad = self.tokenizer.pad_token_id
            with self._inside():
                self._scorer = Scorer(self.model, pad=pad if pad is not None else 0, kernel=self._kernel)
            torch_with_threads(self._parameters)
            self.on_observed()
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


_LOG = logging.getLogger(__name__)


def open_bare(policy: LocalEngine, spec: str) -> LocalEngine:
    """What ``spec`` names, in the weights of ``policy``: its model without the bias, or without the adapter and the bias.

    It gets weights of its own where the adapter changed the base model's, or where ``spec`` is another model altogether.
    Raises BadInput where ``policy`` has neither an adapter nor a bias.
    """
    adapter, policy_spec, wanted = policy.checkpoint.adapter, policy.checkpoint.spec, parse_spec(spec)
    if adapter is None and policy_spec.tsdi is None:
        raise BadInput(f"{policy.spec} has no adapter to take off.")
    base = Checkpoint(wanted, policy.checkpoint.folder, policy.checkpoint.commit)
    if wanted.tsdi is not None or _model(wanted) != _model(policy_spec) or wanted.adapter not in (None, adapter):
        return LocalEngine(find_organism(wanted) if wanted.kind == "organism" else find_hf(wanted), policy.options)
    if wanted.adapter == adapter:
        return BareEngine(policy, base, off=False)
    if adapter is not None and may_be_taken_off(adapter):
        return BareEngine(policy, base)
    _LOG.info("%s cannot be taken off its base model exactly, which is loaded a second time as %s.", adapter, spec)
    return LocalEngine(base, policy.options)


def _model(spec: Spec) -> tuple[str, str, str | None]:
    return spec.kind, spec.name, spec.revision


class BareEngine(LocalEngine):
    """The model of ``policy`` without its bias, whose adapter is off whenever this engine works and on again after.

    With ``off=False`` the adapter, if there is one, stays on. Its identity is that of the same model opened for itself.
    Closing it leaves the policy open.
    """

    def __init__(self, policy: LocalEngine, base: Checkpoint, *, off: bool = True):
        self._policy, self._off = policy, off
        super().__init__(base, policy.options)

    @property
    def model(self) -> Any:
        """The policy's model, loaded once for both."""
        if self._model is None:
            _ = self._identity
            self._model = self._policy.model
            self._parameters = self._policy._parameters
        return self._model

    def _inside(self) -> AbstractContextManager[None]:
        return adapter_off(self.model) if self._off else nullcontext()
