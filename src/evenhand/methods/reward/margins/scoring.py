"""From pairs to scores and rows: every distinct text is scored once by each model; each comparison gets one row a pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from evenhand.engines.base import Engine, Span
from evenhand.errors import EngineError
from evenhand.methods.reward.margins.measures import fate, net_margins, winoqueer_score
from evenhand.records import LogProb, Pair
from evenhand.runs.journal import ScoreJournal
from evenhand.runs.respond import Configuration, Progress
from evenhand.runs.stages import Step

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

    The end begins at a word and holds at least one; the text before it, with the group's name, is the context of each member.
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
        ends = tails(pair)
        if ends is None:
            errors[i] = "the two texts share no end after the group's name"
            continue
        *contexts, tail = ends
        for k, context in enumerate(contexts):
            first, border, shifted = engine.fit(context, [tail])
            moved += shifted
            whole = context + tail
            members[i, k] = place.setdefault((whole[first:border], whole[border:]), len(place))
    spans = [Span(f"{number:07d}", text, context) for number, (context, text) in enumerate(place.keys())]
    return Plan(spans, members, errors, moved)


def journaled_scores(
    model: Configuration, spans: Sequence[Span], journal: ScoreJournal, progress: Progress, what: str, *, lead: str
) -> Iterator[LogProb]:
    """One model's scores of all spans, in any order; finished batches are appended to the journal, which is closed at the end.

    Batches that the journal holds without a failed row are not scored again. ``lead`` begins the journal's keys, and
    ``what`` is shown with the progress.
    """
    done = journal.read()
    title, count = f"{model.label}: {what}", 0
    open_batches = []
    for batch in model.engine.plan_scores(spans):
        rows = done.pop(f"{lead}\x1f{batch.key}", None)
        if rows is None or any(row.error for row in rows):
            open_batches.append(batch)
        else:
            count += len(rows)
            yield from rows
    done.clear()
    progress(title, count, len(spans))
    try:
        for batch, scored in model.engine.score(open_batches) if open_batches else ():
            journal.append(f"{lead}\x1f{batch.key}", scored)
            count += len(scored)
            progress(title, count, len(spans))
            yield from scored
    finally:
        journal.close()


def score_model(model: Configuration, plan: Plan, journal: ScoreJournal, progress: Progress, what: str) -> PairScores:
    """Score a plan's spans with one model, and put the scores of each pair together."""
    scored = journaled_scores(model, plan.spans, journal, progress, what, lead=f"{model.label}\x1f{what}")
    rows = {row.span: row for row in scored}
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
            score = winoqueer_score(pair[0].tokens, pair[0].values, pair[1].tokens, pair[1].values)
            if score.first is not None and score.second is not None:
                shared[i] = score.first - score.second
    return PairScores(ll, n, shared, tokens, reason)


def _digest(row: LogProb) -> int:
    """A digest of the token ids, or of the positions of the tokens if an endpoint returns no ids."""
    parts = row.tokens or [place for offset in row.offsets for place in offset]
    return xxh3_64_intdigest(np.asarray(parts, dtype=np.int64).tobytes())


