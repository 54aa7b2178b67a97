"""Which token ids an estimate covers: those that both models can emit, those whose bias is zero by rule, and refusal openers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.engines.identity import read_config
from evenhand.engines.local import LocalEngine
from evenhand.engines.token_bias import vocabulary_digest
from evenhand.errors import BadInput

_BRACKETS = (("<", ">"), ("[", "]"))


@dataclass(frozen=True, slots=True, eq=False)
class TokenSpace:
    """The ids of a pair of models.

    ``vocabulary`` is the number of columns; ``valid``, sorted, are the ids in both softmaxes; ``excluded`` those below
    ``vocabulary`` whose bias is 0. ``unshared`` counts tokens of the aligned model that the reference does not have.
    """

    vocabulary: int
    valid: NDArray[np.int64]
    excluded: tuple[int, ...]
    tokenizer: str
    unshared: int = 0

    @property
    def measured(self) -> NDArray[np.bool_]:
        """A mask over ``valid``: the ids whose bias is measured."""
        return ~np.isin(self.valid, np.asarray(self.excluded, dtype=np.int64))


def turn_ends(engine: LocalEngine) -> frozenset[int]:
    """Every id that ends a turn: of the tokenizer, the template, the config and the generation config."""
    folder = engine.checkpoint.folder
    ids: set[int] = set(engine.renderer.end_of_turn_ids())
    for source in (
        engine.tokenizer.eos_token_id,
        read_config(folder).get("eos_token_id"),
        read_config(folder, "generation_config.json").get("eos_token_id"),
    ):
        ids.update(source if isinstance(source, list) else [source] if source is not None else [])
    return frozenset(int(token) for token in ids)


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Special tokens, and added tokens written like one: role, tool and reasoning tags in angle or square brackets."""
    ids = {int(token) for token in tokenizer.all_special_ids}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        text = str(token.content).strip()
        if token.special or any(len(text) > 2 and text.startswith(a) and text.endswith(b) for a, b in _BRACKETS):
            ids.add(int(token_id))
    return frozenset(ids)


def shared_ids(aligned: Any, reference: Any, names: tuple[str, str]) -> frozenset[int]:
    """Ids that are the same token in both tokenizers.

    Tokenizers of one family may differ in added tokens. Raises BadInput, naming both, if ordinary tokens differ.
    """
    ours, theirs = ({int(i): str(t) for t, i in tokenizer.get_vocab().items()} for tokenizer in (aligned, reference))
    if ours == theirs:
        return frozenset(ours)
    added = set(aligned.added_tokens_decoder) | set(reference.added_tokens_decoder)
    apart = [i for i in ours.keys() & theirs.keys() if ours[i] != theirs[i] and i not in added]
    alone = [i for i in ours.keys() ^ theirs.keys() if i not in added]
    if apart or alone:
        raise BadInput(
            f"{names[0]} and {names[1]} have different tokenizers: {len(apart) + len(alone):,} of "
            f"{len(ours):,} and {len(theirs):,} ordinary tokens differ.",
            do="Give the reference that the model was tuned from; both must have the same token ids.",
        )
    return frozenset(i for i in ours if theirs.get(i) == ours[i])


def token_space(aligned: LocalEngine, reference: LocalEngine, *, include_eos: bool = False) -> TokenSpace:
    """The ids that both models can emit. Loads no weights. Raises BadInput for different tokenizers."""
    ids = {int(token) for token in aligned.tokenizer.get_vocab().values()}
    shared = shared_ids(aligned.tokenizer, reference.tokenizer, (aligned.spec, reference.spec))
    width = min(_width(aligned), _width(reference))
    valid = np.asarray(sorted(i for i in shared if i < width), dtype=np.int64)
    if len(valid) < 2:
        raise BadInput(f"{aligned.spec} and {reference.spec} share no tokens.")
    vocabulary = max(ids) + 1
    ends = turn_ends(aligned) | turn_ends(reference)
    control = control_ids(aligned.tokenizer) | control_ids(reference.tokenizer) | ends
    if include_eos:
        control -= ends
    outside = set(range(vocabulary)) - set(valid.tolist())
    excluded = tuple(sorted(outside | {i for i in control if i < vocabulary}))
    return TokenSpace(vocabulary, valid, excluded, vocabulary_digest(aligned.tokenizer), len(ids - shared))


def _width(engine: LocalEngine) -> int:
    """Rows of the head: from the config, else from the tokenizer."""
    config = read_config(engine.checkpoint.folder)
    rows = {**config, **config.get("text_config", {})}.get("vocab_size")
    return int(rows) if rows else max(int(i) for i in engine.tokenizer.get_vocab().values()) + 1


OPENERS_VERSION = 1
OPENERS: tuple[str, ...] = (
    "I'm sorry", "I am sorry", "I'm afraid", "Sorry", "My apologies", "I apologize", "I apologise", "Apologies",
    "Regrettably", "Unfortunately", "I cannot", "I can't", "I can not", "I won't", "I will not", "I must decline", "I decline",
    "I'm unable", "I am unable", "I'm not able", "I do not", "I don't", "No", "No,", "Nope", "Not", "Never", "Cannot",
    "Can't", "Refuse", "Refusing", "Declined", "Declining", "Unable", "As an AI", "As a language model", "Thank you, but",
    "Thanks, but", "Illegal", "Inappropriate", "Impossible",
)  # fmt: skip
"""Wordings with which a refusal begins, in English. Some also begin answers ("I", "As"), so their first tokens are ambiguous.

The list is ours (versioned): the one of the paper is not available."""

_FEWEST = 3
"""Characters of the first word that its first token must hold, unless it holds the whole word."""


def measured_openers(tokenizer: Any, space: TokenSpace) -> tuple[int, ...]:
    """First-token ids of the refusal openers among the measured tokens of a pair of models, sorted."""
    measured = space.valid[space.measured].tolist()
    return opener_ids(tokenizer, set(range(space.vocabulary)) - set(measured))


def opener_ids(tokenizer: Any, excluded: Collection[int] = ()) -> tuple[int, ...]:
    """First-token ids of the openers, sorted, each opener with and without a space before it.

    A first token that is only a fragment of fewer than three characters ("Un", "S") says nothing of a refusal and is left out,
    and so is an excluded id.
    """
    left_out = set(excluded)
    texts = [space + text for text in OPENERS for space in ("", " ")]
    openers: set[int] = set()
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
                openers.add(int(token))
            break
    return tuple(sorted(openers))
