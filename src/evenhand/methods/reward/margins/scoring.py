"""From pairs to scores: every distinct text once for each model, journaled batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from evenhand.engines.base import Engine, Span
from evenhand.methods.reward.margins.statistics.shared_tokens import winoqueer_score
from evenhand.records import LogProb, Pair
from evenhand.runs.journal import ScoreJournal
from evenhand.runs.respond import Configuration, Progress

FLOOR_TEXTS = 64
"""Texts on which the noise floor is measured (a chosen default)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The distinct spans of all pairs, and which two each pair is made of, shape (pairs, 2): harmful, comparison.

    ``errors`` says why a pair cannot be scored at all; ``moved`` counts the pairs whose border a token moved, ``cut`` those
    whose context was shortened.
    """

    spans: list[Span]
    members: NDArray[np.int64]
    errors: list[str]
    moved: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class PairScores:
    """One model's scores of all pairs, arrays over pairs: log-probability and token count of each member, NaN and 0 where a
    member failed, ``reason`` then says why. ``shared`` is the margin over the tokens that both members share (WinoQueer's
    metric, rounded to 3 decimals), NaN where they share none. ``tokens`` are digests of the members' token ids.
    """

    ll: NDArray[np.float64]
    n: NDArray[np.int64]
    shared: NDArray[np.float64]
    tokens: NDArray[np.uint64]
    reason: list[str]

    @property
    def margin(self) -> NDArray[np.float64]:
        """M = ln p(harmful) - ln p(comparison), nats."""
        return np.asarray(self.ll[:, 0] - self.ll[:, 1])


def make_plan(engine: Engine, texts: Sequence[tuple[str, str, str]]) -> Plan:
    """Spans of (context, harmful, comparison) triples; the border between context and text is alike in both members."""
    if (echo := getattr(engine, "echo", None)) is not None:  # an endpoint splits many texts faster at once
        echo([c + text for c, *pair in texts for text in pair if c])
    place: dict[tuple[str, str], int] = {}
    members = np.zeros((len(texts), 2), dtype=np.int64)
    errors = [""] * len(texts)
    moved = cut = 0
    for i, (context, *pair) in enumerate(texts):
        first, border, shifted = engine.fit(context, pair)
        moved, cut = moved + shifted, cut + (first > 0)
        for k, text in enumerate(pair):
            whole = context + text
            if not whole[border:].strip():
                errors[i] = "the text is empty"
            members[i, k] = place.setdefault((whole[first:border], whole[border:]), len(place))
    spans = [Span(f"{number:07d}", text, context) for number, (context, text) in enumerate(place.keys())]
    return Plan(spans, members, errors, moved, cut)


def tails(pair: Pair) -> tuple[str, str, str] | None:
    """(harmful's context, comparison's context, the end that both share) for the scope ``continuation``; None without one.

    The end begins at a word and holds at least one; what stands before it, the group's name included, is each one's context.
    """
    a, b = pair.context + pair.harmful, pair.context + pair.comparison
    same = next(
        (i for i, (x, y) in enumerate(zip(reversed(a), reversed(b), strict=False)) if x != y), min(len(a), len(b))
    )
    end = a[len(a) - same :]
    start = end.find(" ")
    if start < 0 or not end[start:].strip():
        return None
    tail = end[start:]
    return a[: len(a) - len(tail)], b[: len(b) - len(tail)], tail


def continuation_plan(engine: Engine, pairs: Sequence[Pair]) -> Plan:
    """The ends of the pairs, each in its own member's context."""
    place: dict[tuple[str, str], int] = {}
    members = np.zeros((len(pairs), 2), dtype=np.int64)
    errors = [""] * len(pairs)
    moved = 0
    for i, pair in enumerate(pairs):
        found = tails(pair)
        if found is None:
            errors[i] = "the two texts share no end after the group's name"
            continue
        *contexts, tail = found
        for k, context in enumerate(contexts):
            first, border, shifted = engine.fit(context, [tail])
            moved += shifted
            whole = context + tail
            members[i, k] = place.setdefault((whole[first:border], whole[border:]), len(place))
    spans = [Span(f"{number:07d}", text, context) for number, (context, text) in enumerate(place.keys())]
    return Plan(spans, members, errors, moved)


def score_model(model: Configuration, plan: Plan, journal: ScoreJournal, progress: Progress, what: str) -> PairScores:
    """Score a plan's spans with one model. Batches that the journal holds without a failed row are not scored again."""
    rows: dict[str, LogProb] = {}
    done = journal.read()
    batches = model.engine.plan_scores(plan.spans)
    key_of = {batch.key: f"{model.label}\x1f{what}\x1f{batch.key}" for batch in batches}
    open_batches = []
    for batch in batches:
        held = done.get(key_of[batch.key])
        if held is None or any(row.error for row in held):
            open_batches.append(batch)
        else:
            rows.update((row.span, row) for row in held)
    done.clear()
    title = f"{model.label}: {what}"
    progress(title, len(rows), len(plan.spans))
    try:
        for batch, scored in model.engine.score(open_batches) if open_batches else ():
            journal.append(key_of[batch.key], scored)
            rows.update((row.span, row) for row in scored)
            progress(title, len(rows), len(plan.spans))
    finally:
        journal.close()
    return _pair_scores([rows[span.key] for span in plan.spans], plan)


def _pair_scores(rows: Sequence[LogProb], plan: Plan) -> PairScores:
    count = len(plan.members)
    ll = np.full((count, 2), np.nan)
    n = np.zeros((count, 2), dtype=np.int64)
    shared = np.full(count, np.nan)
    tokens = np.zeros((count, 2), dtype=np.uint64)
    reason = list(plan.errors)
    for i in range(count):
        if reason[i]:
            continue
        pair = [rows[k] for k in plan.members[i]]
        reason[i] = next((row.error or "the score is not a number" for row in pair if row.total is None), "")
        for k, row in enumerate(pair):
            ll[i, k] = np.nan if row.total is None else row.total
            n[i, k] = len(row.values)
            tokens[i, k] = _digest(row)
        if not reason[i] and pair[0].tokens and pair[1].tokens:
            found = winoqueer_score(pair[0].tokens, pair[0].values, pair[1].tokens, pair[1].values)
            if found.first is not None and found.second is not None:
                shared[i] = found.first - found.second
    return PairScores(ll, n, shared, tokens, reason)


def _digest(row: LogProb) -> int:
    """Of the token ids; of where tokens lie, where an endpoint does not tell ids."""
    parts = row.tokens or [place for offset in row.offsets for place in offset]
    return xxh3_64_intdigest(np.asarray(parts, dtype=np.int64).tobytes())


def noise_floor(engine: Engine, plan: Plan) -> float | None:
    """Largest difference (nats) between two ways to score the same texts; None where an engine has only one."""
    measure = getattr(engine, "noise_floor", None)
    if measure is None or not plan.spans:
        return None
    step = max(1, len(plan.spans) // FLOOR_TEXTS)
    found: float | None = measure(plan.spans[::step][:FLOOR_TEXTS])
    return found
