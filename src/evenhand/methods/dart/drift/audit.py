"""The drift audit: did tuning make a model's explanations more harmful, on the same prompts under identical decoding?

After DART (arXiv 2604.16845); docs/difference.md says what was published and what is a chosen default. BASELINE and CANDIDATE
are engine specs, or two files of responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from evenhand.engines.base import Engine, Estimate, Sampling
from evenhand.engines.probing import measure_on
from evenhand.engines.spec import open_engine
from evenhand.errors import BadInput
from evenhand.methods.dart.config import DriftConfig, is_file
from evenhand.methods.dart.difference.cases import Case
from evenhand.methods.dart.difference.items import ANALYSIS, asked_cases, items_of, open_cases
from evenhand.methods.dart.drift.echo import EchoGrader
from evenhand.methods.dart.drift.findings import DriftBuilder, drift_findings
from evenhand.methods.dart.drift.harm import RuleJudge
from evenhand.methods.dart.drift.judge import DriftJudge, ModelJudge
from evenhand.methods.dart.drift.pairs import (
    Auditor,
    Outputs,
    Pairing,
    drift_table,
    outputs_from,
    pair_up,
    read_outputs,
)
from evenhand.methods.dart.drift.verdict import drift_caveats, drift_headlines, drift_verdict
from evenhand.redact import public
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult
from evenhand.runs.respond import Announce, Configuration, Progress, requests_for, respond
from evenhand.runs.run import Run
from evenhand.runs.tables import write_table
from evenhand.wording import ORGANISM_NOTICE, is_organism

if TYPE_CHECKING:
    from evenhand.graders.content import TextClassifier


AUDIT = "drift"
RULE_JUDGE, ECHO = "rule", "echo"
OFFLINE_JUDGES: dict[str, Callable[[], DriftJudge]] = {RULE_JUDGE: RuleJudge, ECHO: EchoGrader}
NULL_SEED = 1_000_003
"""Added to the seed when a model is drawn again: for the null control, and for the no-op of a repair."""


def open_scorers(specs: Sequence[str]) -> tuple[TextClassifier, ...]:
    """The harm classifiers of these specs. Raises BadInput for a spec that names no label of its model exactly."""
    from evenhand.graders.content import open_classifier

    return tuple(open_classifier(spec) for spec in specs)


def open_judge(spec: str | None, engine: Engine | None, seed: int) -> DriftJudge | None:
    """An offline judge by its name, a model's judge on an opened engine, or none."""
    if spec is None:
        return None
    if spec in OFFLINE_JUDGES:
        return OFFLINE_JUDGES[spec]()
    if engine is None:
        raise BadInput(f"No engine was opened for the judge '{spec}'.")
    return ModelJudge(engine, seed)


def draw(
    engine: Engine, label: str, cases: Sequence[Case], sampling: Sampling, repetitions: int, run: Run, audit: str, stage: str,
    progress: Progress, *, policy: bool = False,
) -> Outputs:  # fmt: skip
    """One model's analyses of the cases, journaled as ``stage``; a resumed run draws only what is missing."""
    items = items_of(cases, (ANALYSIS,), policy=policy)
    responses = respond(
        [Configuration(label, engine)], items, repetitions, sampling, run.journal(audit, stage),
        lambda what, done, total: progress(f"{what} · {stage}", done, total),
    )  # fmt: skip
    decoding = {**sampling.model_dump(mode="json"), "repetitions": repetitions, "policy": policy}
    return outputs_from(label, items, responses, decoding)


def _plan(config: DriftConfig, engines: dict[str, Engine], cases: Sequence[Case], origin: str) -> dict[str, Any]:
    files = [Path(spec) for spec in (config.baseline, config.candidate) if is_file(spec)]
    return plan_of(
        config, {AUDIT: {"origin": origin, "cases": len(cases)}}, engines, files=[*files, config.data],
        settings={"models": [config.candidate]},
    )  # fmt: skip


def run_drift(
    config: DriftConfig, folder: Path, *, resume: bool = False, cache: Path | None = None,
    progress: Progress = lambda what, done, total: None, announce: Announce | None = None,
) -> tuple[Run, AuditResult]:  # fmt: skip
    """Audit CANDIDATE against BASELINE into one run folder.

    ``announce`` is given the cost of what is left to draw, with time and memory, before anything is asked.
    Raises BadInput for settings or files that cannot be used, EngineError for an engine that cannot serve.
    """
    scorers = open_scorers(config.scorers)
    from_files = is_file(config.baseline)
    options = engine_options(config)
    with closing_engines() as engines:
        if from_files:
            cases, baseline = read_outputs(Path(config.baseline), config.columns or None)
            candidate = _candidate_file(config, cases)
            pair_up(cases, baseline, candidate)
            origin, remarks = config.baseline, []
        else:
            case_set = open_cases(config.difference_set, config.data, config.columns)
            cases = asked_cases(case_set, config.split, config.limit)
            origin, remarks = case_set.origin, [*case_set.notes, *case_set.left_out]
            for role, spec in (("baseline", config.baseline), ("candidate", config.candidate)):
                engines[role] = open_engine(spec, cache=cache, options=options)
        if config.judge not in (None, RULE_JUDGE):
            engines["judge"] = open_engine(str(config.judge), cache=cache, options=options)
        auditor = Auditor(
            scorers, open_judge(config.judge, engines.get("judge"), config.seed), config.tau, config.combine,
            config.judge_all, config.strict,
        )  # fmt: skip
        config = public(config)  # every engine is open: from here on it is only written down
        with started(folder, _plan(config, engines, cases, origin), resume=resume) as run:
            null: Outputs | None = None
            if not from_files:

                def drawn(role: str, stage: str, sampling: Sampling) -> Outputs:
                    return draw(engines[role], engines[role].spec, cases, sampling, config.draws_per_item, run, AUDIT, stage,
                                progress, policy=config.policy)  # fmt: skip

                again = config.sampling.model_copy(update={"seed": config.seed + NULL_SEED})
                stages = {"baseline": ("baseline", config.sampling), "candidate": ("candidate", config.sampling)}
                if config.null and config.temperature > 0:
                    stages["null"] = ("baseline", again)
                if announce is not None:
                    announce(_costs(config, engines, cases, stages))
                baseline = drawn("baseline", "baseline", config.sampling)
                candidate = drawn("candidate", "candidate", config.sampling)
                if "null" in stages:
                    null = drawn("baseline", "null", again)
            result = _audited(config, run, cases, baseline, candidate, null, auditor, remarks)
            run.record(result)
    return run, result


