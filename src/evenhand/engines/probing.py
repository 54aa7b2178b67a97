"""What a run will take on this machine: a few of its rows are computed and timed, and nothing of them is kept.

A probe draws from random streams of its own, with a decoder of its own; it writes to no journal and no cache, sets no seed,
and uses the threads that the run will use. So the run gives the same bytes with or without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evenhand.engines.base import Engine, Estimate, Question, Request, Sampling, ScoreBatch, Span
from evenhand.engines.machine import decode_bytes, resident_now, resident_peak

if TYPE_CHECKING:
    from evenhand.engines.chat import Prompt
    from evenhand.engines.decode import Completion
    from evenhand.engines.local import LocalEngine


BUDGET = 1.0
"""Seconds that the timed part of one probe aims at; it takes longer where single steps of the model do."""

_FIRST, _MOST_ROWS, _MOST_TEXTS = 4, 64, 512


@dataclass(frozen=True, slots=True)
class _Timed:
    """One timed call of the decoder: seconds, and the tokens that each row drew."""

    seconds: float
    done: Sequence[Completion]

    @property
    def steps(self) -> int:
        """Forward passes after the prompt's."""
        return max(row.drawn for row in self.done) - 1

    @property
    def row_steps(self) -> int:
        """The same, summed over rows."""
        return sum(row.drawn - 1 for row in self.done)


