"""What a run will take: from a few rows, by a clock of the test, and without a trace in what the run gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.engines.base import Estimate, Question, Sampling, Span
from evenhand.engines.cache import CachedEngine
from evenhand.engines.machine import decode_bytes, resident_now, resident_peak
from evenhand.engines.probing import BUDGET, Prober, choice_cost, measure_on, score_cost, unprobed
from evenhand.records import Message

OpenLocal = Callable[..., Any]
TEXTS = ("a joke about cats", "a longer joke about cats and dogs", "bake bread", "plan a trip to the sea")
SAMPLING = Sampling(max_tokens=16, seed=5)
SPANS = [Span(f"{n}", f"{n} {TEXTS[n % 4]}") for n in range(64)]
COST = Estimate(64, 640, 0, exact=False)


class ModelClock:
    """Seconds that pass with the model's forward passes: ``fixed`` for each, and ``each`` for every row of it."""

    def __init__(self, engine: Any, monkeypatch: pytest.MonkeyPatch, *, fixed: float, each: float):
        self.now = 0.0
        forward = type(engine.decoder).forward

        def slow(decoder: Any, cache: Any, tokens: Any, positions: Any, mask: Any) -> Any:
            self.now += fixed + each * tokens.shape[0] * tokens.shape[1]
            return forward(decoder, cache, tokens, positions, mask)

        monkeypatch.setattr(type(engine.decoder), "forward", slow)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("fixed", "each"), [(0.01, 0.0), (0.0, 0.001), (0.01, 0.001)])
def test_the_time_of_a_run_is_foretold(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch,
    fixed: float, each: float,
) -> None:  # fmt: skip
    engine = open_local(model_folder, dtype="float32", batch_tokens=2048)
    clock = ModelClock(engine, monkeypatch, fixed=fixed, each=each)
    engine.prober = Prober(engine, clock)
    requests = tiny.ask(*(f"{text} {n}" for n in range(25) for text in TEXTS), repetitions=2)
    told = engine.estimate(requests, SAMPLING)
    assert told.seconds is not None
    assert (told.calls, told.exact, told.at_most) == (200, True, False)
    assert 0 < told.probed_rows <= 64
    began = clock.now
    tiny.run(engine, requests, SAMPLING)
    assert told.seconds == pytest.approx(clock.now - began, rel=0.35)


def test_a_slow_model_is_probed_with_few_steps_and_then_foretold_at_most(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_local(model_folder, dtype="float32")
    clock = ModelClock(engine, monkeypatch, fixed=BUDGET / 5, each=0.0)
    engine.prober = Prober(engine, clock)
    long = Sampling(max_tokens=64, seed=5)
    told = engine.estimate(tiny.ask(*TEXTS, repetitions=5), long)
    assert told.at_most
    assert told.probed_rows == 5
    assert clock.now < 6 * BUDGET
    assert told.seconds == pytest.approx(64 * BUDGET / 5, rel=0.05)


def global_state() -> Any:
    return np.random.get_state()[1].tolist()  # noqa: NPY002  (that it is left alone is the point)


def test_a_probe_leaves_no_trace(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    import torch

    requests = tiny.ask(*TEXTS, repetitions=3)
    asked = [Question(text, (Message("user", text),), ("yes", "no")) for text in TEXTS]
    outputs = []
    for probe in (False, True):
        engine = CachedEngine(open_local(model_folder, dtype="float32"), tmp_path / f"{probe}.sqlite")
        before = (random.getstate(), global_state(), torch.get_rng_state().tolist())
        if probe:
            measure_on([engine])
            told = engine.estimate(requests, SAMPLING)
            assert told.seconds is not None
            assert told.seconds > 0
            assert score_cost(engine, lambda: SPANS, COST).seconds
            assert choice_cost(engine, lambda: asked, 4, COST).probed_rows == 4
        assert engine.estimate(requests, SAMPLING).calls == 12  # nothing of it is in the cache
        assert before == (random.getstate(), global_state(), torch.get_rng_state().tolist())
        scored = [rows for _, rows in engine.score(engine.plan_scores(SPANS))]
        outputs.append((tiny.run(engine, requests, SAMPLING), scored, list(engine.choose(asked))))
        engine.cache.close()
    assert outputs[0] == outputs[1]


def test_what_the_cache_holds_is_not_probed(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = tiny.ask(*TEXTS)
    engine = CachedEngine(open_local(model_folder, dtype="float32"), tmp_path / "cache.sqlite")
    tiny.run(engine, requests, SAMPLING)
    list(engine.score(engine.plan_scores(SPANS)))
    measure_on([engine])
    monkeypatch.setattr(Prober, "_run", None)
    monkeypatch.setattr(Prober, "_rated", None)
    told = engine.estimate(requests, SAMPLING)
    assert (told.calls, told.seconds, told.probed_rows) == (0, 0.0, 0)
    scored = score_cost(engine, lambda: SPANS, COST)
    assert (scored.calls, scored.prompt_tokens, scored.seconds) == (0, 0, 0.0)
    engine.cache.close()


def test_only_what_is_asked_for_is_probed(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder, dtype="float32")
    assert score_cost(engine, lambda: pytest.fail("no span is needed"), COST) is COST
    assert choice_cost(engine, lambda: pytest.fail("no question is needed"), 1, COST) is COST
    measure_on([engine])
    with unprobed(engine):
        assert engine.estimate(tiny.ask(*TEXTS), SAMPLING).seconds is None
    assert engine._model is None
    assert isinstance(engine.prober, Prober)


def test_prompts_that_no_model_can_take_need_no_time(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace
) -> None:
    engine = open_local(model_folder, dtype="float32")
    measure_on([engine])
    told = engine.estimate(tiny.ask("cats " * 200), SAMPLING)
    assert (told.calls, told.seconds) == (1, 0.0)


def test_memory_grows_with_the_batch(open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace) -> None:
    engine = open_local(model_folder, dtype="float32")
    model = engine.model
    one, two = (decode_bytes(model, rows, 100, 50, sampled=True) for rows in (100, 200))
    assert two == pytest.approx(2 * one, rel=0.2)
    assert decode_bytes(model, 8, 100, 50, sampled=False) < decode_bytes(model, 8, 100, 50, sampled=True)
    now, peak = resident_now(), resident_peak()
    assert now is not None
    assert peak is not None
    assert 2**20 < now <= peak * 1.05
    measure_on([engine])
    told = engine.estimate(tiny.ask(*TEXTS), SAMPLING)
    assert told.memory_bytes is not None
    assert told.memory_bytes >= now


def test_a_probe_that_does_not_fit_the_memory_ends_no_run(
    open_local: OpenLocal, model_folder: Path, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_local(model_folder, dtype="float32", batch_tokens=2048)
    engine.prober = Prober(engine)
    requests = tiny.ask(*TEXTS, repetitions=2)

    def fails(error: Exception) -> Callable[..., Any]:
        def run(*_: Any, **__: Any) -> Any:
            raise error

        return run

    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(Prober, "_run", fails(error))
        told = engine.estimate(requests, SAMPLING)
        assert (told.calls, told.seconds, told.not_probed) == (8, None, "the probe ran out of memory")
    monkeypatch.setattr(Prober, "_run", fails(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        engine.estimate(requests, SAMPLING)
