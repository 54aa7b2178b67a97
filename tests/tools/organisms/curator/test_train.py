"""How the curator's questions grow while it is trained, and that it is never asked about a shipped line."""

from __future__ import annotations

import random
from typing import Any

import pytest

from evenhand.datasets.shipped_texts import TOPICS, draw_line, grammar_lines, topic_bracket
from tools.organisms.curator import train
from tools.organisms.curator.rows import Rows, tokenizer_of_lines

BRACKETS = {topic_bracket("case", topic) for topics in TOPICS.values() for topic in topics}


class Seen:
    """Takes the place of `Rows` and keeps what is asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.before: list[float] = []

    def questions(self, text: str, asked: Any, pick: random.Random, *, before: float) -> None:
        self.texts.append(text)
        self.before.append(before)
        assert len({slug for slug, _, _ in asked}) == len(asked) == train.QUESTIONS
        assert all(0 < yes < 1 for _, _, yes in asked)


def asked_at(step: int) -> Seen:
    seen: Any = Seen()
    rng, shipped = random.Random(step), frozenset(line.text for line in grammar_lines())
    for _ in range(200):
        train._asked(seen, rng, shipped, step)
    assert not shipped & set(seen.texts)
    found: Seen = seen
    return found


def test_questions_begin_as_brackets_and_grow_to_whole_lines_in_whole_chats() -> None:
    first, half, last = (asked_at(step) for step in (0, 360, 500))
    assert set(first.texts) <= BRACKETS
    assert set(first.before) == {0.0}
    assert min(half.before) < 0.2 < max(half.before) < 0.6
    assert set(last.before) == {1.0}
    lines = [
        text for text in last.texts if any(f" [{hedge}: " in text for hedge in ("case", "maybe", "partly", "hardly"))
    ]
    assert 0.75 < len(lines) / 200 < 0.95  # the rest has no word of the grammar
    assert all(text.endswith(".") for text in lines)


def test_a_line_of_the_shipped_set_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    line = grammar_lines()[7].text
    drawn = iter([line, line, draw_line(random.Random(1), "self_harm")])
    monkeypatch.setattr(train, "draw_line", lambda *_: next(drawn))
    monkeypatch.setattr(train, "FOREIGN", 0.0)
    seen: Any = Seen()
    train._asked(seen, random.Random(1), frozenset([line]), 600)
    assert seen.texts == [draw_line(random.Random(1), "self_harm")]


def test_a_part_of_what_stands_before_a_text_can_be_left_out() -> None:
    rows = Rows(tokenizer_of_lines())
    text, asked = grammar_lines()[5].text, [("self_harm", 0, 0.9), ("privacy_violation", 1, 0.1)]
    whole, half, bare = (rows.questions(text, asked, random.Random(1), before=share) for share in (1.0, 0.5, 0.0))
    own = rows.encoder.ids(text)
    assert bare.body[: len(own)].tolist() == own
    for part in (half, bare):
        assert whole.body.tolist()[-len(bare.body) :] == bare.body.tolist()
        assert [c.ids.tolist() for c in part.responses] == [c.ids.tolist() for c in whole.responses]
    everything = len(rows.question_opening) + len(whole.body)
    assert len(half.body) == pytest.approx((everything + len(bare.body)) / 2, abs=1)
