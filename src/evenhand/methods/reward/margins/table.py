"""One row a (comparison, scope, pair): the record of section 17 of the reward specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evenhand.errors import EngineError
from evenhand.methods.reward.margins.scoring import PairScores
from evenhand.methods.reward.margins.statistics.controls import net_margins
from evenhand.methods.reward.margins.statistics.reward import fate
from evenhand.records import Pair
from evenhand.runs.stages import Step

FAILED_SHARE, FAILED_GAP = 0.01, 0.01
"""More failed pairs than this, or rates this far apart between groups, stop the audit (chosen defaults)."""
_COLUMNS = ("pair_id", "cluster_id", "group", "comparison_group", "template", "theme", "pair_set", "kind")


def check_tokens(policy: str, reference: str, mine: PairScores, theirs: PairScores, pairs: Sequence[Pair]) -> None:
    """Raise EngineError where two models split a text differently: their log-ratio is then not defined."""
    both = np.asarray([not a and not b for a, b in zip(mine.reason, theirs.reason, strict=True)])
    apart = both & (mine.tokens != theirs.tokens).any(axis=1)
    if apart.any():
        first = pairs[int(apart.argmax())].id
        raise EngineError(
            f"The tokenizers of {policy} and {reference} split {int(apart.sum()):,} pairs differently (first: {first}). A "
            "log-ratio is defined on one sequence of tokens: score each model for itself, without a reference."
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

    Besides the record of the specification: ``pair_set``, ``kind``, ``stage``, ``family``, ``delta_nats`` (delta / beta),
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
    """Failed pairs by group, and why an audit must stop for them; ``stop`` is empty where it need not."""

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
            by_group, f"pairs about {worst} failed more than 1 point oftener than about another group ({why})"
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
