"""Pairs of two models' outputs on the same cases, and the table of them: parses, harm on two views, verdicts.

Outputs come from engines or from two files of responses, and none is lost in pairing. Drift is looked for in the rationale; if one
side has no conclusion or declines, it is looked for in the full text of both sides, and the pair is flagged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from evenhand.datasets.table import as_table, resolve
from evenhand.errors import BadInput
from evenhand.graders.content import TextClassifier
from evenhand.graders.normalise import clean_text
from evenhand.methods.dart.config import RULES, Rule
from evenhand.methods.dart.difference.answers import Parsed, parse
from evenhand.methods.dart.difference.cases import Case, read_cases
from evenhand.methods.dart.difference.items import cap
from evenhand.methods.dart.drift.harm import harm_measures
from evenhand.methods.dart.drift.judge import Comparison, DriftJudge, DriftVerdict
from evenhand.methods.dart.drift.measures import TAU, candidates, combine, severity_bin
from evenhand.records import Item, Response

Key = tuple[str, int]
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Output:
    """One model's text on one case, in one repetition; ``failed`` says why there is none."""

    text: str
    finish_reason: str = "stop"
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Outputs:
    """One model's outputs by (case id, repetition), and how they were drawn, for the check that both sides agree.

    ``decoding`` is None where a file of responses does not say.
    """

    label: str
    rows: Mapping[Key, Output]
    decoding: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Keys that both models answered, in a fixed order, and those that one of them lacks or failed on."""

    keys: tuple[Key, ...]
    failed: tuple[Key, ...]


def outputs_from(
    label: str, items: Sequence[Item], responses: Sequence[Response], decoding: Mapping[str, object]
) -> Outputs:
    """The responses of one configuration, by the case that their item asks."""
    case = {item.id: item.attributes["case"] for item in items}
    rows = {
        (case[r.item_id], r.repetition): Output(r.text, r.finish_reason, r.error if r.finish_reason == "error" else "")
        for r in responses
        if r.config == label
    }
    return Outputs(label, rows, decoding)


def read_outputs(path: Path, mapping: Mapping[str, str] | None = None) -> tuple[list[Case], Outputs]:
    """Cases and outputs of a file with one response a row: ``prompt``, ``response``, and optionally ``id``,
    ``repetition`` and the columns of a case (gold, benchmark, group, scenario).

    A response that is null failed; an empty one is an empty text. Raises BadInput, naming the row, for a missing column, an
    empty prompt or id, a repetition that is not a number, a repeated row, one id under two prompts, and rows as in
    ``read_cases``.
    """
    table = as_table(path)
    given = dict(mapping or {})
    columns = resolve(
        table, {key: value for key, value in given.items() if key in ("response", "repetition", "id")},
        required=("response",), optional=("repetition", "id"),
        aliases={"response": ("output", "text", "completion"), "id": ("row_id", "sample_id", "item_id")},
    )  # fmt: skip
    columns |= resolve(
        table, {"prompt": given["prompt"]} if "prompt" in given else None, required=("prompt",),
        aliases={"prompt": [name for name in ("question", "text") if name != columns["response"]]},
    )  # fmt: skip
    rows: dict[Key, Output] = {}
    firsts: dict[str, int] = {}
    prompts: dict[str, str] = {}
    for number, row in enumerate(table.rows(), start=1):

        def wrong(what: str, do: str = "", number: int = number) -> BadInput:
            return table.error(what, number, do=do or None)

        case = (row[columns["id"]] or "").strip() if "id" in columns else f"row-{number}"
        repetition = (row[columns["repetition"]] or "0").strip() if "repetition" in columns else "0"
        prompt, text = row[columns["prompt"]] or "", row[columns["response"]]
        if not case:
            raise wrong("The id is empty.")
        if not prompt.strip():
            raise wrong("The prompt is empty.", "Leave it out of both files.")
        if not repetition.isdecimal() or len(repetition) > _DIGITS:
            raise wrong(f"The repetition '{repetition}' is not a number.", "Count from 0.")
        key = (case, int(repetition))
        if key in rows:
            raise wrong(f"The response of '{case}', repetition {repetition}, occurs twice.")
        if prompts.setdefault(case, prompt) != prompt:
            raise wrong(f"The id '{case}' has another prompt than in row {firsts[case]}.")
        rows[key] = Output(text or "", failed="" if text is not None else "the response is missing")
        firsts.setdefault(case, number)
    once = table.frame[[number - 1 for number in firsts.values()]]
    rest = {key: value for key, value in given.items() if key not in ("response", "repetition")}
    try:
        read = read_cases(replace(table, frame=once), {**rest, "prompt": columns["prompt"]})
    except BadInput as error:  # its rows are those of the cases, not those of the file
        row_there = None if error.row is None else list(firsts.values())[error.row - 1]
        raise BadInput(error.what, file=error.file, row=row_there, do=error.do) from None
    cases = [replace(case, id=case_id) for case_id, case in zip(firsts, read.cases, strict=True)]
    return cases, Outputs(path.stem, rows)


def pair_up(cases: Sequence[Case], baseline: Outputs, candidate: Outputs) -> Pairing:
    """Pair two models' outputs on the same cases and repetitions.

    Raises BadInput where decoding differs, where a side has outputs that the other lacks, or outputs of unknown cases: an
    audit on what happens to match would hide it. Failed outputs are listed, not dropped silently.
    """
    if baseline.decoding is not None and candidate.decoding is not None and baseline.decoding != candidate.decoding:
        changed = sorted(k for k in baseline.decoding if baseline.decoding[k] != candidate.decoding.get(k))
        raise BadInput(
            f"{baseline.label} and {candidate.label} were decoded differently ({', '.join(changed)}).",
            do="Draw both with the same settings: harm drift is defined under identical decoding.",
        )
    case_ids = {case.id for case in cases}
    a, b = set(baseline.rows), set(candidate.rows)
    only = (sorted(a - b), sorted(b - a), sorted(key for key in a | b if key[0] not in case_ids))
    if any(only):
        raise BadInput(
            f"The outputs do not match: {len(only[0])} only of {baseline.label}, {len(only[1])} only of {candidate.label}, "
            f"{len(only[2])} of unknown cases; for example {next(keys[0] for keys in only if keys)}.",
            do="Give both models' responses to the same prompts and repetitions.",
        )
    order = {case.id: k for k, case in enumerate(cases)}
    keys = sorted(a, key=lambda key: (order[key[0]], key[1]))
    failed = tuple(key for key in keys if baseline.rows[key].failed or candidate.rows[key].failed)
    lost = set(failed)
    return Pairing(tuple(key for key in keys if key not in lost), failed)


VIEWS = ("rationale", "full")
SIDES = ("baseline", "candidate")
View = Literal["rationale", "full"]
NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Auditor:
    """What looks for drift: harm classifiers, and a judge (None: the screen decides, and severities are its bins).

    ``judge_all`` has every pair judged, so that the counts under all three rules are known; without it the judge sees the
    screen's candidates alone, and only ``screen_then_judge`` is known. ``second`` is a second grader of every pair, reported
    alongside the judge and never combined with it.
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
    parsed = parse(text, finish_reason)
    return replace(parsed, rationale=cap(parsed.rationale)) if policy else parsed


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
        part_rows = slice(place * n, (place + 1) * n)
        h[view].append(measured.h[part_rows])
        for column, name in enumerate(measured.names):
            for row, value in zip(rows, measured.values[part_rows, column], strict=True):
                row[f"{name}|{view}|{side}"] = _number(value)
    base = np.array([h[row["view"]][0][k] for k, row in enumerate(rows)])
    new = np.array([h[row["view"]][1][k] for k, row in enumerate(rows)])
    screened = candidates(base, new, auditor.tau)
    for k, (row, hit) in enumerate(zip(rows, screened.decided, strict=True)):
        row["harm_baseline"], row["harm_candidate"] = _number(base[k]), _number(new[k])
        row["delta"] = _number(screened.delta[k])
        row["candidate"] = None if row["missing"] else hit
        row["bin"] = severity_bin(float(screened.delta[k]), auditor.tau) or ""


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
