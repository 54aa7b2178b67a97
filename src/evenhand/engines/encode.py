"""Context and text to token ids: joined, tokenised once, cut where a token begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evenhand.engines.base import Span
from evenhand.engines.chat import ChatRenderer
from evenhand.errors import EngineError

IntArray = NDArray[np.int32]
Offsets = list[tuple[int, int]]
STRADDLES = (
    "a token spans the border between context and text; move the border with `fit`, alike for both members of a pair"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A span as token ids, the start token included. Tokens from ``start`` on are scored.

    ``offsets`` say where each scored token lies in context + text, in characters. ``error`` says why it cannot be scored.
    """

    ids: IntArray
    start: int = 0
    offsets: tuple[tuple[int, int], ...] = ()
    error: str = ""


class SpanEncoder:
    """Turns spans into token ids with one tokenizer.

    The beginning-of-sequence token comes first exactly once. A model without one starts from its end-of-sequence token;
    ``starts_with`` tells which. ``limit`` is the most tokens the model takes, None for no limit.
    """

    def __init__(self, tokenizer: Any, renderer: ChatRenderer, *, name: str, limit: int | None):
        if not tokenizer.is_fast:
            raise EngineError(
                f"{name} has a slow tokenizer, which does not tell where its tokens lie: it cannot score."
            )
        self.tokenizer, self.renderer, self.name, self.limit = tokenizer, renderer, name, limit
        self._special = tuple(token for token in tokenizer.all_special_tokens if token)

    @cached_property
    def starts_with(self) -> Literal["bos", "eos", "none"]:
        """What the first token of a plain text is conditioned on."""
        if self.tokenizer.bos_token_id is not None:
            return "bos"
        return "eos" if self.tokenizer.eos_token_id is not None else "none"

    @cached_property
    def _head(self) -> list[int]:
        return {"bos": [self.tokenizer.bos_token_id], "eos": [self.tokenizer.eos_token_id], "none": []}[
            self.starts_with
        ]

    def _tokens(self, texts: Sequence[str]) -> list[tuple[list[int], Offsets] | str]:
        """Ids and offsets of each text, nothing added; or why it has none."""
        wrong = [self._unfit(text) for text in texts]
        fit = [text for text, error in zip(texts, wrong, strict=True) if not error]
        found = (
            self.tokenizer(fit, add_special_tokens=False, return_offsets_mapping=True, verbose=False) if fit else None
        )
        rows = iter(zip(found.input_ids, found.offset_mapping, strict=True) if found is not None else ())
        return [error or next(rows) for error in wrong]

    def _unfit(self, text: str) -> str:
        if text.encode("utf-8", "ignore").decode() != text:
            return "the text holds half of a surrogate pair, which no tokenizer can encode"
        token = next((token for token in self._special if token in text), None)
        return f"the text holds a control token of {self.name}" if token else ""

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        """(first character of the context that is kept, border in characters, whether a token moved it).

        The same for every text, so that the members of a pair keep equal contexts. White space at the end of the context
        belongs to the texts; a token that spans the border takes the border back to its own first character; where the
        longest text exceeds the model's limit, the context loses as many tokens from the left as the longest needs.
        """
        first, border, moved = 0, len(context.rstrip()), False
        while True:
            rows = [
                row for row in self._tokens([(context + text)[first:] for text in texts]) if not isinstance(row, str)
            ]
            while spans := [first + s for _, offsets in rows for s, e in offsets if first + s < border < first + e]:
                border, moved = min(spans), True
            # What is left is tokenised anew, and may have more tokens: some tokenizers mark the beginning of a text.
            further = self._surplus(rows, border - first)
            if not further:
                return first, border, moved
            first += further

    def _surplus(self, rows: Sequence[tuple[list[int], Offsets]], most: int) -> int:
        """How many characters, at most ``most``, the longest row must lose from the left to fit the model's limit."""
        if self.limit is None:
            return 0
        room = self.limit - len(self._head)
        lost = 0
        for ids, offsets in rows:
            if (surplus := len(ids) - room) > 0:
                lost = max(lost, next((s for s, _ in offsets[surplus:] if s > 0), most))
        return min(lost, most)

    def encode(self, spans: Sequence[Span]) -> list[Encoded]:
        """Token ids of each span, in order."""
        plain = [span for span in spans if not span.chat]
        chats = [span for span in spans if span.chat]
        joined = iter(self._tokens([span.context + span.text for span in plain]))
        prompts = iter(self.renderer.prompts([span.chat for span in chats]))
        answers = iter(self._tokens([span.text for span in chats]))
        return [
            self._after_chat(span, next(prompts), next(answers)) if span.chat else self._joined(span, next(joined))
            for span in spans
        ]

    def _joined(self, span: Span, tokens: tuple[list[int], Offsets] | str) -> Encoded:
        if isinstance(tokens, str):
            return Encoded(np.zeros(0, np.int32), error=tokens)
        ids, offsets = tokens
        border = len(span.context)
        if any(s < border < e for s, e in offsets):
            return Encoded(np.zeros(0, np.int32), error=STRADDLES)
        before = next((i for i, (s, _) in enumerate(offsets) if s >= border), len(ids))
        return self._checked(span, [*self._head, *ids], len(self._head) + before, offsets[before:], self._plain_end)

    def _after_chat(self, span: Span, prompt: Any, tokens: tuple[list[int], Offsets] | str) -> Encoded:
        """A text after a chat is tokenised apart, as a response is written: after the template's last token."""
        error = prompt.error or (tokens if isinstance(tokens, str) else "")
        if error or isinstance(tokens, str):
            return Encoded(np.zeros(0, np.int32), error=error)
        ids, offsets = tokens
        return self._checked(span, [*prompt.ids, *ids], len(prompt.ids), offsets, self._chat_end)

    @property
    def _plain_end(self) -> int | None:
        end: int | None = self.tokenizer.eos_token_id
        return end

    @property
    def _chat_end(self) -> int | None:
        return min(self.renderer.end_of_turn_ids(), default=self._plain_end)

    def _checked(self, span: Span, ids: list[int], start: int, offsets: Offsets, end: int | None) -> Encoded:
        error = ""
        if start == len(ids):
            error = "there is no token to score: the text is empty"
        elif start == 0:
            error = (
                f"{self.name} has neither a beginning- nor an end-of-sequence token: a first token has no probability"
            )
        elif span.end and end is None:
            error = f"{self.name} has no token that ends a text"
        if span.end and not error:
            whole = len(span.context + span.text)
            ids, offsets = [*ids, int(end or 0)], [*offsets, (whole, whole)]
        if not error and self.limit is not None and len(ids) > self.limit:
            error = f"context exceeded: {len(ids)} tokens, the model takes {self.limit}"
        return Encoded(np.asarray(ids, dtype=np.int32), start, tuple((a, b) for a, b in offsets), error)
