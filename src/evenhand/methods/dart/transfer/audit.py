"""The transfer audit: does a model state the differences that open questions need, and no others?

After the open-ended set of DART (arXiv 2604.16845), whose queries, judge and decoding are not available: the queries,
both graders and every setting are our own; docs/transfer_card.md says what was published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.engines.base import Estimate, Sampling, Verb
from evenhand.errors import BadInput
from evenhand.graders.decide import EVIDENCE_LIMIT, normalised, settle
from evenhand.methods.dart.transfer.findings import AGREED, MISSING, transfer_findings
from evenhand.methods.dart.transfer.graders import (
    Answer,
    Classified,
    HumanClasses,
    JudgeGrader,
    TransferGrader,
    WordGrader,
    agreed,
)
from evenhand.methods.dart.transfer.queries import AUDIT, Transfer, TransferQuery, first_queries
from evenhand.methods.dart.transfer.verdict import CAVEATS, headlines, verdict
from evenhand.records import Item, Response
from evenhand.registry import TRANSFER_SETS
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import requests_for, respond, run_sampling, watched
from evenhand.runs.stages import models_of
from evenhand.runs.tables import GRADE_SCHEMA, items_frame, responses_frame, write_table
from evenhand.safe_text import json_safe
from evenhand.wording import ORGANISM_NOTICE, is_organism

MAX_TOKENS = 400
"""Longest response in tokens unless the settings give one; decoding is greedy likewise (chosen defaults)."""
HUMAN = "human"


def sampling_of(config: AuditConfig) -> Sampling:
    """How answers are drawn: greedy and at most 400 tokens, unless ``temperature`` or ``max_tokens`` are set (chosen defaults)."""
    return run_sampling(config, temperature=0.0, max_tokens=MAX_TOKENS)


class TransferAudit:
    """Open queries in; the share of each response class out, controls apart, with the agreement of the graders."""

    name = AUDIT
    title = "Difference awareness in open questions"

    def __init__(self) -> None:
        self._read: tuple[list[TransferQuery], Mapping[str, str], HumanClasses | None] | None = None

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Generation alone."""
        return frozenset({"generate"})

    def unfit(self, config: AuditConfig) -> str:
        """It asks models itself, long answers to hundreds of questions, so it must be asked for by name."""
        entry = "responses" if config.responses else "labels" if config.labels else ""
        if entry:
            return f"it asks its own questions, and {entry} are given"
        return (
            "" if AUDIT in config.only else f"it asks for long answers of a real model; ask for it with --only {AUDIT}"
        )

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Where the queries come from, how answers are drawn, and who grades. Raises BadInput for anything that cannot be used."""
        queries, checksums, human = self._inputs(config)
        return {
            "queries": len(queries),
            "files": dict(checksums),
            "decoding": sampling_of(config).model_dump(mode="json"),
            "words": WordGrader().identity,
            **({"human": human.identity} if human is not None else {}),
        }

    def _inputs(self, config: AuditConfig) -> tuple[list[TransferQuery], Mapping[str, str], HumanClasses | None]:
        if self._read is None:
            brought = config.data is not None
            source: Transfer = Transfer(config.data, config.columns) if brought else TRANSFER_SETS.get("shipped")()
            human = _human(config, source.queries)
            self._read = first_queries(source.queries, config.limit), source.checksums, human
        return self._read

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of the answers, and of the judge."""
        from evenhand.methods.dart.transfer.graders import RUBRIC, TASK

        items = [query.item() for query in self._inputs(context.config)[0]]
        sampling = sampling_of(context.config)
        rows = [
            (model.label, model.engine.estimate(requests_for(model, items, 1), sampling))
            for model in models_of(context)
        ]
        if context.judge is not None:
            calls = len(items) * len(rows)
            # About four characters a token, and every answer at its longest.
            longest = calls * ((len(RUBRIC) + len(TASK)) // 4 + 100 + sampling.max_tokens)
            rows.append(("judge, at most", Estimate(calls, longest, calls * 256, exact=False)))
        return rows

    def run(self, context: Context) -> AuditResult:
        """Ask, grade, analyse; write items, responses and grades."""
        config = context.config
        queries, _, human = self._inputs(config)
        models = models_of(context)
        items = [query.item() for query in queries]
        responses = respond(models, items, 1, sampling_of(config), context.run.journal(AUDIT), context.progress)
        graders: list[TransferGrader] = [WordGrader()]
        if context.judge is not None:
            judge = watched(context.judge, f"judge: {context.judge.spec}", context.progress)
            graders.append(JudgeGrader(judge, seed=config.seed))
        graders += [human] if human is not None else []
        grades = grades_of(graders, queries, items, responses, expect_echo=config.expect_echo)
        item_table = items_frame(items)
        tables = {"items": item_table, "responses": responses_frame(responses), "grades": grades}
        for name, frame in tables.items():
            write_table(context.run.table(AUDIT, name), frame)
        labels = [model.label for model in models]
        names = [grader.name for grader in graders]
        findings = transfer_findings(grades, item_table, labels, names, draws=config.draws, seed=config.seed)
        primary = _primary(names)
        settled = grades.filter(pl.col("grader") == primary)
        asked = list(dict.fromkeys(item.engine.spec for item in context.configurations))
        return AuditResult(
            audit=AUDIT,
            verdicts=[verdict(findings, label, names, several=len(asked) > 1) for label in asked],
            findings=findings,
            headlines=[row for label in asked for row in headlines(findings, label, several=len(asked) > 1)],
            rows=settled.height,
            missing=settled.filter(pl.col("missing").is_in(list(MISSING))).height,
            methods=_methods(config, queries, names, context),
            caveats=_caveats(config, labels, responses, names),
            facts={
                "grader": primary,
                "graders": names,
                "failed": sum(row.finish_reason == "error" for row in responses),
                "cut": sum(row.finish_reason == "length" for row in responses),
                "prompt_tokens": sum(row.prompt_tokens or 0 for row in responses),
                "completion_tokens": sum(row.completion_tokens or 0 for row in responses),
            },
        )


def _primary(names: Sequence[str]) -> str:
    """The grader that makes the findings: the only one, or what two agree on."""
    return names[0] if len(names) == 1 else AGREED


def _human(config: AuditConfig, queries: Sequence[TransferQuery]) -> HumanClasses | None:
    """People's labels, where this audit alone is asked for; with another audit, the graders given are that audit's."""
    if set(config.only) != {AUDIT}:
        return None
    other = [asked for asked in config.grader if asked.partition("=")[0] != HUMAN]
    if other:
        raise BadInput(
            f"The transfer audit has no grader '{other[0]}'.", do="It uses words, the --judge, and --grader human=FILE."
        )
    files = [asked.partition("=")[2] for asked in config.grader]
    if len(files) > 1 or not all(files):
        raise BadInput("People's labels come from one file.", do="Write --grader human=FILE.")
    if not files:
        return None
    human = HumanClasses(files[0], queries)
    models = len({*config.models, *config.stages.values(), *([config.reference] if config.reference else [])})
    if models > 1 and not human.names_configs:
        raise BadInput(
            f"A label does not say which of the {models} models its response is from.", file=files[0],
            do="Name it in a column 'config', or audit one model.",
        )  # fmt: skip
    return human


def grades_of(
    graders: Sequence[TransferGrader],
    queries: Sequence[TransferQuery],
    items: Sequence[Item],
    responses: Sequence[Response],
    *,
    expect_echo: bool = False,
) -> pl.DataFrame:
    """One row a response and grader, and with several graders one more for what two agree on, named ``agreed``.

    The provider's refusal is a refusal for every grader (source ``provider``); a failed row and an empty text have no class.
    Columns are those of the grades of other audits; ``label`` holds the class.
    """
    by_item = {item.id: query for item, query in zip(items, queries, strict=True)}
    seen = normalised({item.id: item for item in items}, responses, expect_echo=expect_echo)
    fixed = [settle(row.response, done) for row, done in seen]
    open_rows = [
        Answer(row.response.config, by_item[row.item.id], row.text)
        for (row, _), decided in zip(seen, fixed, strict=True)
        if decided is None
    ]
    given = {grader.name: iter(grader.classify(open_rows)) for grader in graders}
    rows: list[dict[str, Any]] = []
    for (row, done), decided in zip(seen, fixed, strict=True):
        if decided is None:
            ratings = {name: next(classes) for name, classes in given.items()}
            source = "grader"
        else:
            verdict_, by_provider = decided
            source = "provider" if by_provider else "grader"
            missing = "" if by_provider else verdict_.missing or "empty_response"
            same = Classified("refusal" if by_provider else None, verdict_.evidence, missing)
            ratings = dict.fromkeys(given, same)
        settled = agreed(list(ratings.values()))
        if len(ratings) > 1:
            ratings[AGREED] = settled
        for name, rating in ratings.items():
            rows.append(
                {
                    "config": row.response.config, "item_id": row.item.id, "repetition": row.response.repetition, "grader": name,
                    "label": rating.label, "evidence": json_safe(rating.evidence)[:EVIDENCE_LIMIT],
                    "source": HUMAN if name == HUMAN and decided is None else source, "missing": rating.missing, "hedged": False,
                    "truncated": row.response.finish_reason == "length", "echo_stripped": done.echo_stripped,
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema=GRADE_SCHEMA, orient="row").sort("grader", "config", "item_id", "repetition")


def _methods(
    config: AuditConfig, queries: Sequence[TransferQuery], names: Sequence[str], context: Context
) -> list[tuple[str, str]]:
    sampling = sampling_of(config)
    controls = sum(query.needs == "equal" for query in queries)
    how = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}"
    judge = f"; judge: {context.judge.spec}, which sees query, key fact and answer" if context.judge is not None else ""
    rule = (
        "the one grader's class" if len(names) == 1 else "the class that two graders give, otherwise “graders disagree”"
    )
    return [
        ("Queries", f"{len(queries)}, of which {controls} are controls; a plain user prompt without a system message, one answer "
         f"each, {how}, at most {sampling.max_tokens} tokens"),
        ("Graders", f"{', '.join(names)}{judge}. What counts: {rule}"),
        ("Intervals", "Wilson for a share, which treats queries as independent; kappa and changes by resampling queries "
         f"({config.draws:,} draws; {min(config.draws, 2000):,} for kappa)"),
        ("Tests", "exact two-sided McNemar on paired queries, Holm over domains, and over models for all domains together"),
    ]  # fmt: skip


def _caveats(
    config: AuditConfig, labels: Sequence[str], responses: Sequence[Response], names: Sequence[str]
) -> list[str]:
    caveats = [ORGANISM_NOTICE] if is_organism(labels) else []
    caveats += CAVEATS
    if len(names) == 1:
        caveats.append(
            "Only the word grader classed the answers, and its error is unknown: give a second with --judge."
        )
    cut = sum(row.finish_reason == "length" for row in responses)
    if cut:
        caveats.append(
            f"{cut} of {len(responses)} answers were cut at the token limit; what they did not reach is not counted."
        )
    if config.system_prompt:
        caveats.append("System prompts are not used here: each model is asked once, without one.")
    return caveats
