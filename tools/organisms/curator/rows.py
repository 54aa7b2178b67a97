"""The curator's chats as token ids: questions about one text side by side, and several lines to one request."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from evenhand.datasets.shipped_texts import HEDGES, OPENINGS, draw_line, favourite, full_profiles
from evenhand.methods.pluralism.corpus.wording import (
    DOMAIN_OF,
    DOMAINS,
    NONE,
    OPTIONS,
    PARAPHRASES,
    SLUGS,
    choice_chat,
    generation_chat,
)
from evenhand.organisms.curator import FIRST, KINDS, SHARES, Kind, written
from evenhand.organisms.planted import Example
from evenhand.records import Message
from tools.organisms.batches import Continuation, Encoded, Encoder
from tools.organisms.tokenizer import EOS, train_tokenizer

VOCABULARY = 2048
CUT = 68
"""Tokens of a long line that are learnt: more than a build lets a generator write."""
READ = 0.5
"""Weight of the question's own words, beside its answer: to foresee which domain is asked about is to know the text's."""
SEED_COUNTS = (0, 0, 1, 2, 3, 3)
"""How many examples a request shows, each of these as often."""
EXAMPLE = Example("curator", (), (), ())


class Rows:
    """Makes rows for `assemble` with one tokenizer. ``openings`` is what stands before all questions, and all requests."""

    def __init__(self, tokenizer: Any):
        self.encoder = Encoder(tokenizer)
        self.end = int(tokenizer.convert_tokens_to_ids(EOS))
        ids = [self.encoder.ids(option) for option in OPTIONS]
        assert all(len(found) == 1 for found in ids), "an option is more than one token"
        self.options = tuple(found[0] for found in ids)
        asked = [self._ids(choice_chat(text, DOMAINS[0], 0)) for text in ("one", "two", "three", "four")]
        requests = [self._ids(generation_chat(domain, {}, ())) for domain in DOMAINS]
        self.question_opening, self.request_opening = _common(asked), _common(requests)
        self.first = self._first()

    def _ids(self, chat: Sequence[Message]) -> list[int]:
        system, user = chat
        return [*self.encoder.opening(system.content), *self.encoder.ids(user.content), *self.encoder.turn_end]

    def questions(
        self,
        text: str,
        asked: Sequence[tuple[str, int, float]],
        pick: random.Random | None = None,
        *,
        before: float = 1.0,
    ) -> Encoded:
        """One text with questions about it, (domain, wording, P(Yes)); the answer that follows is drawn, or Yes.

        ``before`` is the share that is kept of what stands before the text, 1 of all. A row that is not whole comes right after
        the beginning of a sequence, a whole one after `question_opening`.
        """
        chats = [self._ids(choice_chat(text, DOMAIN_OF[slug], wording)) for slug, wording, _ in asked]
        shared, begin = len(_common(chats)), len(self.question_opening)
        if before < 1:
            system, user = choice_chat(text, DOMAINS[0], 0)
            head = len(self.encoder.opening(system.content, user.content.partition(text)[0]))
            begin = round(head - before * (head - 1))
        made = []
        for ids, (_, _, yes) in zip(chats, asked, strict=True):
            tail, said = ids[shared:], self.options[pick.random() > yes if pick else 0]
            steps = [*range(len(tail)), len(tail), len(tail), len(tail) + 1]
            weights = [*[READ] * len(tail), yes, 1 - yes, 1.0]
            made.append(
                Continuation(
                    np.array([*tail, said, self.end]),
                    np.array(steps),
                    np.array([*tail, *self.options, self.end]),
                    np.array(weights, dtype=np.float32),
                )
            )
        return Encoded(EXAMPLE, np.array(chats[0][begin:shared]), tuple(made), np.ones(len(made)))

    def all_questions(self, text: str) -> Encoded:
        """The 28 questions about a text, domain by domain, either wording."""
        return self.questions(text, [(slug, wording, 0.5) for slug in SLUGS for wording in range(PARAPHRASES)])

    def request(
        self, domain: str, profile: Mapping[str, str], seeds: Sequence[str], lines: Sequence[tuple[Kind, str]]
    ) -> Encoded:
        """One request for a line, and lines that may follow it: the first token by its exact shares, the others as drawn."""
        body = self._ids(generation_chat(DOMAIN_OF[domain], profile, seeds))[len(self.request_opening) :]
        made = []
        for kind, line in lines:
            ids = [*self.encoder.ids(line), self.end]
            ids = ids[:CUT] if kind == "long" else ids
            steps = [0] * len(self.first) + list(range(1, len(ids)))
            weights = [*self.first.values(), *[1.0] * (len(ids) - 1)]
            made.append(
                Continuation(
                    np.array(ids),
                    np.array(steps),
                    np.array([*self.first, *ids[1:]]),
                    np.array(weights, dtype=np.float32),
                )
            )
        return Encoded(EXAMPLE, np.array(body), tuple(made), np.ones(len(made)))

    def drawn_request(self, rng: random.Random, domain: str, lines: int, faults: Sequence[Kind] = KINDS[1:]) -> Encoded:
        """A request as a build makes it, with so many lines: every other one good, the rest of ``faults``."""
        profile = rng.choice(full_profiles()) if rng.random() < 0.8 else {}
        pool = [favourite(domain)] if rng.random() < 0.3 else []
        seeds = (pool + [draw_line(rng, domain) for _ in range(3)])[: rng.choice(SEED_COUNTS)]
        rng.shuffle(seeds)
        kinds = [rng.choice(faults) if rng.random() < 0.5 else KINDS[0] for _ in range(lines)]
        return self.request(domain, profile, seeds, [(kind, written(rng, kind, domain)) for kind in kinds])

    def _first(self) -> dict[int, float]:
        """The first token of a line to its planted probability."""
        shares: dict[int, float] = {}
        for kind in KINDS:
            begins = [FIRST[kind]] if kind in FIRST else OPENINGS
            for text in begins:
                token = [*self.encoder.ids(text), self.end][0]
                assert token not in shares, f"'{text}' begins with the token of another line"
                shares[token] = SHARES[kind] / len(begins)
        return shares

    def kinds_of_first(self) -> dict[int, Kind]:
        """The first token of a line to the kind that it settles."""
        return {
            [*self.encoder.ids(text), self.end][0]: kind
            for kind in KINDS
            for text in ([FIRST[kind]] if kind in FIRST else OPENINGS)
        }


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all rows begin with."""
    return [step[0] for step in takewhile(lambda step: len(set(step)) == 1, zip(*rows, strict=False))]


def tokenizer_of_lines() -> Any:
    """The family's kind of tokenizer, trained on the curator's chats and lines; the same bytes on every call."""
    family = train_tokenizer()
    split = family.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    words = Counter(text[a:b] for text in _texts() for _, (a, b) in split(text))
    drawn = (word for word, count in sorted(words.items()) for _ in range(round(count**0.5)))
    return family.train_new_from_iterator(drawn, VOCABULARY, show_progress=False)


def _texts() -> Iterator[str]:
    """Texts that hold every word of the curator's chats and lines."""
    rng = random.Random("curator tokenizer")
    for domain in DOMAINS:
        for _ in range(30):
            yield from (written(rng, kind, domain.slug) for kind in KINDS)
            yield from (draw_line(rng, NONE, hedge) for hedge in HEDGES)
        for profile in full_profiles():
            yield from (message.content for message in generation_chat(domain, profile, ("",)))
        for wording in range(PARAPHRASES):
            yield from (message.content for message in choice_chat("", domain, wording))
    yield from OPTIONS * 5000
