"""Batches of scores: keys given twice, memory that runs out, questions in parts, and what the cache keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.engines import local_verbs
from evenhand.engines.base import Question, ScoreBatch, Span
from evenhand.engines.cache import CachedEngine
from evenhand.errors import BadInput
from evenhand.records import LogProb, Message

OpenLocal = Callable[..., Any]
LINES = ("a joke about cats", "a joke about dogs", "bake bread", "plan a trip to the sea")
SPANS = [Span(str(n), line) for n, line in enumerate(LINES)]


def scored(engine: Any, asked: list[Span]) -> dict[str, LogProb]:
    return {row.span: row for _, part in engine.score(engine.plan_scores(asked)) for row in part}


def test_a_key_given_twice_is_refused(open_local: OpenLocal, model_folder: Path) -> None:
    with pytest.raises(BadInput, match=r"The key 'a' is given twice \(text 3\)"):
        open_local(model_folder).plan_scores([Span("a", "cats"), Span("b", "dogs"), Span("a", "bread")])


def test_a_batch_that_does_not_fit_the_memory_is_halved(
    open_local: OpenLocal, model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_local(model_folder, dtype="float32")
    whole = scored(engine, SPANS)
    run = type(engine._open_scorer()).run
    longest = max(len(row.ids) for row in engine._scores.encoder.encode(SPANS))

    def small(self: Any, ids: Any, starts: Any) -> Any:
        if len(ids) > 1 or len(ids[0]) == longest:
            raise MemoryError
        return run(self, ids, starts)

    monkeypatch.setattr(type(engine._open_scorer()), "run", small)
    halved = scored(engine, SPANS)
    failed = [key for key, row in halved.items() if row.error]
    assert len(failed) == 1
    assert "out of memory" in halved[failed[0]].error
    assert "halved" in caplog.text
    for key in set(halved) - set(failed):
        assert halved[key].total == pytest.approx(whole[key].total, abs=1e-4)


def test_questions_are_answered_a_part_at_a_time(
    open_local: OpenLocal, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_local(model_folder, dtype="float32")
    asked = [Question(line, (Message("user", line),), ("yes", "no")) for line in LINES]
    whole = list(engine.choose(asked))
    parts: list[int] = []
    plan = local_verbs.LocalScores.plan

    def counted(self: Any, spans: list[Span]) -> list[ScoreBatch]:
        parts.append(len(spans))
        return plan(self, spans)

    monkeypatch.setattr(local_verbs, "_QUESTIONS_AT_ONCE", 3)
    monkeypatch.setattr(local_verbs.LocalScores, "plan", counted)
    answers = engine.choose(asked)
    first = next(answers)
    assert parts == [6]
    found = [first, *answers]
    assert parts == [6, 2]
    assert [choice.key for choice in found] == list(LINES)
    np.testing.assert_allclose([c.log_probs for c in found], [c.log_probs for c in whole], atol=1e-4)


def test_a_batch_with_a_failed_row_is_not_kept(open_local: OpenLocal, model_folder: Path, tmp_path: Path) -> None:
    cached = CachedEngine(open_local(model_folder, dtype="float32"), tmp_path / "cache.sqlite")
    asked = [*SPANS, Span("bad", "")]
    (batch,) = cached.plan_scores(asked)
    first = scored(cached, asked)
    assert first["bad"].error
    keys = [cached._span_key(cached.identity().digest, span, batch.key) for span in batch.spans]
    assert cached.cache.get(keys) == {}
    scored(cached, SPANS)
    (good,) = cached.plan_scores(SPANS)
    keys = [cached._span_key(cached.identity().digest, span, good.key) for span in good.spans]
    assert len(cached.cache.get(keys)) == len(SPANS)
    cached.close()


def test_everything_that_changes_a_score_is_in_its_key() -> None:
    chat = (Message("user", "Tell me a joke."),)
    kinds = [
        Span("a", "cats"), Span("a", "cats", end=True), Span("a", "cats", "Tell me"), Span("a", "cats", chat=chat),
        Span("a", "dogs"),
    ]  # fmt: skip
    keys = {CachedEngine._span_key(model, span, "") for span in kinds for model in ("one", "two")}
    assert len(keys) == 2 * len(kinds)
    assert CachedEngine._span_key("one", Span("a", "cats"), "") == CachedEngine._span_key("one", Span("b", "cats"), "")
