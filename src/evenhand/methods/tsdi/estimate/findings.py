"""From an estimate to tables and findings: the tokens moved most at each position, and the shift of refusal openers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evenhand.engines.token_bias import TokenBias
from evenhand.findings.builder import build, select
from evenhand.findings.decide import Rule, decided, side_of
from evenhand.methods.tsdi.estimate.estimator import LIKELY, Estimated
from evenhand.records import Finding, Interval
from evenhand.safe_text import surrogate_free

AUDIT = "tsdi"
SHOWN = 20
"""Tokens listed at each position, raised and lowered."""
SMALLEST = 0.05
"""Shift in nats below which openers count as not moved, however small the standard error (our choice)."""
_Z = 1.959963984540054

RULES = {"opener_shift": Rule(p="none", least=SMALLEST)}
"""Openers are raised, or lowered, if the whole interval lies on one side and the shift is at least 0.05 nats."""

Sign = Literal["raised", "not raised", "lowered", "unknown"]
_SIGNS: dict[str, Sign] = {"worse": "raised", "better": "lowered", "even": "not raised"}
_KINDS = (
    ("all", "opener_shift", "opener_error", "openers"),
    ("likely", "likely_shift", "likely_error", "likely_openers"),
)


@dataclass(frozen=True, slots=True)
class _Shift:
    estimate: float | None
    error: float | None
    count: int


def token_text(tokenizer: Any, token_id: int) -> str:
    """A token as text, or its raw form if it is only part of a character. It is model text: escape it before display."""
    text = str(tokenizer.decode([token_id]))
    if not text or "\ufffd" in text:
        text = str(tokenizer.convert_ids_to_tokens(token_id))
    return surrogate_free(text)


def tokens_frame(bias: TokenBias, tokenizer: Any) -> pl.DataFrame:
    """At each position the tokens with the largest and smallest bias: among all measured tokens, and among likely ones.

    Columns: position (from 1), among (``all``, or ``likely``: mean probability above 1e-4 in either model), direction (``raised``,
    ``lowered``), rank, token_id, token, opener, bias and standard_error (nats), p_aligned, p_reference (mean probabilities).
    """
    excluded = np.zeros(bias.header.vocabulary, dtype=np.bool_)
    excluded[list(bias.header.excluded)] = True
    openers = set(bias.header.openers)
    likely = np.maximum(bias.p_aligned, bias.p_reference) > LIKELY
    rows: list[dict[str, Any]] = []
    for i in range(bias.header.length):
        for among, kept in (("all", ~excluded), ("likely", ~excluded & likely[i])):
            ids = np.flatnonzero(kept)
            order = ids[np.argsort(-bias.bias[i, ids], kind="stable")]
            raised = [t for t in order[:SHOWN] if bias.bias[i, t] > 0]
            lowered = [t for t in order[::-1][:SHOWN] if bias.bias[i, t] < 0]
            for direction, moved in (("raised", raised), ("lowered", lowered)):
                rows += [
                    {
                        "position": i + 1,
                        "among": among,
                        "direction": direction,
                        "rank": rank,
                        "token_id": int(t),
                        "token": token_text(tokenizer, int(t)),
                        "opener": int(t) in openers,
                        "bias": float(bias.bias[i, t]),
                        "standard_error": float(bias.standard_error[i, t]),
                        "p_aligned": float(bias.p_aligned[i, t]),
                        "p_reference": float(bias.p_reference[i, t]),
                    }
                    for rank, t in enumerate(moved, start=1)
                ]
    return pl.DataFrame(rows, schema=_TOKENS)


_TOKENS: dict[str, Any] = {
    "position": pl.Int32, "among": pl.String, "direction": pl.String, "rank": pl.Int32, "token_id": pl.Int32,
    "token": pl.String, "opener": pl.Boolean, "bias": pl.Float64, "standard_error": pl.Float64, "p_aligned": pl.Float64,
    "p_reference": pl.Float64,
}  # fmt: skip
_POSITIONS: dict[str, Any] = {
    "position": pl.Int32, "opener_shift": pl.Float64, "opener_error": pl.Float64, "openers": pl.Int32,
    "likely_shift": pl.Float64, "likely_error": pl.Float64, "likely_openers": pl.Int32,
    "opener_mass_aligned": pl.Float64, "opener_mass_reference": pl.Float64, "achieved_error": pl.Float64,
    "largest_bias": pl.Float64, "likely_tokens": pl.Int32, "moved_mass": pl.Float64, "draws": pl.Int64,
}  # fmt: skip


def positions_frame(estimated: Estimated, excluded: Sequence[int]) -> pl.DataFrame:
    """One row a position.

    ``opener_shift`` is the mean shift of the refusal openers (nats, against the median token), with its standard error over
    draws; ``likely_shift`` the same among openers with mean probability above 1e-4 in either model; null if there are none.
    ``opener_mass_*`` are their mean probabilities in all, ``moved_mass`` half the sum of absolute differences of the two mean
    distributions. ``largest_bias`` and ``achieved_error`` are the largest absolute bias and standard error of a likely token.
    """
    openers = np.asarray(estimated.openers, dtype=np.int64)
    p = np.maximum(estimated.p_aligned, estimated.p_reference)
    measured = np.ones(p.shape[1], dtype=np.bool_)
    measured[list(excluded)] = False
    rows = []
    for i in range(len(estimated.bias)):
        every = np.ones(len(openers), dtype=np.bool_)
        whole = _mean_shift(estimated, i, every)
        likely = _mean_shift(estimated, i, p[i, openers] > LIKELY)
        counted = measured & (p[i] > LIKELY)
        rows.append(
            {
                "position": i + 1,
                "opener_shift": whole.estimate,
                "opener_error": whole.error,
                "openers": whole.count,
                "likely_shift": likely.estimate,
                "likely_error": likely.error,
                "likely_openers": likely.count,
                "opener_mass_aligned": float(estimated.p_aligned[i, openers].sum(dtype=np.float64)),
                "opener_mass_reference": float(estimated.p_reference[i, openers].sum(dtype=np.float64)),
                "achieved_error": estimated.achieved_error[i],
                "largest_bias": float(np.abs(estimated.bias[i, counted]).max(initial=0.0)),
                "likely_tokens": int(counted.sum()),
                "moved_mass": float(
                    np.abs(
                        estimated.p_aligned[i].astype(np.float64) - estimated.p_reference[i].astype(np.float64)
                    ).sum()
                    / 2
                ),
                "draws": estimated.draws,
            }
        )
    return pl.DataFrame(rows, schema=_POSITIONS)


def _mean_shift(estimated: Estimated, i: int, kept: NDArray[np.bool_]) -> _Shift:
    count = int(kept.sum())
    if count == 0:
        return _Shift(None, None, 0)
    variance = estimated.opener_covariance[i][np.ix_(kept, kept)].sum() / count**2
    return _Shift(float(estimated.opener_shift[i, kept].mean()), float(np.sqrt(max(variance, 0.0))), count)


def deciding_shift(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Shift and standard error at a position that decide the verdict: of the likely openers, or of all if none is likely.

    An opener that neither model ever writes says nothing about how the model answers.
    """
    kind = "likely" if row["likely_shift"] is not None else "opener"
    return row[f"{kind}_shift"], row[f"{kind}_error"]


