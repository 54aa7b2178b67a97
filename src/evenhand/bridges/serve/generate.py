"""The step loop of `evenhand serve`: one prompt, its choices side by side, a token each a step, until told to stop.

A request is never computed together with another, so its answer does not depend on what else the server does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from evenhand.bridges.serve.text import TextStream
from evenhand.engines.base import Sampling
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.kv import SlotCache, cache_argument, cache_layout
from evenhand.engines.logits import draw, stream
from evenhand.errors import EngineError

_PREFILL, _PREFILL_SCORED = 1024, 256
"""Tokens of a prompt that are read at a time; fewer where every position's logits are needed."""
_FIRST_ROOM = 32


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token with its log-probability in nats (after the correction and ``logit_bias``, before temperature and top-p).

    ``top`` holds the most probable tokens there, best first. ``offset`` is its first character in the text. ``value`` is
    None for a prompt's first token, which nothing precedes.
    """

    token: int
    value: float | None
    top: tuple[tuple[int, float], ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of one choice: its text, the scores of its tokens, and at the end why it ended.

    ``drawn`` counts the tokens drawn so far, the end token among them.
    """

    index: int
    text: str
    scores: tuple[TokenScore, ...] = ()
    finish: Literal["stop", "length"] | None = None
    drawn: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be generated from one prompt.

    ``limit`` is the most tokens of each choice. ``position`` is the TSDI position of the first new token (k + 1 after a
    prefill of k tokens). ``context`` is how many tokens at the prompt's end the answer continues as text. ``echo`` is the
    prompt's text where it is to be given back, ``hidden`` the prompt tokens that are no part of it (an added start token).
    ``top`` is None without log-probabilities. ``group`` is the prompt's number in its request: it numbers the choices and keys
    their random streams.
    """

    prompt: tuple[int, ...]
    limit: int
    rows: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    stops: tuple[str, ...] = ()
    end_ids: frozenset[int] = frozenset()
    kernel: BiasKernel | None = None
    position: int = 1
    logit_bias: tuple[tuple[int, float], ...] = ()
    top: int | None = None
    echo: str | None = None
    hidden: int = 0
    context: int = 0
    group: int = 0

    @property
    def first(self) -> int:
        """Index of the first choice in the reply."""
        return self.group * self.rows


@dataclass(slots=True)
class _Row:
    """One choice as it grows."""

    index: int
    text: TextStream
    random: np.random.Generator | None
    start: int
    """Characters of the echoed prompt before it."""
    scores: list[TokenScore] = field(default_factory=list)
    drawn: int = 0

    def take(self, token: int, score: TokenScore | None, work: Work) -> Piece | None:
        """Add the drawn token; a Piece where there is something to tell."""
        self.drawn += 1
        if token in work.end_ids:
            return self._piece(self.text.finish(), "stop")
        if score is not None:
            self.scores.append(score)
        out = self.text.add(token)
        if self.text.stopped:
            return self._piece(out, "stop")
        if self.drawn >= work.limit:
            out += self.text.finish()
            return self._piece(out, "stop" if self.text.stopped else "length")
        return self._piece(out, None) if out else None

    def _piece(self, out: str, finish: Literal["stop", "length"] | None) -> Piece:
        upto = self.start + self.text.sent
        whole = finish is not None and not self.text.stopped
        shown = [score for score in self.scores if whole or score.offset < upto]
        del self.scores[: len(shown)]
        return Piece(self.index, out, tuple(shown), finish, self.drawn)


class StepLoop:
    """Generates from one causal model of transformers. Raises EngineError for a model whose cache cannot be forked."""

    def __init__(self, model: Any, tokenizer: Any):
        self._model, self._tokenizer = model, tokenizer
        self._layout = cache_layout(model)
        self._keywords = frozenset(inspect.signature(model.forward).parameters)
        self._cache_argument = cache_argument(model)
        self._device = next(model.parameters()).device

    def decode(self, tokens: list[int]) -> str:
        """Visible text of token ids."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, work: Work) -> Iterator[Piece | None]:
        """The answer to one prompt, part by part; None after a step that has nothing to tell yet.

        To be run within ``torch.inference_mode``. Raises EngineError where the model's logits are not numbers.
        """
        size = len(work.prompt)
        cache = SlotCache(
            self._layout, slots=work.rows, capacity=size + min(work.limit, _FIRST_ROOM), kept=[{} for _ in self._layout]
        )
        rows = [self._row(work, number) for number in range(work.rows)]
        scored = work.echo is not None and work.top is not None
        chunk = _PREFILL_SCORED if scored else _PREFILL
        prompt_scores: list[TokenScore] = []
        namer = self._offsets(work) if scored else None
        if namer is not None and not work.hidden:
            prompt_scores.append(TokenScore(work.prompt[0], None, (), namer(work.prompt[0])))
        logits = None
        for low in range(0, size, chunk):
            part = work.prompt[low : low + chunk]
            cache.see(0, 1, low)
            logits = self._forward(cache, [list(part)], low, every=scored)
            if namer is not None:
                _check_numbers(logits[0], "the prompt")
                following = work.prompt[low + 1 : low + 1 + len(part)]
                prompt_scores += self._score(
                    logits[0, : len(following)], following, work, [namer(t) for t in following]
                )
            yield None
        assert logits is not None, "a prompt holds a token"
        if work.echo is not None:
            yield from (Piece(row.index, work.echo, tuple(prompt_scores)) for row in rows)
        if work.limit == 0:
            yield from (Piece(row.index, "", (), "length") for row in rows)
            return
        cache.see(0, work.rows, size)
        if work.rows > 1:
            targets = torch.arange(1, work.rows, device=self._device)
            cache.move(targets, torch.zeros_like(targets))
        yield from self._steps(work, cache, rows, logits[:, -1].expand(work.rows, -1))

    def _steps(self, work: Work, cache: SlotCache, rows: list[_Row], logits: Any) -> Iterator[Piece | None]:
        """Draw, tell, and go on with the rows that are open; row r lies in slot r of the cache."""
        sampling = Sampling(temperature=work.temperature, top_p=work.top_p)
        step = 0
        while True:
            logits = self._corrected(work, logits, step)
            # The largest logit becomes 0: no temperature, however small, then makes one infinite.
            centred = logits.double() - logits.amax(dim=-1, keepdim=True)
            uniform = None if work.temperature == 0 else np.asarray([_uniform(row) for row in rows])
            tokens = draw(centred, np.arange(len(rows)), uniform, sampling).tolist()
            scores: Sequence[TokenScore | None] = [None] * len(rows)
            if work.top is not None:
                scores = self._score(logits, tokens, work, [row.start + row.text.seen for row in rows])
            closed: set[int] = set()
            for slot, (row, token, score) in enumerate(zip(rows, tokens, scores, strict=True)):
                piece = row.take(token, score, work)
                if piece is not None:
                    yield piece
                    if piece.finish is not None:
                        closed.add(slot)
            length = len(work.prompt) + step
            cache.see(0, len(rows), length)
            rows, tokens = self._compact(cache, rows, tokens, closed)
            if not rows:
                return
            yield None
            cache.see(0, len(rows), length)
            cache.reserve(length + 1, len(work.prompt) + work.limit)
            logits = self._forward(cache, [[token] for token in tokens], length)[:, -1]
            step += 1

    def _compact(
        self, cache: SlotCache, rows: list[_Row], tokens: list[int], closed: set[int]
    ) -> tuple[list[_Row], list[int]]:
        """Move the last open rows into the slots of closed ones, so that the open rows are the first slots."""
        order = [slot for slot in range(len(rows)) if slot not in closed]
        count = len(order)
        free = [slot for slot in range(count) if slot in closed]
        movers = [slot for slot in order if slot >= count]
        if movers:
            cache.move(torch.tensor(free, device=self._device), torch.tensor(movers, device=self._device))
        placed = dict(zip(free, movers, strict=True))
        final = [placed.get(slot, slot) for slot in range(count)]
        return [rows[slot] for slot in final], [tokens[slot] for slot in final]

    def _row(self, work: Work, number: int) -> _Row:
        context = work.prompt[len(work.prompt) - work.context :]
        random = None if work.temperature == 0 else stream(work.seed, str(work.group), number)
        text = TextStream(self.decode, work.stops, context)
        return _Row(work.first + number, text, random, len(work.echo or ""))

    def _offsets(self, work: Work) -> Callable[[int], int]:
        """A function that gives each prompt token's first character, called with one token after the other."""
        shown = TextStream(
            lambda tokens: str(
                self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            )
        )

        def offset(token: int) -> int:
            at = min(shown.seen, len(work.echo or ""))
            shown.add(token)
            return at

        return offset

    def _forward(self, cache: SlotCache, tokens: list[list[int]], start: int, *, every: bool = False) -> Any:
        """Logits, float32 or wider, shape ``[rows, positions, vocabulary]``; of the last position alone unless ``every``."""
        ids = torch.tensor(tokens, device=self._device)
        given: dict[str, Any] = {"input_ids": ids, self._cache_argument: cache, "use_cache": True}
        if "position_ids" in self._keywords:
            positions = torch.arange(start, start + ids.shape[1], device=self._device)
            given["position_ids"] = positions.expand(ids.shape[0], -1)
        if "logits_to_keep" in self._keywords and not every:
            given["logits_to_keep"] = 1
        logits = self._model(**given).logits
        return (logits if every else logits[:, -1:]).float()

    def _corrected(self, work: Work, logits: Any, step: int) -> Any:
        """Logits after the correction and ``logit_bias``, shape ``[rows, vocabulary]``."""
        _check_numbers(logits, f"token {step + 1}")
        if work.kernel is not None:
            logits = work.kernel.apply(logits, work.position + step)
        if work.logit_bias:
            ids, values = zip(*work.logit_bias, strict=True)
            extra = torch.zeros(logits.shape[-1], dtype=logits.dtype, device=logits.device)
            extra.index_add_(
                0,
                torch.tensor(ids, device=logits.device),
                torch.tensor(values, dtype=logits.dtype, device=logits.device),
            )
            logits = logits + extra
        return logits

    def _score(self, logits: Any, tokens: Sequence[int], work: Work, offsets: Sequence[int]) -> list[TokenScore]:
        """Scores of ``tokens`` under ``logits``, shape ``[tokens, vocabulary]``."""
        if not tokens:
            return []
        values = torch.log_softmax(logits, dim=-1)
        drawn = values.gather(1, torch.tensor(tokens, device=values.device)[:, None])[:, 0].tolist()
        best = torch.topk(values, min(work.top or 0, values.shape[-1]), dim=-1)
        tops = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            TokenScore(token, value, tuple(zip(ids, numbers, strict=True)), offset)
            for token, value, (ids, numbers), offset in zip(tokens, drawn, tops, offsets, strict=True)
        ]


def _uniform(row: _Row) -> float:
    assert row.random is not None, "a greedy row draws nothing"
    return float(row.random.random())


def _check_numbers(logits: Any, where: str) -> None:
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise EngineError(f"The model returned logits that are not numbers at {where}.")
