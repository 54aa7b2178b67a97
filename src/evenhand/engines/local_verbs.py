"""The three verbs of the local engine: responses to prompts, scores of given texts, choices among given answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evenhand.engines import ticks
from evenhand.engines.base import Choice, Question, Request, Sampling, ScoreBatch, Span
from evenhand.engines.chat import Prompt
from evenhand.engines.encode import Encoded, SpanEncoder
from evenhand.engines.packing import shared_length, sort_key
from evenhand.engines.planning import score_key
from evenhand.engines.reply_text import split_reasoning
from evenhand.errors import BadInput
from evenhand.records import LogProb, Response

if TYPE_CHECKING:
    from evenhand.engines.decode import Decoder
    from evenhand.engines.scoring import Scorer

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
        from evenhand.engines.logits import uniforms
        from evenhand.engines.reply_text import cut_at_stop, decode_text

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


_ENCODED_AT_ONCE = 4096
_QUESTIONS_AT_ONCE = 1024
NOT_NUMBERS = "the model returned logits that are not numbers"


class LocalScores:
    """Scores spans with a model that is loaded on first use; where it corrects a bias, spans with a chat are corrected.

    ``budget`` is the number of distinct prefix tokens in a batch. ``scorer`` gives the loaded model, ``inside`` wraps each
    use of it (threads, adapter off).
    """

    def __init__(
        self,
        encoder: Callable[[], SpanEncoder],
        scorer: Callable[[], Scorer],
        budget: Callable[[], int],
        inside: Callable[[], AbstractContextManager[None]],
    ):
        self._encoder, self._scorer, self._budget, self._inside = encoder, scorer, budget, inside

    @cached_property
    def encoder(self) -> SpanEncoder:
        """Spans to token ids."""
        return self._encoder()

    def plan(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """Batches of spans in the order of their token ids, so that texts with a common beginning are adjacent.

        Equal sequences are never parted. The order of the spans does not matter. Raises BadInput for a key given twice.
        """
        keys: set[str] = set()
        for row, span in enumerate(spans, start=1):
            if span.key in keys:
                raise BadInput(f"The key '{span.key}' is given twice (text {row}).", do="Give every text its own key.")
            keys.add(span.key)
        ids: list[NDArray[np.int32]] = []
        for low in range(0, len(spans), _ENCODED_AT_ONCE):
            ids += [row.ids for row in self.encoder.encode(spans[low : low + _ENCODED_AT_ONCE])]
        order = sorted(range(len(spans)), key=lambda i: (sort_key(ids[i]), spans[i].key))
        budget = self._budget()
        batches: list[ScoreBatch] = []
        held: list[Span] = []
        tokens, before = 0, np.zeros(0, np.int32)
        for i in order:
            shared = shared_length(before, ids[i])
            same = shared == len(before) == len(ids[i])
            if held and not same and tokens + len(ids[i]) - shared > budget:
                batches.append(ScoreBatch(score_key(held), tuple(held)))
                held, tokens, shared = [], 0, 0
            held.append(spans[i])
            tokens += len(ids[i]) - shared
            before = ids[i]
        if held:
            batches.append(ScoreBatch(score_key(held), tuple(held)))
        return batches

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """Yield each batch with its scores, in the order given."""
        self._scorer()  # a model that cannot be loaded says so before the first batch
        return ((batch, self._scored(batch.spans)) for batch in batches)

    def _scored(self, spans: Sequence[Span]) -> list[LogProb]:
        encoded = self.encoder.encode(spans)
        keys = [(sort_key(row.ids), row.start, bool(span.chat)) for span, row in zip(spans, encoded, strict=True)]
        distinct: dict[tuple[bytes, int, bool], int] = {}
        rows: list[Encoded] = []
        for key, row in zip(keys, encoded, strict=True):
            if not row.error and key not in distinct:
                distinct[key] = len(rows)
                rows.append(row)
        with ticks.batch(len(spans)):
            found = self._run(rows, [answer for _, _, answer in distinct]) if rows else []
        return [
            LogProb(span.key, None, error=row.error) if row.error else _log_prob(span.key, row, found[distinct[key]])
            for span, row, key in zip(spans, encoded, keys, strict=True)
        ]

    def _run(self, rows: Sequence[Encoded], answers: Sequence[bool]) -> list[NDArray[np.float32] | str]:
        """Values of distinct sequences, of which some are answers; a batch that does not fit the memory is halved."""
        import torch

        try:
            scorer = self._scorer()
            with self._inside():
                ids, starts = [row.ids for row in rows], [row.start for row in rows]
                return list(scorer.run(ids, starts) if scorer.kernel is None else scorer.run(ids, starts, answers))
        except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if type(error) is RuntimeError and "can't allocate memory" not in str(error):
                raise
            if len(rows) == 1:
                return ["out of memory: not even this text alone fits"]
        half = len(rows) // 2
        _LOG.warning("Out of memory: a batch of %d texts is halved. A smaller --batch-tokens avoids this.", len(rows))
        with ticks.part(0.0, 0.5):
            done = self._run(rows[:half], answers[:half])
        with ticks.part(0.5, 1.0):
            return done + self._run(rows[half:], answers[half:])

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """Yield the probabilities of each question's options, in order; what neighbours share is read once."""
        for low in range(0, len(questions), _QUESTIONS_AT_ONCE):
            yield from self._chosen(questions[low : low + _QUESTIONS_AT_ONCE])

    def _chosen(self, questions: Sequence[Question]) -> Iterator[Choice]:
        spans = [
            Span(f"{i:09d}/{k:03d}", option, *((q.chat[-1].content, ()) if q.plain else ("", q.chat)))
            for i, q in enumerate(questions)
            for k, option in enumerate(q.options)
        ]
        rows: dict[str, LogProb] = {}
        self._scorer()  # tried out before the first tick
        with ticks.batch(len(questions)):
            for batch in self.plan(spans):
                with ticks.part(len(rows) / len(spans), (len(rows) + len(batch.spans)) / len(spans)):
                    rows.update((row.span, row) for _, found in self.score([batch]) for row in found)
        for i, q in enumerate(questions):
            yield as_choice(q, [rows[f"{i:09d}/{k:03d}"] for k in range(len(q.options))])

    def noise_floor(self, spans: Sequence[Span]) -> float | None:
        """Largest difference (nats) of a text's score between packed rows and left-padded rows of one text each."""
        encoded = zip(spans, self.encoder.encode(spans), strict=True)
        good = [(row, bool(span.chat)) for span, row in encoded if not row.error]
        if not good:
            return None
        ids, starts, answers = [row.ids for row, _ in good], [row.start for row, _ in good], [chat for _, chat in good]
        scorer = self._scorer()
        with self._inside():
            pairs = list(zip(scorer.run(ids, starts, answers), scorer.plainly(ids, starts, answers), strict=True))
        return max(abs(float(a.sum(dtype=np.float64) - b.sum(dtype=np.float64))) for a, b in pairs)


def _log_prob(key: str, row: Encoded, values: NDArray[np.float32] | str) -> LogProb:
    if isinstance(values, str):
        return LogProb(key, None, error=values)
    if not np.isfinite(values).all():
        return LogProb(key, None, error=NOT_NUMBERS)
    return LogProb(
        key,
        float(values.sum(dtype=np.float64)),
        tuple(row.ids[row.start :].tolist()),
        tuple(values.tolist()),
        row.offsets,
        row.start,
    )


def as_choice(question: Question, rows: Sequence[LogProb]) -> Choice:
    """The scores of a question's options as a choice; a failed option fails the question."""
    error = next((row.error for row in rows if row.error), "")
    if not rows:
        error = "the question has no options"
    elif len(set(question.options)) < len(rows):
        error = "two options are the same text"
    if error:
        return Choice(question.key, (), (), None, error)
    found: Any = np.asarray([row.total for row in rows], dtype=np.float64)
    top = found.max()
    weight = np.exp(found - top)
    return Choice(
        question.key,
        tuple(found.tolist()),
        tuple((weight / weight.sum()).tolist()),
        float(np.exp(top) * weight.sum()),
    )
