"""The local engine's other two verbs: scores of given texts, and choices among given answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evenhand.engines import ticks
from evenhand.engines.base import Choice, Question, ScoreBatch, Span
from evenhand.engines.encode import Encoded, SpanEncoder
from evenhand.engines.packing import shared_length, sort_key
from evenhand.engines.planning import score_key
from evenhand.errors import BadInput
from evenhand.records import LogProb

if TYPE_CHECKING:
    from evenhand.engines.scoring import Scorer


_LOG = logging.getLogger(__name__)
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
        """Batches of spans in the order of their token ids, so that what shares a beginning stands together.

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