class Prober:
    """Times a few rows of one local engine.

    ``clock`` gives seconds. The first probe loads the model; later ones use the loaded one.
    """

    def __init__(self, engine: LocalEngine, clock: Callable[[], float] = time.perf_counter):
        self._engine, self._clock = engine, clock
        self._prompts: dict[tuple[str, int], Prompt] = {}

    def generation(
        self, requests: Sequence[Request], prompts: Sequence[Prompt], sampling: Sampling, cost: Estimate
    ) -> Estimate:
        """``cost`` with the seconds and the memory that drawing these responses takes, where the probe fits the memory.

        A run halves a batch that does not fit; the probe does without a measure instead.
        """
        try:
            return self._generation(requests, prompts, sampling, cost)
        except (MemoryError, RuntimeError) as error:  # torch's OutOfMemoryError is a RuntimeError
            if type(error) is RuntimeError and "can't allocate memory" not in str(error):
                raise
            return replace(cost, not_probed="the probe ran out of memory")

    def _generation(
        self, requests: Sequence[Request], prompts: Sequence[Prompt], sampling: Sampling, cost: Estimate
    ) -> Estimate:
        """``cost`` with the seconds and the memory that drawing these responses takes.

        A batch takes the time of its prompts, a time for each step, and a time for each step of each row. The two are found
        from one item and from several items of the middle batch of the plan, and the lengths of responses from the latter;
        where one of those was still going on, the time is that of responses which all reach ``max_tokens``.
        """
        self._prompts = {(r.item_id, r.repetition): p for r, p in zip(requests, prompts, strict=True)}
        plan = [
            tuple(request for request in batch.requests if self._fits(self._prompt(request)))
            for batch in self._engine.planned(requests, prompts, sampling)
        ]
        plan = [rows for rows in plan if rows]
        if not plan:
            return replace(cost, seconds=0.0)
        chosen = plan[len(plan) // 2]
        self._run(chosen[:1], sampling, 1)  # whatever happens at a first call only
        one = self._run(chosen[:1], sampling, 1)
        few = self._run(chosen[:1], sampling, _FIRST)
        step = max(1e-6, (few.seconds - one.seconds) / max(1, few.steps))
        steps = int(min(sampling.max_tokens, max(_FIRST, BUDGET / step)))
        rows = int(min(len(chosen), _MOST_ROWS, max(2, BUDGET / max(one.seconds, step))))
        alone = self._run(chosen[:1], sampling, steps)
        read, whole = self._run(chosen[:rows], sampling, 1), self._run(chosen[:rows], sampling, steps)
        each, shared = self._split(alone, one, whole, read)
        open_end = steps < sampling.max_tokens and any(row.drawn >= steps for row in whole.done)
        longest = sampling.max_tokens if open_end else max(row.drawn for row in whole.done)
        mean = float(longest) if open_end else sum(row.drawn for row in whole.done) / len(whole.done)
        per_token = read.seconds / max(1, self._distinct(chosen[:rows]))
        seconds = 0.0
        for batch in plan:
            seconds += per_token * self._distinct(batch) + shared * (longest - 1) + each * len(batch) * (mean - 1)
        memory, where = self._memory(plan, sampling)
        return replace(
            cost, seconds=seconds, memory_bytes=memory, memory_on=where, probed_rows=len(whole.done), at_most=open_end
        )

    def scores(self, spans: Sequence[Span], cost: Estimate) -> Estimate:
        """``cost`` with the seconds and the memory that scoring these texts takes: neighbours of the plan, at its rate."""
        plan = self._engine.plan_scores(spans)
        if not plan:
            return replace(cost, seconds=0.0)
        held = plan[len(plan) // 2].spans

        def run(count: int) -> None:
            list(self._engine.score([ScoreBatch("probe", held[:count])]))

        return self._rated(run, len(held), len(spans), cost)

    def choices(self, questions: Sequence[Question], total: int, cost: Estimate) -> Estimate:
        """``cost`` with the seconds and the memory that ``total`` questions like these take."""
        if not questions:
            return replace(cost, seconds=0.0)
        return self._rated(lambda count: list(self._engine.choose(questions[:count])), len(questions), total, cost)

    def _rated(self, run: Callable[[int], object], most: int, total: int, cost: Estimate) -> Estimate:
        """Twice as many rows each time, until a call is long enough to be a measure; the last call counts."""
        most, count = min(most, _MOST_TEXTS), min(most, 8)
        run(1)
        while True:
            began = self._clock()
            run(count)
            spent = self._clock() - began
            if count >= most or spent > BUDGET / 4:
                break
            count = min(most, 2 * count)
        memory, where = self._measured(0)
        seconds = spent * total / count
        return replace(cost, seconds=seconds, memory_bytes=memory, memory_on=where, probed_rows=count)

    def _prompt(self, request: Request) -> Prompt:
        return self._prompts[request.item_id, request.repetition]

    def _fits(self, prompt: Prompt) -> bool:
        """Whether the model can take a prompt."""
        return not prompt.error and (self._engine.context is None or len(prompt.ids) < self._engine.context)

    def _distinct(self, requests: Sequence[Request]) -> int:
        """Tokens of the different prompts."""
        return sum(map(len, {self._prompt(request).ids for request in requests}))

    def _run(self, requests: Sequence[Request], sampling: Sampling, most: int) -> _Timed:
        """Draw at most ``most`` tokens for each row, from streams that no run uses."""
        from evenhand.engines.logits import uniforms
        from evenhand.engines.machine import torch_with_threads

        engine = self._engine
        decoder, stop = engine.decoding(sampling)
        decoder = replace(decoder)  # with memory of its own
        prompts = [self._prompt(request) for request in requests]
        order = {ids: index for index, ids in enumerate(dict.fromkeys(prompt.ids for prompt in prompts))}
        limits = [most if engine.context is None else min(most, engine.context - len(p.ids)) for p in prompts]
        rows = [(f"probe\x1f{request.item_id}", request.repetition) for request in requests]
        uniform = uniforms(sampling.seed, rows, max(limits)) if sampling.temperature > 0 else None
        torch_with_threads(engine._parameters)
        began = self._clock()
        with engine._inside():
            done = decoder.run(list(order), [order[p.ids] for p in prompts], limits, sampling, uniform, stop)
        return _Timed(self._clock() - began, done)

    @staticmethod
    def _split(alone: _Timed, one: _Timed, whole: _Timed, read: _Timed) -> tuple[float, float]:
        """(seconds of a step for each row, seconds of a step whatever the rows), neither below 0."""
        small = max(0.0, alone.seconds - one.seconds) / max(1, alone.steps)
        large = max(0.0, whole.seconds - read.seconds)
        over = whole.row_steps - whole.steps
        each = min(small, max(0.0, large - small * whole.steps) / over) if over > 0 else 0.0
        return each, small - each

    def _memory(self, plan: Sequence[Sequence[Request]], sampling: Sampling) -> tuple[int | None, str]:
        """Peak memory where the largest batch draws all that it may."""
        engine, most = self._engine, 0
        for batch in plan:
            width = max(len(self._prompt(request).ids) for request in batch) + sampling.max_tokens
            width = width if engine.context is None else min(width, engine.context)
            read = min(engine.decoder.prefill_tokens, self._distinct(batch))
            most = max(most, decode_bytes(engine.model, len(batch), width, read, sampled=sampling.temperature > 0))
        return self._measured(most)

    def _measured(self, more: int) -> tuple[int | None, str]:
        """Peak memory with ``more`` bytes in addition to what is held now, and where: on the GPU, or in this process."""
        if self._engine.device.startswith("cuda"):
            import torch

            now, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
            return max(peak, now + more), "GPU"
        held, before = resident_now(), resident_peak()
        return (None if held is None or before is None else max(before, held + more)), ""


def _local(engine: Engine) -> LocalEngine | None:
    from evenhand.engines.local import LocalEngine

    inner: Any = getattr(engine, "engine", engine)  # behind its cache
    return inner if isinstance(inner, LocalEngine) else None


def measure_on(engines: Iterable[Engine]) -> None:
    """Let the estimates of local engines be probed from here on. Others say that they are not."""
    for local in map(_local, engines):
        if local is not None:
            local.prober = Prober(local)


@contextmanager
def unprobed(engine: Engine) -> Iterator[None]:
    """Estimates of calls and tokens alone for the time of the block."""
    local = _local(engine)
    before = local.prober if local is not None else None
    if local is not None:
        local.prober = None
    try:
        yield
    finally:
        if local is not None:
            local.prober = before


def score_cost(engine: Engine, spans: Callable[[], Sequence[Span]], cost: Estimate) -> Estimate:
    """``cost`` as it is or, where the engine is to be probed, for what its cache does not hold, with time and memory."""
    prober: Prober | None = getattr(engine, "prober", None)
    if prober is None:
        return cost
    asked = spans()
    left: Sequence[Span] = getattr(engine, "unscored", lambda all_of_them: all_of_them)(asked)
    share = len(left) / len(asked) if asked else 0.0
    part = replace(cost, calls=len(left), prompt_tokens=round(cost.prompt_tokens * share)) if share < 1 else cost
    return prober.scores(left, part)


def choice_cost(engine: Engine, questions: Callable[[], Sequence[Question]], total: int, cost: Estimate) -> Estimate:
    """``cost`` as it is or, where the engine is to be probed, with time and memory. Choices are in no cache."""
    prober: Prober | None = getattr(engine, "prober", None)
    return cost if prober is None else prober.choices(questions(), total, cost)
