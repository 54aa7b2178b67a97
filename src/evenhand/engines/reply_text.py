"""What of a generated text is visible: stop strings cut it off, reasoning blocks are taken out and kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode_text(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """The visible text of each row of token ids: special tokens dropped, nothing cleaned up."""
    distinct = {tuple(row): "" for row in rows}
    texts = tokenizer.batch_decode(
        [list(row) for row in distinct], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    distinct = dict(zip(distinct, texts, strict=True))
    return [distinct[tuple(row)] for row in rows]


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string; all of it where there is none."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


class StopStrings:
    """Stop strings of one sampling setting, for one tokenizer.

    Decoding every row at every step would cost more than the model. A stop string can only be completed by a token
    whose own text holds it or begins with an end of it, so a table over the vocabulary says which tokens call for a
    look at the row's text. Tokens that are no whole text on their own (part of a character, a dropped space) always do.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], vocabulary: int):
        self.tokenizer = tokenizer
        self.stops_text = tuple(stop for stop in stops if stop)
        special = set(tokenizer.all_special_tokens)
        self.end_ids = frozenset(
            int(tokenizer.convert_tokens_to_ids(stop)) for stop in self.stops_text if stop in special
        )
        self._may_complete = self._table(max(vocabulary, len(tokenizer)))

    def _table(self, size: int) -> NDArray[np.bool_]:
        table = np.zeros(size, dtype=np.bool_)
        ids = [[token] for token in range(len(self.tokenizer))]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        ends = tuple({stop[-length:] for stop in self.stops_text for length in range(1, len(stop) + 1)})
        for token, text in enumerate(texts):
            bare = text.lstrip()
            table[token] = (
                not bare
                or "\N{REPLACEMENT CHARACTER}" in text
                or text.startswith(ends)
                or f" {bare}".startswith(ends)
                or bare.startswith(ends)
                or any(stop in text or stop in f" {bare}" for stop in self.stops_text)
            )
        return table

    def candidates(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these newest tokens could complete a stop string."""
        return self._may_complete[tokens]

    def stops(self, tokens: Sequence[int]) -> bool:
        """Whether the text of these tokens holds a stop string."""
        text = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(stop in text for stop in self.stops_text)


_TAGS = ("think", "thinking", "reasoning")
_OPEN = re.compile(r"<(" + "|".join(_TAGS) + r")>", re.IGNORECASE)
_BLOCK = re.compile(r"<(?P<tag>" + "|".join(_TAGS) + r")>(?P<inside>.*?)</(?P=tag)>\s*", re.IGNORECASE | re.DOTALL)
_CLOSE = re.compile(r"</(?:" + "|".join(_TAGS) + r")>\s*", re.IGNORECASE)


def ends_inside_reasoning(prompt: str) -> bool:
    """Whether a rendered prompt has already opened a reasoning block, as the templates of some models do."""
    opened = list(_OPEN.finditer(prompt))
    return bool(opened) and not prompt[opened[-1].end() :].strip()


def split_reasoning(text: str, *, opened: bool = False) -> tuple[str, str]:
    """Split a response into what is visible and the reasoning before or within it.

    Handles closed blocks, a block that the prompt opened (``opened``), a close tag without its open tag, and a block
    that the token budget cut off. Text without any block is returned as it is, to the byte.

    Returns (visible text, reasoning); several blocks are joined by a blank line.
    """
    if opened and not _CLOSE.search(text):
        return "", text.strip()
    kept: list[str] = []
    first_close, first_open = _CLOSE.search(text), _OPEN.search(text)
    if first_close and (opened or first_open is None or first_close.start() < first_open.start()):
        kept.append(text[: first_close.start()].strip())
        text = text[first_close.end() :]
    if _OPEN.search(text):
        kept.extend(match["inside"].strip() for match in _BLOCK.finditer(text))
        text = _BLOCK.sub("", text)
        unclosed = _OPEN.search(text)
        if unclosed and not text[: unclosed.start()].strip():
            kept.append(text[unclosed.end() :].strip())
            text = ""
    return text, "\n\n".join(part for part in kept if part)
