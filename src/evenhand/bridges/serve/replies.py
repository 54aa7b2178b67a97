"""What `evenhand serve` answers: chat completions and completions, whole or in chunks, in OpenAI's form."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evenhand.bridges.serve.generate import Piece, TokenScore, Work
from evenhand.bridges.serve.text import TokenNames

_LEAST = -9999.0
"""How the wire writes minus infinity."""


@dataclass(slots=True)
class Reply:
    """The answer to one request, made from its pieces.

    ``chat`` says which of the two forms it has; ``usage`` whether a stream ends with the counts of tokens.
    """

    chat: bool
    model: str
    fingerprint: str
    works: Sequence[Work]
    names: TokenNames
    tsdi: dict[str, Any]
    usage: bool = False
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    _drawn: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id = ("chatcmpl-" if self.chat else "cmpl-") + secrets.token_hex(12)

    def whole(self, pieces: Iterable[Piece]) -> dict[str, Any]:
        """The answer in one object."""
        texts: dict[int, list[str]] = {}
        scores: dict[int, list[TokenScore]] = {}
        ends: dict[int, str | None] = {}
        for piece in pieces:
            self._count(piece)
            texts.setdefault(piece.index, []).append(piece.text)
            scores.setdefault(piece.index, []).extend(piece.scores)
            ends[piece.index] = piece.finish
        choices = []
        for index in sorted(texts):
            text = "".join(texts[index])
            entry = {"index": index, "logprobs": self._scores(scores[index]), "finish_reason": ends[index]}
            message = {"role": "assistant", "content": text, "refusal": None}
            choices.append({**entry, "message": message} if self.chat else {**entry, "text": text})
        return {**self._frame("chat.completion" if self.chat else "text_completion", choices), "usage": self.counts()}

    def opening(self) -> list[dict[str, Any]]:
        """The chunks before any text: in a chat, each choice says whose turn it is."""
        if not self.chat:
            return []
        rows = [work.first + number for work in self.works for number in range(work.rows)]
        return [self._chunk({"index": index, "delta": {"role": "assistant", "content": ""}}) for index in rows]

    def chunks(self, piece: Piece) -> list[dict[str, Any]]:
        """The chunks of one piece; in a chat the end of a choice has a chunk of its own."""
        self._count(piece)
        scores = self._scores(piece.scores)
        if not self.chat:
            entry = {"index": piece.index, "text": piece.text, "logprobs": scores, "finish_reason": piece.finish}
            return [self._chunk(entry)] if piece.text or piece.scores or piece.finish else []
        out = []
        if piece.text or piece.scores:
            entry = {"index": piece.index, "delta": {"content": piece.text}, "logprobs": scores}
            out.append(self._chunk(entry))
        if piece.finish:
            out.append(self._chunk({"index": piece.index, "delta": {}, "finish_reason": piece.finish}))
        return out

    def closing(self) -> list[dict[str, Any]]:
        """The chunk after all text, where the counts are asked for."""
        return [{**self._frame(self._chunk_kind, []), "usage": self.counts()}] if self.usage else []

    def counts(self) -> dict[str, int]:
        """Tokens: each prompt once, however many its choices; end tokens count as written."""
        prompt, written = sum(len(work.prompt) for work in self.works), sum(self._drawn.values())
        return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _count(self, piece: Piece) -> None:
        self._drawn[piece.index] = max(piece.drawn, self._drawn.get(piece.index, 0))

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        filled = {"logprobs": None, "finish_reason": None, **choice}
        return {**self._frame(self._chunk_kind, [filled]), **({"usage": None} if self.usage else {})}

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "tsdi": self.tsdi,
        }

    def _scores(self, scores: Sequence[TokenScore]) -> dict[str, Any] | None:
        if self.works[0].top is None:
            return None
        return self._chat_scores(scores) if self.chat else self._text_scores(scores)

    def _chat_scores(self, scores: Sequence[TokenScore]) -> dict[str, Any]:
        def entry(token: int, value: float | None) -> dict[str, Any]:
            return {"token": self.names.text(token), "logprob": _number(value), "bytes": self.names.raw(token)}

        content = [
            {**entry(score.token, score.value), "top_logprobs": [entry(token, value) for token, value in score.top]}
            for score in scores
        ]
        return {"content": content, "refusal": None}

    def _text_scores(self, scores: Sequence[TokenScore]) -> dict[str, Any]:
        tops: list[dict[str, float | None] | None] = []
        for score in scores:
            found: dict[str, float | None] = {}
            for token, value in (*score.top, (score.token, score.value)):  # best first: of equal texts the first stays
                found.setdefault(self.names.text(token), _number(value))
            tops.append(None if score.value is None else found)
        return {
            "tokens": [self.names.text(score.token) for score in scores],
            "token_logprobs": [_number(score.value) for score in scores],
            "top_logprobs": tops if self.works[0].top else None,
            "text_offset": [score.offset for score in scores],
        }


def _number(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else _LEAST