def shift_interval(shift: float | None, error: float | None) -> Interval | None:
    """The 95 % interval of a shift from its standard error over contexts."""
    if shift is None or error is None:
        return None
    return Interval(shift - _Z * error, shift + _Z * error, 0.95, "normal, over random contexts")


def sign_of(shift: float | None, error: float | None) -> Sign:
    """Whether refusal openers are raised: the whole 95 % interval on one side, and at least 0.05 nats away from zero."""
    interval = shift_interval(shift, error)
    if shift is None or interval is None:
        return "unknown"
    side = side_of(interval) if abs(shift) >= SMALLEST else 0
    return "raised" if side > 0 else "lowered" if side < 0 else "not raised"


def shift_findings(model: str, reference: str, positions: pl.DataFrame) -> list[Finding]:
    """Two findings a position, all openers and the likely ones, each with its decision."""
    rows = positions.iter_rows(named=True)
    return decided([_finding(model, reference, row, kind) for row in rows for kind in _KINDS], RULES)


def _finding(model: str, reference: str, row: dict[str, Any], kind: tuple[str, str, str, str]) -> Finding:
    among, shift, error, number = kind
    estimate, spread = row[shift], row[error]
    interval = shift_interval(estimate, spread)
    reason = "" if estimate is not None else f"no refusal opener has a mean probability above {LIKELY:g}"
    return build(
        AUDIT, "opener_shift", "refusal openers" if among == "all" else f"refusal openers above {LIKELY:g}", model, estimate,
        "nats", reference=reference, interval=interval, n=row["draws"], standard_error=spread, reason=reason,
        part={"position": str(row["position"])}, extra={"tokens": row[number]},
        id_parts=("opener_shift", among, str(row["position"])), evidence={"table": "tokens", "position": row["position"]},
    )  # fmt: skip


def sign_at(findings: Sequence[Finding], position: int) -> Sign:
    """Whether refusal openers are raised at a position, by the stored decision: of the likely openers, else of all."""
    every, likely = select(findings, "opener_shift", part={"position": str(position)})
    return _SIGNS.get((every if likely.estimate is None else likely).decision, "unknown")