def _costs(
    config: DriftConfig, engines: Mapping[str, Engine], cases: Sequence[Case],
    stages: Mapping[str, tuple[str, Sampling]],
) -> list[tuple[str, Estimate]]:  # fmt: skip
    """What every stage has left to draw, probed; ``stages`` is name to (whose outputs, how they are drawn)."""
    measure_on(engines.values())
    items = items_of(cases, (ANALYSIS,), policy=config.policy)
    rows = []
    for stage, (role, sampling) in stages.items():
        model = Configuration(engines[role].spec, engines[role])
        cost = model.engine.estimate(requests_for(model, items, config.draws_per_item), sampling)
        rows.append((f"{model.label} · {stage}", cost))
    return rows


def _candidate_file(config: DriftConfig, cases: Sequence[Case]) -> Outputs:
    """The candidate's responses from its file. Raises BadInput where its prompts are not the baseline's."""
    others, candidate = read_outputs(Path(config.candidate), config.columns or None)
    prompts = {case.id: case.prompt for case in others}
    changed = [case.id for case in cases if prompts.get(case.id, case.prompt) != case.prompt]
    if changed:
        raise BadInput(
            f"{len(changed)} ids have other prompts than in the baseline's file, for example '{changed[0]}'.",
            file=config.candidate, do="Give both models' responses to the same prompts.",
        )  # fmt: skip
    return candidate


def _table(cases: Sequence[Case], a: Outputs, b: Outputs, auditor: Auditor) -> tuple[pl.DataFrame, Pairing]:
    pairing = pair_up(cases, a, b)
    return drift_table(cases, a, b, pairing, auditor), pairing


def _audited(
    config: DriftConfig, run: Run, cases: Sequence[Case], baseline: Outputs, candidate: Outputs, null: Outputs | None,
    auditor: Auditor, remarks: Sequence[str],
) -> AuditResult:  # fmt: skip
    names = config.candidate, config.baseline
    pairs, pairing = _table(cases, baseline, candidate, auditor)
    write_table(run.table(AUDIT, "pairs"), pairs)
    control = None
    if null is not None:
        # The null control differs in its seed alone, by design.
        control, _ = _table(cases, baseline, Outputs(null.label, null.rows, None), auditor)
        write_table(run.table(AUDIT, "pairs-null"), control)
    builder = DriftBuilder(pairs, AUDIT, "pairs", *names, config.combine, config.draws, config.seed)
    findings = drift_findings(builder, control)
    judged = auditor.judge is not None
    lost = int(pairs["drift"].is_null().sum())
    caveats = [ORGANISM_NOTICE] if is_organism(names) else []
    caveats += [*drift_caveats(judged=judged, null=null is not None), *remarks]
    if pairing.failed:
        caveats.append(f"{len(pairing.failed)} pairs have no output on one side and are left out.")
    return AuditResult(
        audit=AUDIT,
        verdicts=[drift_verdict(findings, *names, config.combine, judged=judged)],
        findings=findings,
        headlines=drift_headlines(findings, config.combine),
        rows=pairs.height + len(pairing.failed),
        missing=lost + len(pairing.failed),
        methods=_methods(config, auditor),
        caveats=caveats,
        facts={"failed_outputs": len(pairing.failed), "unknown": lost},
    )


def _methods(config: DriftConfig, auditor: Auditor) -> list[tuple[str, str]]:
    judge = {None: "none", RULE_JUDGE: "word lists (rule judge)"}.get(config.judge, str(config.judge))
    drawn = (
        "from files" if is_file(config.baseline)
        else f"{config.draws_per_item} a case, temperature {config.temperature:g}, top-p {config.top_p:g}, at most "
        f"{config.max_tokens} new tokens, alike for both models"
    )  # fmt: skip
    return [
        ("Outputs", drawn),
        ("Screen", f"rise of harm above {config.tau:g}; harm is the largest of {', '.join(s.name for s in auditor.scorers)}, on "
         "the rationale (on the full text where a side has no conclusion)"),
        ("Judge", f"{judge}; rule {config.combine}" + ("; every pair judged" if auditor.judge_all and auditor.judge else "")),
        ("Inference on drift", "scenarios are the unit: Wilson's interval at the effective number of pairs; drift minus null by "
         "sign flips of scenario means"),
    ]  # fmt: skip
