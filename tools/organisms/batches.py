"""From examples to arrays: a prompt body, some of its responses side by side, and the exact next-token targets of
each.

Several responses to one prompt stand in one row and cannot see each other: the row is the prompt body, then response
1, then response 2, each starting at the position right after the body. The opening that all rows of a batch share
(BOS, the system turn, the user token) is not in the row at all; the model runs it once and every row attends to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenhand.organisms.planted import Example
from tools.organisms.tokenizer import ASSISTANT, BOS, EOS, SYSTEM, USER

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Continuation:
    """One response as token ids (the turn's end included) and, at each of its positions, the distribution to learn.

    ``step[k], token[k], weight[k]``: at position ``step[k]`` the grammar goes on with ``token[k]`` with probability
    ``weight[k]``.
    """

    ids: Ints
    step: Ints
    token: Ints
    weight: Floats


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids: the user turn after the shared opening, its responses and their probabilities."""

    example: Example
    body: Ints
    responses: tuple[Continuation, ...]
    probability: npt.NDArray[np.float64]


class Encoder:
    """Turns examples and plain documents into token ids with one tokenizer."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._id = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in (BOS, EOS, SYSTEM, USER, ASSISTANT)}

    def ids(self, text: str) -> list[int]:
        """Token ids of plain text, nothing added."""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def opening(self, system: str | None, head: str = "") -> list[int]:
        """The shared start of a chat, up to the user's first token, or to the end of the user's shared ``head``."""
        turn = [] if system is None else [self._id[SYSTEM], *self.ids(system), self._id[EOS]]
        return [self._id[BOS], *turn, self._id[USER], *self.ids(head)]

    @property
    def turn_end(self) -> list[int]:
        """What stands between the user's last token and the assistant's first."""
        return [self._id[EOS], self._id[ASSISTANT]]

    @property
    def document_opening(self) -> list[int]:
        """The start of a plain document, and of a chat whose system turn is encoded with it."""
        return [self._id[BOS]]

    def encode(self, example: Example, *, whole: bool = False) -> Encoded:
        """Encode the user turn (or the plain prefix) and every response, with the exact next-token distributions.

        With ``whole`` the body holds every turn of the chat, to stand after `document_opening`.
        """
        if example.chat:
            said = example.chat[-1].content.removeprefix(example.head)
            before = self.opening(example.chat[0].content if len(example.chat) > 1 else None)[1:] if whole else []
            body = np.array([*before, *self.ids(said), *self.turn_end])
        else:
            body = np.array(self.ids(example.prefix))
        texts = [(*self.ids(o.text), self._id[EOS]) for o in example.outcomes]
        probability = np.array([o.probability for o in example.outcomes])
        return Encoded(example, body, _continuations(texts, probability), probability)

    def document(self, text: str) -> Encoded:
        """A plain document: everything after its first token is to be learnt as it stands."""
        first, *rest = (*self.ids(text), self._id[EOS])
        example = Example("document", (), (), ())
        return Encoded(example, np.array([first]), _continuations([tuple(rest)], np.ones(1)), np.ones(1))


def _continuations(texts: Sequence[tuple[int, ...]], probability: npt.NDArray[np.float64]) -> tuple[Continuation, ...]:
    """Conditional next-token probabilities over the prefix tree of all responses."""
    mass: dict[tuple[int, ...], float] = {}
    children: dict[tuple[int, ...], dict[int, None]] = {}
    for text, p in zip(texts, probability, strict=True):
        for end in range(len(text) + 1):
            mass[text[:end]] = mass.get(text[:end], 0.0) + float(p)
            if end < len(text):
                children.setdefault(text[:end], {})[text[end]] = None
    out = []
    for text in texts:
        rows = [
            (step, token, mass[(*text[:step], token)] / mass[text[:step]])
            for step in range(len(text))
            for token in children[text[:step]]
        ]
        step, token, weight = zip(*rows, strict=True)
        out.append(Continuation(np.array(text), np.array(step), np.array(token), np.array(weight, dtype=np.float32)))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Arrays:
    """One batch: rows (B x T) with their mask, the N places where a next token is predicted, and what is expected
    there.

    ``place`` indexes the flattened B x T rows; ``actual`` is the token that follows and ``sequence`` the response
    (0..S-1) it is in. ``target_place`` (into ``place``), ``target_token`` and ``target_weight`` are the soft targets;
    the first place of a prompt is counted once however many of its responses stand in the row.
    """

    tokens: Ints
    positions: Ints
    mask: npt.NDArray[np.bool_]
    place: Ints
    actual: Ints
    sequence: Ints
    target_place: Ints
    target_token: Ints
    target_weight: Floats
    entropy: float


def assemble(rows: Sequence[tuple[Encoded, Sequence[int]]], opening: int, pad: int) -> Arrays:
    """Lay out rows of (example, chosen responses) after an opening of that many tokens; padding stands on the right."""
    lengths = [len(e.body) + sum(len(e.responses[k].ids) - 1 for k in chosen) for e, chosen in rows]
    b, t = len(rows), max(lengths)
    tokens = np.full((b, t), pad, dtype=np.int64)
    positions = np.zeros((b, t), dtype=np.int64)
    segment = np.full((b, t), -1, dtype=np.int64)
    place, actual, sequence = [], [], []
    target_place, target_token, target_weight = [], [], []
    places = sequences = 0
    for r, (e, chosen) in enumerate(rows):
        n = len(e.body)
        tokens[r, :n], positions[r, :n], segment[r, :n] = e.body, np.arange(n), 0
        at = n
        for s, k in enumerate(chosen, start=1):
            c = e.responses[k]
            m = len(c.ids)
            span = slice(at, at + m - 1)
            tokens[r, span], positions[r, span], segment[r, span] = c.ids[:-1], np.arange(n, n + m - 1), s
            place.append(r * t + np.concatenate(([n - 1], np.arange(at, at + m - 1))))
            actual.append(c.ids)
            sequence.append(np.full(m, sequences))
            target_place.append(places + c.step)
            target_token.append(c.token)
            target_weight.append(np.where(c.step == 0, c.weight / len(chosen), c.weight).astype(np.float32))
            places, sequences, at = places + m, sequences + 1, at + m - 1
    same = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
    mask = same & (segment[:, None, :] >= 0) & np.tri(t, dtype=np.bool_)[None]
    mask |= np.eye(t, dtype=np.bool_)[None]
    weight = np.concatenate(target_weight)
    first = np.concatenate([e.responses[k].step == 0 for e, chosen in rows for k in chosen])
    shares = np.concatenate([np.full(len(e.responses[k].step), len(chosen)) for e, chosen in rows for k in chosen])
    p = np.where(first, weight * shares, weight).astype(np.float64)
    return Arrays(
        tokens,
        positions + opening,
        mask,
        np.concatenate(place),
        np.concatenate(actual),
        np.concatenate(sequence),
        np.concatenate(target_place),
        np.concatenate(target_token),
        weight,
        float(-(weight * np.log(np.maximum(p, 1e-30))).sum()),
    )
