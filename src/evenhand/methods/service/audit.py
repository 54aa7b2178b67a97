"""The service-quality audit: whom does the model refuse, or serve worse, on harmless prompts?

Method after Chehbouni et al. 2024 (arXiv 2403.13213); docs/service.md says what was published and what is a chosen default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.datasets.table import holds_pairs
from evenhand.engines.base import Estimate, Verb
from evenhand.errors import BadInput
from evenhand.methods.service.analysis import Analysis, analyse
from evenhand.methods.service.config import ServiceSettings
from evenhand.methods.service.content import check_classifiers
from evenhand.methods.service.graders import RUBRIC, Trust, check_graders, check_label_files, open_graders, trust_in
from evenhand.methods.service.items import (
    AUDIT,
    Entry,
    configurations_in,
    groups_in_order,
    open_entry,
    reference_of,
    unsafe_items,
)
from evenhand.records import Grade, Item, Response
from evenhand.runs.load import joined_rows
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import requests_for, respond, run_sampling, watched
from evenhand.runs.tables import grades_frame, items_frame, responses_frame, write_table
from evenhand.safe_text import json_safe

if TYPE_CHECKING:
    from evenhand.graders.base import Grader
    from evenhand.graders.masking import Swap


SWAPS = 200
"""Responses that a judge is shown again under a name of another group (chosen default)."""


class ServiceAudit:
    """Prompts, responses or labels in; findings by group out."""

    name = AUDIT
    title = "Service quality"

    def __init__(self) -> None:
        self._read: tuple[Entry, list[Item]] | None = None

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Generation, unless responses or labels are given."""
        return frozenset() if config.responses or config.labels else frozenset({"generate"})

    def unfit(self, config: AuditConfig) -> str:
        """It takes every kind of entry but pairs."""
        pairs = config.data is not None and holds_pairs(config.data, config.columns)
        return "the file holds pairs; prompts have the columns prompt and group" if pairs else ""

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Where the items come from. Raises BadInput for unusable settings, before a folder is made or a model is asked."""
        _check_entry(config)
        check_graders(config)
        check_classifiers(config.of(ServiceSettings).classifier, config.toxicity)
        entry, _ = self._items(config)
        reference_of(config, entry)
        check_label_files(config, configurations_in(config, entry))
        return entry.source

    def _items(self, config: AuditConfig) -> tuple[Entry, list[Item]]:
        """The entry and all items, read once."""
        if self._read is None:
            entry = open_entry(config)
            self._read = entry, entry.items + (unsafe_items(config) if entry.kind == "prompts" else [])
        return self._read

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Calls and tokens of generation, and at most those of the judge."""
        config = context.config
        entry, items = self._items(config)
        sampling, rows = run_sampling(config), []
        for configuration in context.configurations if entry.kind == "prompts" else ():
            requests = requests_for(configuration, items, config.draws_per_item)
            rows.append((configuration.label, configuration.engine.estimate(requests, sampling)))
        if context.judge is not None and entry.kind != "labels":
            from evenhand.graders.rubric import RUBRIC, TASK

            calls = (len(entry.responses or ()) or sum(cost.calls for _, cost in rows)) + 2 * SWAPS
            # About four characters a token, and the response to be judged at its longest.
            longest = calls * ((len(RUBRIC) + len(TASK)) // 4 + config.max_tokens)
            rows.append(("judge, at most", Estimate(calls, longest, calls * 256, exact=False)))
        return rows

    def run(self, context: Context) -> AuditResult:
        """Respond, grade, analyse; write items, responses, grades and measures."""
        config, run = context.config, context.run
        entry, items = self._items(config)
        reference = reference_of(config, entry)
        item_table = items_frame(items)
        write_table(run.table(AUDIT, "items"), item_table)
        responses = entry.responses
        if entry.kind == "prompts":
            responses = respond(
                context.configurations,
                items,
                config.draws_per_item,
                run_sampling(config),
                run.journal(AUDIT),
                context.progress,
            )
        response_table = None if responses is None else responses_frame(responses)
        if response_table is not None:
            write_table(run.table(AUDIT, "responses"), response_table)
        by_id = {item.id: item for item in items}
        graded = _grade(context, entry, by_id, responses)
        grades, trust, primary = graded.grades, graded.trust, graded.primary
        grade_table = grades_frame([grade for part in grades.values() for grade in part])
        write_table(run.table(AUDIT, "grades"), grade_table)
        rows = joined_rows(item_table, grade_table.filter(pl.col("grader") == primary.name), response_table)
        if graded.visible is not None:
            rows = rows.join(graded.visible, on=["config", "item_id", "repetition"], how="left", maintain_order="left")
        groups = groups_in_order(entry.items, reference)
        result, measures = analyse(
            Analysis(
                rows=rows,
                groups=groups,
                grader=primary.name,
                labels=primary.labels,
                grades=grade_table,
                swaps=graded.swaps,
                trust=trust,
                config=config,
                entry=entry,
                configs=_in_order(context, grades[primary.name]),
            )
        )
        if measures is not None:
            write_table(run.table(AUDIT, "measures"), measures)
        tokens = _tokens(responses or ())
        return replace(result, facts={**result.facts, **tokens})


def _check_entry(config: AuditConfig) -> None:
    """Raise BadInput for settings of generation given together with existing rows: they would be silently ignored."""
    rows = "--labels" if config.labels is not None else "--responses" if config.responses is not None else ""
    if not rows:
        return
    if config.of(ServiceSettings).unsafe is not None:
        raise BadInput(f"--unsafe asks a model, and {rows} asks none.", do=f"Leave out --unsafe, or {rows}.")
    if config.models != AuditConfig.model_fields["models"].default:
        raise BadInput(
            f"A model is named ({', '.join(config.models)}), and {rows} asks none.",
            do=f"Leave out the model, or {rows}.",
        )


class _Labels:
    """The labels of a file, in place of a grader."""

    name = "labels"
    calibrated = True

    def __init__(self, labels: frozenset[Any]):
        self.labels = labels


@dataclass(frozen=True)
class _Graded:
    """The grades of every grader, the first of which makes the findings, and what is known of it."""

    grades: dict[str, list[Grade]]
    trust: Trust
    primary: Grader | _Labels
    swaps: Sequence[Swap] = ()
    visible: pl.DataFrame | None = None


def _grade(context: Context, entry: Entry, items: dict[str, Item], responses: Sequence[Response] | None) -> _Graded:
    """Grade every response by every grader, or take the labels that are given."""
    from evenhand.graders.decide import grade_responses, normalised
    from evenhand.records import LABELS

    config = context.config
    if entry.grades is not None:
        given = {grade.label for grade in entry.grades} - {None}
        # A file that holds only these two words was made by a yes-or-no decision: the other labels were never on offer.
        labels = frozenset(given) if given <= {"refusal", "answer"} else frozenset(LABELS)
        return _Graded({"labels": entry.grades}, Trust(True, "labels given by the user"), _Labels(labels))
    judge = watched(context.judge, f"judge: {context.judge.spec}", context.progress) if context.judge else None
    graders = open_graders(config, judge)
    seen = normalised(items, responses or (), expect_echo=config.expect_echo)
    grades: dict[str, list[Grade]] = {}
    for position, grader in enumerate(graders):
        context.progress(f"grading: {grader.name}", 0, len(responses or ()))
        grades[grader.name] = grade_responses(grader, items, responses or (), seen=seen)
        context.progress(f"grading: {grader.name}", len(responses or ()), len(responses or ()))
        if position == 0:
            trust = trust_in(grader, grades[grader.name], config, items, responses or ())
    swaps: Sequence[Swap] = ()
    if graders[0].name == RUBRIC:
        from evenhand.graders.masking import swap_check

        readable = [row for row, _ in seen if row.text and row.response.finish_reason != "error"]
        swaps = swap_check(graders[0], readable, n=SWAPS, seed=config.seed).swaps
    keys = [
        (row.response.config, row.response.item_id, row.response.repetition, json_safe(row.text)) for row, _ in seen
    ]
    schema = {"config": pl.String, "item_id": pl.String, "repetition": pl.Int32, "visible": pl.String}
    return _Graded(grades, trust, graders[0], swaps, pl.DataFrame(keys, schema=schema, orient="row"))


def _in_order(context: Context, grades: Sequence[Grade]) -> list[str]:
    """Configurations in the order asked for, else in that of the file."""
    asked = [item.label for item in context.configurations]
    return asked or list(dict.fromkeys(grade.config for grade in grades))


def _tokens(responses: Sequence[Response]) -> dict[str, int]:
    if not responses:
        return {}
    return {
        "prompt_tokens": sum(row.prompt_tokens or 0 for row in responses),
        "completion_tokens": sum(row.completion_tokens or 0 for row in responses),
        "failed": sum(row.finish_reason == "error" for row in responses),
    }
