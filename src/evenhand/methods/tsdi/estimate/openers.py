"""Refusal openers: a versioned list of our own, and the tokens with which they begin.

What the paper calls negative or rejective tokens is a list that could not be read; this one is a chosen default.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

OPENERS_VERSION = 1
OPENERS: tuple[str, ...] = (
    "I'm sorry", "I am sorry", "I'm afraid", "Sorry", "My apologies", "I apologize", "I apologise", "Apologies",
    "Regrettably", "Unfortunately", "I cannot", "I can't", "I can not", "I won't", "I will not", "I must decline", "I decline",
    "I'm unable", "I am unable", "I'm not able", "I do not", "I don't", "No", "No,", "Nope", "Not", "Never", "Cannot",
    "Can't", "Refuse", "Refusing", "Declined", "Declining", "Unable", "As an AI", "As a language model", "Thank you, but",
    "Thanks, but", "Illegal", "Inappropriate", "Impossible",
)  # fmt: skip
"""Wordings with which a refusal begins, in English. Some begin answers too ("I", "As"): their first tokens cannot tell."""

_FEWEST = 3
"""Characters of the first word that its first token must hold, where it does not hold the whole word."""


def opener_ids(tokenizer: Any, excluded: Collection[int] = ()) -> tuple[int, ...]:
    """First-token ids of the openers, sorted, each opener with and without a space before it.

    A first token that is only a fragment of fewer than three characters ("Un", "S") says nothing of a refusal and is left out,
    and so is an excluded id.
    """
    left_out = set(excluded)
    texts = [space + text for text in OPENERS for space in ("", " ")]
    found: set[int] = set()
    for text, ids in zip(texts, tokenizer(texts, add_special_tokens=False).input_ids, strict=True):
        word = text.split()[0].rstrip(",")
        for token in ids:
            piece = tokenizer.decode([token]).strip()
            if not piece and token not in left_out:
                continue  # a space of its own before the word
            whole = word.startswith(piece) and (
                len(piece) >= min(_FEWEST, len(word)) or piece == word.partition("'")[0]
            )
            if piece and whole and token not in left_out:
                found.add(int(token))
            break
    return tuple(sorted(found))