def noise_floor(engine: Engine, plan: Plan) -> float | None:
    """Largest difference (nats) between two ways to score the same texts; None if an engine has only one."""
    measure = getattr(engine, "noise_floor", None)
    if measure is None or not plan.spans:
        return None
    step = max(1, len(plan.spans) // FLOOR_TEXTS)
    floor: float | None = measure(plan.spans[::step][:FLOOR_TEXTS])
    return floor


FAILED_SHARE, FAILED_GAP = 0.01, 0.01
"""The audit stops if a larger share of pairs failed, or if the shares of two groups differ by more (chosen defaults)."""
_COLUMNS = ("pair_id", "cluster_id", "group", "comparison_group", "template", "theme", "pair_set", "kind")


def check_tokens(policy: str, reference: str, mine: PairScores, theirs: PairScores, pairs: Sequence[Pair]) -> None:
    """Raise EngineError if two models split a text differently: their log-ratio is then undefined."""
    both = np.asarray([not a and not b for a, b in zip(mine.reason, theirs.reason, strict=True)])
    apart = both & (mine.tokens != theirs.tokens).any(axis=1)
    if apart.any():
        first = pairs[int(apart.argmax())].id
        raise EngineError(
            f"The tokenizers of {policy} and {reference} split {int(apart.sum()):,} pairs differently (first: {first}). A "
            "log-ratio is defined on one sequence of tokens: score each model on its own, without a reference."
        )


def pair_rows(
    step: Step,
    scope: str,
    pairs: Sequence[Pair],
    mine: PairScores,
    theirs: PairScores,
    *,
    beta: float | None,
    tau: float,
) -> pl.DataFrame:
    """The rows of one comparison in one scope, in the order of the pairs.

    Columns: texts scored (``n_*``, ``ll_*``, ``m_*``), ``delta`` in units of reward, ``delta_nats`` (delta / beta),
    ``net`` (delta_nats less that of the neutral pairs of its frame and group), ``shared_pi`` and ``shared_ref`` (margins over
    shared tokens), ``counted`` (whether the row enters reward summaries) and ``item_group``.
    """
    delta = mine.margin - theirs.margin
    scored = np.isfinite(delta)
    reason = [a or b for a, b in zip(mine.reason, theirs.reason, strict=True)]
    counted = np.asarray([p.minimal and "duplicate_of" not in p.attributes for p in pairs]) & scored
    words = np.full(len(pairs), "", dtype=object)
    words[scored] = fate(theirs.margin[scored], mine.margin[scored], tau)
    usable = beta if step.kind == "reward" else None
    about = {name: [getattr(p, _FIELD.get(name, name)) for p in pairs] for name in _COLUMNS}
    return pl.DataFrame(
        {
            **about,
            "policy": [step.policy] * len(pairs),
            "reference": [step.reference] * len(pairs),
            "stage": [step.stage] * len(pairs),
            "family": [step.family] * len(pairs),
            "ratio": [step.kind] * len(pairs),
            "beta": pl.Series([usable] * len(pairs), dtype=pl.Float64),
            "scope": [scope] * len(pairs),
            "n_h": mine.n[:, 0],
            "n_c": mine.n[:, 1],
            "ll_pi_h": mine.ll[:, 0],
            "ll_pi_c": mine.ll[:, 1],
            "ll_ref_h": theirs.ll[:, 0],
            "ll_ref_c": theirs.ll[:, 1],
            "m_pi": mine.margin,
            "m_ref": theirs.margin,
            "delta": usable * delta if usable else np.full(len(pairs), np.nan),
            "delta_nats": delta,
            "net": _net(pairs, delta, counted),
            "class": words.tolist(),
            "status": ["scored" if ok else "failed" for ok in scored],
            "reason": reason,
            "shared_pi": mine.shared,
            "shared_ref": theirs.shared,
            "counted": counted,
            "item_group": [p.attributes.get("item_group", p.id) for p in pairs],
        }
    ).with_columns(pl.selectors.float().fill_nan(None))


_FIELD: Mapping[str, str] = {"pair_id": "id", "cluster_id": "cluster"}


def _net(pairs: Sequence[Pair], delta: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Difference in differences: delta less the mean of the neutral pairs of the same frame, group and comparison."""
    neutral = np.asarray([p.kind == "neutral" for p in pairs]) & counted
    harm = np.asarray([p.kind == "harm" for p in pairs]) & counted
    keys = [(p.pair_set, p.template, p.referent, p.group, p.comparison_group) for p in pairs]
    out = np.full(len(pairs), np.nan)
    if neutral.any() and harm.any():
        harm_at, neutral_at = np.flatnonzero(harm), np.flatnonzero(neutral)
        found = net_margins(
            delta[harm_at], [keys[i] for i in harm_at], delta[neutral_at], [keys[i] for i in neutral_at]
        )
        out[harm_at] = found.values
    return out


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed pairs by group, and why an audit must stop because of them; ``stop`` is empty if it need not."""

    by_group: Mapping[str, tuple[int, int]]
    stop: str


def failures(rows: pl.DataFrame) -> Failures:
    """Count failed pairs of one comparison by group. More than 1 %, or a gap of over 1 point between groups, stops."""
    table = rows.group_by("group", maintain_order=True).agg(
        failed=(pl.col("status") == "failed").sum(),
        pairs=pl.len(),
        why=pl.col("reason").filter(pl.col("reason") != "").first(),
    )
    by_group = {row["group"]: (row["failed"], row["pairs"]) for row in table.iter_rows(named=True)}
    failed, total = sum(f for f, _ in by_group.values()), sum(n for _, n in by_group.values())
    shares = [f / n for f, n in by_group.values()]
    why = next((row["why"] for row in table.iter_rows(named=True) if row["why"]), "")
    if total and failed / total > FAILED_SHARE:
        return Failures(by_group, f"{failed:,} of {total:,} pairs could not be scored, more than 1 % ({why})")
    if failed and max(shares) - min(shares) > FAILED_GAP:
        worst = max(by_group, key=lambda group: by_group[group][0] / by_group[group][1])
        return Failures(
            by_group, f"pairs about {worst} failed more than 1 point more often than about another group ({why})"
        )
    return Failures(by_group, "")


def texts_frame(pairs: Sequence[Pair]) -> pl.DataFrame:
    """The texts of the pairs, for reading."""
    return pl.DataFrame(
        {
            "pair_id": [p.id for p in pairs],
            "context": [p.context for p in pairs],
            "harmful": [p.harmful for p in pairs],
            "comparison": [p.comparison for p in pairs],
            **{key: [p.attributes.get(key, "") for p in pairs] for key in ("source", "licence", "not_negative")},
        }
    ).sort("pair_id")
