"""The table of harm drift: every pair with its parses, harm measures on two views, the judge's verdict and what follows.

Specification 3.1 to 3.5. Drift is looked for in the rationale; where one side has no conclusion or declines, in the full text
of both sides, and such a pair is flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from evenhand.errors import BadInput
from evenhand.graders.content import TextClassifier
from evenhand.graders.normalise import clean_text
from evenhand.methods.dart.difference.data.cases import Case
from evenhand.methods.dart.difference.data.policy import cap
from evenhand.methods.dart.difference.graders.conclusion import Parsed, parse
from evenhand.methods.dart.drift.graders.harm import harm_measures
from evenhand.methods.dart.drift.graders.verdict import Comparison, DriftJudge, DriftVerdict
from evenhand.methods.dart.drift.outputs import Outputs, Pairing
from evenhand.methods.dart.drift.statistics.drift import TAU, Rule, candidates, combine, severity_bin

RULES: tuple[Rule, ...] = ("screen_then_judge", "judge_only", "both")

VIEWS = ("rationale", "full")
SIDES = ("baseline", "candidate")
View = Literal["rationale", "full"]
NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Auditor:
    """What looks for drift: harm classifiers, and a judge (None: the screen decides, and severities are its bins).

    ``judge_all`` has every pair judged, so that the counts under all three rules are known; without it the judge sees the
    screen's candidates alone, and only ``screen_then_judge`` is known. ``second`` is a further grader of every pair, told
    beside the judge and never combined with it.
    """

    scorers: tuple[TextClassifier, ...]
    judge: DriftJudge | None
    tau: float = TAU
    rule: Rule = "screen_then_judge"
    judge_all: bool = True
    strict: bool = True
    second: DriftJudge | None = None


def _parse(text: str, finish_reason: str, policy: bool) -> Parsed:
    """Both parses; under the policy the rationale is cut to its caps."""
    found = parse(text, finish_reason)
    return replace(found, rationale=cap(found.rationale)) if policy else found


def _views(parses: tuple[Parsed, Parsed], texts: tuple[str, str]) -> tuple[View, bool, tuple[str, str]]:
    """(view, flagged, the two texts that are compared)."""
    if all(parsed.tolerant for parsed in parses):
        return "rationale", False, (parses[0].rationale, parses[1].rationale)
    return "full", True, texts


def drift_table(
    cases: Sequence[Case], baseline: Outputs, candidate: Outputs, pairing: Pairing, auditor: Auditor
) -> pl.DataFrame:
    """One row a pair, in the order of the cases. Columns are described in docs/difference.md.

    ``drift`` is the verdict under the auditor's rule: null where a judge failed or a text is missing, never "no drift".
    Raises BadInput for a classifier's value outside 0 to 1 (in strict mode).
    """
    by_id = {case.id: case for case in cases}
    policy = bool((baseline.decoding or {}).get("policy"))
    rows: list[dict[str, Any]] = []
    for key in pairing.keys:
        case, a, b = by_id[key[0]], baseline.rows[key], candidate.rows[key]
        parses = _parse(a.text, a.finish_reason, policy), _parse(b.text, b.finish_reason, policy)
        view, flagged, texts = _views(parses, (a.text, b.text))
        empty = [name for name, text in zip(SIDES, texts, strict=True) if not clean_text(text).strip()]
        rows.append(
            {
                "case": case.id, "repetition": key[1], "benchmark": case.benchmark, "kind": case.kind,
                "gold": case.gold or "", "group": case.group, "scenario": case.scenario, "split": case.split,
                "wording": case.attributes.get("wording", ""), "prompt": case.prompt,
                "baseline_text": a.text, "candidate_text": b.text,
                "baseline_label": parses[0].tolerant or "", "candidate_label": parses[1].tolerant or "",
                "baseline_rationale": parses[0].rationale, "candidate_rationale": parses[1].rationale,
                "baseline_view": texts[0], "candidate_view": texts[1], "view": view, "flagged": flagged,
                "missing": f"the {' and the '.join(empty)} rationale is empty" if empty else "",
            }
        )  # fmt: skip
    _measure(rows, auditor)
    _judge(rows, auditor)
    return pl.DataFrame(rows, schema=_schema(auditor.scorers), orient="row")


def _text(row: dict[str, Any], side: str, view: str) -> str:
    return str(row[f"{side}_rationale" if view == "rationale" else f"{side}_text"])


def _measure(rows: list[dict[str, Any]], auditor: Auditor) -> None:
    """Harm of both views of both sides under every classifier; the compared view decides delta and candidacy."""
    parts = [(view, side, [_text(row, side, view) for row in rows]) for view in VIEWS for side in SIDES]
    n = len(rows)
    try:
        measured = harm_measures(
            [text for _, _, texts in parts for text in texts], auditor.scorers, strict=auditor.strict
        )
    except BadInput as error:
        if error.row is None:
            raise
        part, k = divmod(error.row - 1, n)  # its rows are those of every view and side in one list
        view, side, _ = parts[part]
        raise BadInput(f"{error.what} It is the {side}'s {view} text on case '{rows[k]['case']}'.") from None
    h: dict[str, list[np.ndarray[Any, Any]]] = {view: [] for view in VIEWS}
    for place, (view, side, _) in enumerate(parts):
        own = slice(place * n, (place + 1) * n)
        h[view].append(measured.h[own])
        for column, name in enumerate(measured.names):
            for row, value in zip(rows, measured.values[own, column], strict=True):
                row[f"{name}|{view}|{side}"] = _number(value)
    base = np.array([h[row["view"]][0][k] for k, row in enumerate(rows)])
    new = np.array([h[row["view"]][1][k] for k, row in enumerate(rows)])
    found = candidates(base, new, auditor.tau)
    for k, (row, hit) in enumerate(zip(rows, found.decided, strict=True)):
        row["harm_baseline"], row["harm_candidate"] = _number(base[k]), _number(new[k])
        row["delta"] = _number(found.delta[k])
        row["candidate"] = None if row["missing"] else hit
        row["bin"] = severity_bin(float(found.delta[k]), auditor.tau) or ""


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _comparison(row: dict[str, Any]) -> Comparison:
    key = f"{row['case']}#{row['repetition']}"
    return Comparison(key, row["prompt"], row["baseline_view"], row["candidate_view"])


def _judge(rows: list[dict[str, Any]], auditor: Auditor) -> None:
    verdicts: dict[int, DriftVerdict] = {}
    if auditor.judge is not None:
        asked = [k for k, row in enumerate(rows) if not row["missing"] and (auditor.judge_all or row["candidate"])]
        compared = [_comparison(rows[k]) for k in asked]
        verdicts = dict(zip(asked, auditor.judge.compare(compared), strict=True))
    second: dict[int, bool | None] = {}
    if auditor.second is not None:
        whole = [k for k, row in enumerate(rows) if not row["missing"]]
        again = auditor.second.compare([_comparison(rows[k]) for k in whole])
        second = {k: verdict.drift for k, verdict in zip(whole, again, strict=True)}
    for k, row in enumerate(rows):
        row["second"] = second.get(k)
    screened = [row["candidate"] for row in rows]
    judged = [verdicts[k].drift if k in verdicts else None for k in range(len(rows))]
    for rule in RULES:
        drift = combine(screened, judged, rule).drift if auditor.judge else screened if rule != "judge_only" else judged
        if auditor.judge and not auditor.judge_all and rule != RULES[0]:
            drift = (None,) * len(rows)  # the judge saw the screen's choice alone
        for row, value in zip(rows, drift, strict=True):
            row[f"drift_{rule}"] = None if row["missing"] else value
    for k, row in enumerate(rows):
        verdict = verdicts.get(k)
        row["judged"] = verdict.drift if verdict else None
        row["judge_reason"] = verdict.reason if verdict else ""
        row["problem"] = verdict.problem if verdict else NOT_ASKED if auditor.judge else "no judge"
        row["drift"] = row[f"drift_{auditor.rule}"]
        drifted = row["drift"] is True
        row["category"] = verdict.category if verdict and drifted else ""
        row["severity"] = (verdict.severity or "minor") if verdict and drifted else row["bin"] if drifted else ""


def _schema(scorers: Sequence[TextClassifier]) -> dict[str, Any]:
    text = (
        "case", "benchmark", "kind", "gold", "group", "scenario", "split", "wording", "prompt", "baseline_text",
        "candidate_text", "baseline_label", "candidate_label", "baseline_view", "candidate_view", "view", "missing",
    )  # fmt: skip
    scores = [f"{s.name}|{view}|{side}" for view in VIEWS for s in scorers for side in SIDES]
    return {
        **dict.fromkeys(text[:1], pl.String),
        "repetition": pl.Int32,
        **dict.fromkeys(text[1:], pl.String),
        "flagged": pl.Boolean,
        **dict.fromkeys(scores, pl.Float64),
        **dict.fromkeys(("harm_baseline", "harm_candidate", "delta"), pl.Float64),
        "candidate": pl.Boolean,
        "bin": pl.String,
        "judged": pl.Boolean,
        "judge_reason": pl.String,
        "problem": pl.String,
        **{f"drift_{rule}": pl.Boolean for rule in RULES},
        "drift": pl.Boolean,
        "second": pl.Boolean,
        "category": pl.String,
        "severity": pl.String,
    }
