"""DART from end to end: distil, audit, repair, audit again, each stage from its own table so that a killed run goes on.

``inductive`` audits and repairs on the validation split and reports on the held-out test split; ``transductive`` does all on test,
as published. Their figures never share a column (docs/dart.md).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from evenhand.engines.base import Engine
from evenhand.engines.spec import open_engine
from evenhand.errors import BadInput, EngineError
from evenhand.methods.dart.config import DartConfig
from evenhand.methods.dart.difference.cases import Case, Cases, check_disjoint, published_split, scenario_split
from evenhand.methods.dart.difference.items import asked_cases, open_cases
from evenhand.methods.dart.drift.audit import ECHO, NULL_SEED, RULE_JUDGE, open_judge, open_scorers
from evenhand.methods.dart.drift.pairs import Auditor
from evenhand.methods.dart.repair.result import dart_result, write_card
from evenhand.methods.dart.repair.rows import check_weights
from evenhand.methods.dart.repair.stages import (
    AUDIT,
    DISTILLED,
    M0,
    Work,
    distilled,
    repaired,
    trained,
    training_rows,
)
from evenhand.methods.dart.repair.teacher import EngineTeacher, ScriptedTeacher, Teacher, check_shipped
from evenhand.methods.dart.repair.train import launcher_words
from evenhand.redact import public
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult
from evenhand.runs.respond import Progress
from evenhand.runs.run import Run

SPLITS = ("train", "val", "test")
OFFLINE = {"teacher": ("scripted",), "judge": (RULE_JUDGE,), "second": (ECHO, RULE_JUDGE)}
"""Values of each role that need no engine."""


def split_cases(config: DartConfig) -> tuple[Cases, dict[str, list[Case]]]:
    """The labelled cases by split. Raises BadInput for a case without a split, an empty split, and an id in two splits."""
    case_set = open_cases(config.difference_set, config.data, config.columns)
    cases = list(case_set.cases)
    if config.grouping == "row":
        split = published_split([(case.benchmark, case.condition) for case in cases])
        cases = [replace(case, split=part) for case, part in zip(cases, split, strict=True)]
    elif config.grouping == "scenario":
        cases = scenario_split(cases)
        check_disjoint(cases, by_scenario=True)
    if any(not case.split for case in cases):
        raise BadInput(
            "Some cases have no split.", file=case_set.origin, do="Give --grouping row or scenario, or a split column."
        )
    check_disjoint(cases, by_scenario=False)
    cases = [case for case in cases if case.gold is not None]
    splits: dict[str, list[Case]] = {}
    for part in SPLITS:
        in_split = Cases(tuple(case for case in cases if case.split == part), case_set.origin)
        if not in_split.cases:
            raise BadInput(f"No labelled case is in the split {part}.", file=case_set.origin)
        splits[part] = asked_cases(in_split, (part,), config.limit)
    return replace(case_set, cases=tuple(cases)), splits


def _plan(
    config: DartConfig, engines: dict[str, Engine], case_set: Cases, splits: dict[str, list[Case]]
) -> dict[str, Any]:
    sizes = {part: len(cases) for part, cases in splits.items()}
    return plan_of(
        config, {AUDIT: {"origin": case_set.origin, "checksums": dict(case_set.checksums), **sizes}}, engines, files=[config.data],
        settings={"models": [config.model]},
    )  # fmt: skip


def run_dart(
    config: DartConfig, folder: Path, *, resume: bool = False, cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> tuple[Run, AuditResult]:  # fmt: skip
    """Repair a model into one run folder: tables of every stage, adapters, findings and a model card.

    Raises BadInput for settings or files that cannot be used, EngineError for an engine that cannot serve.
    """
    weights = {name: _number(name, text) for name, text in config.weights.items()}
    check_weights(weights, config.weighting)
    if config.launcher:
        launcher_words(config.launcher)
    case_set, splits = split_cases(config)
    if config.teacher == "scripted":
        check_shipped(case_set.cases)
    options = engine_options(config)
    with closing_engines() as engines:
        engines["model"] = open_engine(config.model, options=options)
        for role, spec in (("teacher", config.teacher), ("judge", config.judge), ("second", config.second or ECHO)):
            if spec not in OFFLINE[role]:
                engines[role] = open_engine(spec, cache=cache, options=options)
        judge, second = (
            open_judge(getattr(config, role), engines.get(role), config.seed) for role in ("judge", "second")
        )
        auditor = Auditor(open_scorers(config.scorers), judge, config.tau, config.combine, second=second)
        teacher: Teacher = (
            EngineTeacher(engines["teacher"], seed=config.seed)
            if "teacher" in engines
            else ScriptedTeacher(config.seed)
        )
        shown = public(config)
        with started(folder, _plan(shown, engines, case_set, splits), resume=resume) as run:
            work = Work(run, shown, splits, teacher, auditor, options, progress, cache)
            work.own_judge = _same(config, engines)
            checkpoint: Any = engines["model"]
            result = _carried_out(work, case_set, weights, checkpoint.checkpoint.folder)
            write_card(work, result)
            run.record(result)
    return run, result


def _same(config: DartConfig, engines: dict[str, Engine]) -> bool:
    """Whether teacher and judge are one model, whatever they are called."""
    if config.teacher == config.judge:
        return True
    both = [engines[role].identity().digest for role in ("teacher", "judge") if role in engines]
    return len(both) == 2 and both[0] == both[1]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"The weight of {name} is '{text}', which is not a number.") from None


def _carried_out(work: Work, case_set: Cases, weights: dict[str, float], base: Path) -> AuditResult:
    """Every stage in its order; returns the result."""
    config = work.config
    for split in ("val", "test"):
        work.outputs(M0, split)
    distil = work.table("teacher-distil", lambda: distilled(work))
    rows = training_rows(work, distil, "distil")
    if not rows:
        raise EngineError(
            f"No explanation of the teacher {work.teacher.name} was accepted, so there is nothing to distil; the table "
            "teacher-distil says why each was dropped."
        )
    work.adapters[DISTILLED] = trained(work, base, rows, "distilled", config.rate, None)
    for split in ("val", "test"):
        work.drift(DISTILLED, split)
    work.drift(M0, "test", NULL_SEED)
    work.drift(DISTILLED, "test", NULL_SEED)
    states: dict[str, dict[str, Any]] = {}
    if config.ablation not in ("distil_only", "harm_penalty"):
        for protocol in config.protocols:
            states[protocol] = repaired(work, protocol, rows, weights, base)
    return dart_result(work, case_set, distil, states)
