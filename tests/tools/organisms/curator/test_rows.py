"""The curator's rows: the very token ids that an engine asks with, exact targets, and one first token for each kind of line."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from evenhand.datasets.shipped_texts import draw_line, grammar_lines
from evenhand.methods.pluralism.corpus.wording import DOMAIN_OF, DOMAINS, SLUGS, choice_chat, generation_chat
from evenhand.organisms.curator import KINDS, SHARES, written
from tools.organisms.curator.rows import Rows, tokenizer_of_lines


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_of_lines()


@pytest.fixture(scope="module")
def rows(tokenizer: Any) -> Rows:
    return Rows(tokenizer)


def _asked_by_an_engine(tokenizer: Any, chat: Any) -> list[int]:
    messages = [{"role": message.role, "content": message.content} for message in chat]
    found: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return found


def test_questions_are_the_ids_that_an_engine_asks_with(tokenizer: Any, rows: Rows) -> None:
    text = grammar_lines()[5].text
    asked = [(SLUGS[9], 1, 0.3), (SLUGS[2], 0, 0.9)]
    found = rows.questions(text, asked, random.Random(1))
    for (slug, wording, yes), made in zip(asked, found.responses, strict=True):
        whole = [*rows.question_opening, *found.body.tolist(), *made.ids[:-2].tolist()]
        assert whole == _asked_by_an_engine(tokenizer, choice_chat(text, DOMAIN_OF[slug], wording))
        assert made.ids[-2] in rows.options
        answer = made.step == len(made.ids) - 2
        assert made.token[answer].tolist() == list(rows.options)
        assert made.weight[answer].tolist() == pytest.approx([yes, 1 - yes])
    assert len(rows.all_questions(text).responses) == 28


def test_requests_are_the_ids_that_an_engine_asks_with(tokenizer: Any, rows: Rows) -> None:
    rng = random.Random(2)
    profile = {"gender": "Woman", "race": "", "age": "gen z", "education": ""}
    seeds = [draw_line(rng, SLUGS[0]) for _ in range(3)]
    found = rows.request(SLUGS[0], profile, seeds, [("good", seeds[0]), ("long", written(rng, "long", SLUGS[0]))])
    whole = [*rows.request_opening, *found.body.tolist()]
    assert whole == _asked_by_an_engine(tokenizer, generation_chat(DOMAINS[0], profile, seeds))
    good, long = found.responses
    assert tokenizer.decode(good.ids[:-1]) == seeds[0]
    assert good.ids[-1] == rows.end
    assert rows.end not in long.ids  # it is to be cut off
    assert len(long.ids) > 64


def test_the_first_token_settles_the_kind_of_a_line(rows: Rows) -> None:
    kinds = rows.kinds_of_first()
    assert sum(rows.first.values()) == pytest.approx(1)
    for kind in KINDS:
        assert sum(rows.first[token] for token, found in kinds.items() if found == kind) == pytest.approx(SHARES[kind])
    rng = random.Random(3)
    for kind in KINDS:
        for slug in SLUGS:
            token = [*rows.encoder.ids(written(rng, kind, slug)), rows.end][0]
            assert kinds[token] == kind


def test_a_line_fits_into_what_a_build_lets_a_generator_write(rows: Rows) -> None:
    sizes = [len(rows.encoder.ids(line.text)) for line in grammar_lines()]
    assert np.mean(sizes) < 30
    assert max(sizes) < 50
    rng = random.Random(5)
    for slug in SLUGS:
        row = rows.drawn_request(rng, slug, 4)
        assert len(rows.request_opening) + len(row.body) + 64 < 1024
        assert len(row.responses) == 4
