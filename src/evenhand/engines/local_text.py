"""The local engine's first verb: prompts to responses, whatever fits the context, in as much memory as there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evenhand.engines import ticks
from evenhand.engines.base import Request, Sampling
from evenhand.engines.chat import Prompt
from evenhand.engines.reasoning import split_reasoning
from evenhand.records import Response

if TYPE_CHECKING:
    from evenhand.engines.decode import Decoder


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalTexts:
    """Draws the responses of one run of `LocalEngine.generate`.

    ``prompts`` renders requests, ``inside`` is what every use of the model happens in, ``threads`` gives torch with its
    threads set, ``context`` is the most tokens of prompt and response together. Where the decoder corrects a bias, the
    responses to chats are corrected; a plain text that is continued has no assistant's turn and is left as it is.
    """

    decoder: Decoder
    tokenizer: Any
    sampling: Sampling
    stop: Any
    config: str
    context: int | None
    batch_tokens: int
    prompts: Callable[[Sequence[Request]], list[Prompt]]
    inside: Callable[[], AbstractContextManager[None]]
    threads: Callable[[], Any]

    def responses(self, requests: Sequence[Request]) -> list[Response]:
        """One response a request, in order; a prompt that the model cannot take gets an error response."""
        prompts = self.prompts(requests)
        errors = [self._refusal(prompt) for prompt in prompts]
        good = [index for index, error in enumerate(errors) if not error]
        with ticks.batch(len(requests)):
            done = self._complete([requests[i] for i in good], [prompts[i] for i in good])
        found = dict(zip(good, done, strict=True))
        return [
            found[index] if index in found else self._failed(request, errors[index], prompts[index])
            for index, request in enumerate(requests)
        ]

    def _refusal(self, prompt: Prompt) -> str:
        if prompt.error:
            return prompt.error
        if self.context is not None and len(prompt.ids) >= self.context:
            return f"context exceeded: the prompt has {len(prompt.ids)} tokens, the model takes {self.context}"
        return ""

    def _complete(self, requests: list[Request], prompts: list[Prompt]) -> list[Response]:
        """Responses of rows that fit the context; a batch that does not fit the memory is halved."""
        if not requests:
            return []
        torch = self.threads()
        try:
            with self.inside():
                return self._by_kind(requests, prompts)
        except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if type(error) is RuntimeError and "can't allocate memory" not in str(error):
                raise
            if len(requests) == 1:
                return [self._failed(requests[0], "out of memory: not even this row alone fits", prompts[0])]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(requests) // 2
        _LOG.warning(
            "Out of memory on %s: a batch of %d rows is halved. A smaller --batch-tokens than %d avoids this.",
            next(self.decoder.model.parameters()).device, len(requests), self.batch_tokens,
        )  # fmt: skip
        with ticks.part(0.0, 0.5):
            done = self._complete(requests[:half], prompts[:half])
        with ticks.part(0.5, 1.0):
            return done + self._complete(requests[half:], prompts[half:])

    def _by_kind(self, requests: list[Request], prompts: list[Prompt]) -> list[Response]:
        """The rows under the decoder that is theirs: a correction of the first assistant tokens is for chats alone."""
        if self.decoder.kernel is None:
            return self._decode(self.decoder, requests, prompts)
        found: dict[int, Response] = {}
        for plain in (False, True):
            rows = [index for index, request in enumerate(requests) if request.plain == plain]
            if rows:
                decoder = replace(self.decoder, kernel=None) if plain else self.decoder
                with ticks.part(len(found) / len(requests), (len(found) + len(rows)) / len(requests)):
                    done = self._decode(decoder, [requests[i] for i in rows], [prompts[i] for i in rows])
                found.update(zip(rows, done, strict=True))
        return [found[index] for index in range(len(requests))]

    def _decode(self, decoder: Decoder, requests: list[Request], prompts: list[Prompt]) -> list[Response]:
        from evenhand.engines.sampler import uniforms
        from evenhand.engines.stops import cut_at_stop, decode_text

        sampling, stop = self.sampling, self.stop
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
                responses.append(self._failed(request, completion.error, prompt))
                continue
            text = cut_at_stop(raw, stop.stops_text) if stop is not None else raw
            visible, reasoning = split_reasoning(text, opened=prompt.opens_reasoning)
            responses.append(
                Response(
                    self.config,
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

    def _failed(self, request: Request, reason: str, prompt: Prompt) -> Response:
        tokens = len(prompt.ids) or None
        return Response(
            self.config, request.item_id, request.repetition, "", "error", error=reason, prompt_tokens=tokens
        )
