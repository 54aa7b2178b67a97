"""How far a batch is: reported from inside every verb of the local engine, and no part of any plan or number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenhand.engines import ticks
from evenhand.engines.base import Question, Request, Sampling, Span
from evenhand.records import Message

OpenLocal = Callable[..., Any]
LINES = ("a joke about cats", "a joke about dogs and a joke about cats", "bake bread", "plan a trip to the sea")
Heard = list[tuple[int, float]]


def rising(heard: Heard, rows: int) -> None:
    shares = [share for _, share in heard]
    assert {count for count, _ in heard} == {rows}
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(set(shares)) > 1


def test_parts_of_parts_are_shares_of_the_batch() -> None:
    heard: Heard = []
    with ticks.listening(lambda rows, share: heard.append((rows, share))):
        ticks.tick(0.5)  # no batch is under way
        with ticks.batch(10), ticks.part(0.5, 1.0):
            ticks.tick(0.5)
            with ticks.batch(3), ticks.part(0.0, 0.5):
                ticks.tick(2.0)
    with ticks.batch(10):
        ticks.tick(1.0)  # nobody listens
    assert heard == [(10, 0.75), (10, 0.75)]


def test_every_token_of_a_batch_is_reported(open_local: OpenLocal, model_folder: Path) -> None:
    engine = open_local(model_folder, dtype="float32")
    requests = [Request(line, turn, (Message("user", line),)) for line in LINES for turn in range(2)]
    sampling = Sampling(max_tokens=12, seed=3)
    plan = engine.plan(requests, sampling)
    assert len(plan) == 1
    alone = [rows for _, rows in engine.generate(plan, sampling, config="m")]
    heard: Heard = []
    with ticks.listening(lambda rows, share: heard.append((rows, share))):
        shown = [rows for _, rows in engine.generate(plan, sampling, config="m")]
    assert shown == alone
    rising(heard, len(requests))
    assert len(heard) >= max(row.completion_tokens for row in alone[0])


@pytest.mark.parametrize("packing", ["tree", "rows"])
def test_every_pass_over_scored_texts_is_reported(
    open_local: OpenLocal, model_folder: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    from evenhand.engines import scoring

    monkeypatch.setitem(scoring._PASS_TOKENS, "cpu", 8)
    monkeypatch.setitem(scoring._ROWS_TOKENS, "cpu", 8)
    engine = open_local(model_folder, dtype="float32")
    scorer = engine._open_scorer()
    monkeypatch.setattr(scorer, "row_tokens", 24)
    monkeypatch.setattr(scorer, "packing", packing)
    (batch,) = engine.plan_scores([Span(f"{n}", f"{n} {line}") for n, line in enumerate(LINES * 3)])
    heard: Heard = []
    with ticks.listening(lambda rows, share: heard.append((rows, share))):
        list(engine.score([batch]))
    rising(heard, len(batch.spans))


def test_questions_are_reported_as_questions_not_as_options(
    open_local: OpenLocal, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evenhand.engines import scoring

    monkeypatch.setitem(scoring._PASS_TOKENS, "cpu", 8)
    engine = open_local(model_folder, dtype="float32", batch_tokens=64)
    monkeypatch.setattr(engine._open_scorer(), "row_tokens", 24)
    asked = [Question(f"{n}", (Message("user", f"{line} {n}"),), ("yes", "no")) for n, line in enumerate(LINES)]
    heard: Heard = []
    with ticks.listening(lambda rows, share: heard.append((rows, share))):
        assert len(list(engine.choose(asked))) == len(asked)
    rising(heard, len(asked))
