"""Stop strings: found in decoded text, so that they may cross token boundaries."""

from __future__ import annotations

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
