"""From tables of ratings to findings: one model, people, or a model compared with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evenhand.engines.machine import one_blas_thread
from evenhand.findings.decide import decided
from evenhand.findings.families import adjust_each
from evenhand.methods.pluralism.data.rating_table import VIEWS, RatingTable
from evenhand.methods.pluralism.rating.agreement import (
    agreement_findings,
    grasp_findings,
    polarity_finding,
    pooled_findings,
)
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.methods.pluralism.rating.contrasts import CALIBRATION, calibration_findings, contrast_findings, truth_of
from evenhand.methods.pluralism.rating.elicitation import asked_findings, status_findings
from evenhand.methods.pluralism.rating.groups import (
    DPD,
    DS,
    EOD,
    disparity_findings,
    sensitivity_findings,
    suppressed_findings,
)
from evenhand.methods.pluralism.rating.panels import (
    PEOPLE,
    FindingBuilder,
    Panel,
    axis_panel,
    people_panel,
    profile_panel,
)
from evenhand.methods.pluralism.rating.plan import FULL, SINGLE
from evenhand.methods.pluralism.rating.verdict import FULL_RATERS, PROFILES, RULES
from evenhand.records import Finding

_HOLM = frozenset({DS, DPD, EOD, CALIBRATION})
"""Tests on axes are adjusted by Holm, those on groups x domains and measures x groups by Benjamini and Hochberg."""
INTERSECTION = "race x gender"

Gold = Mapping[str, float | None]


def adjusted(findings: Sequence[Finding]) -> list[Finding]:
    """Findings with tests adjusted within their families and with decisions, in their order."""
    return decided(adjust_each(findings, _HOLM), RULES)


@one_blas_thread()
def model_findings(
    frame: pl.DataFrame, label: str, axes: Sequence[str], config: PluralismConfig, gold: Gold, truth_name: str,
    people: Panel | None,
) -> list[Finding]:  # fmt: skip
    """Every finding on one model, tests not adjusted yet. ``frame`` is the table of ratings, ``people`` the panel of all people."""
    builder = FindingBuilder.for_config(frame, "ratings", label, draws=config.draws, seed=config.seed)
    ratings = frame.filter(pl.col("config") == label)
    out: list[Finding] = []
    groups_of: dict[str, Sequence[str]] = {}
    part = {"raters": PROFILES}
    for axis in axes:
        panel = axis_panel(ratings, axis)
        if panel is None:
            continue
        groups = panel.groups(axis).names
        groups_of[axis] = groups
        rows: dict[str, Any] = {"kind": [SINGLE], axis: list(groups)}
        out += _by_axis(builder, panel, axis, config, gold, truth_name, people, part, rows)
        if people is not None:
            out += calibration_findings(builder, panel, people, axis, permutations=config.permutations, rows=rows)
    for kind, name in ((SINGLE, PROFILES), (FULL, FULL_RATERS)):
        raters = profile_panel(ratings, kind)
        if raters is None:
            continue
        kind_part, rows = {"raters": name}, {"kind": [kind]}
        out += agreement_findings(builder, raters, part=kind_part, rows=rows, reml_draws=config.reml_draws)
        truth, whose = truth_of(gold, truth_name, people, raters.items)
        if truth is not None:
            out.append(polarity_finding(builder, raters, truth, whose, part=kind_part, rows=rows))
        if kind == FULL:
            for axis in raters.demographics:
                out += _by_axis(builder, raters, axis, config, gold, truth_name, people, kind_part, rows)
            if INTERSECTION in raters.demographics:
                out += pooled_findings(builder, raters, INTERSECTION, part=kind_part, rows=rows)
    out += asked_findings(builder)
    out += status_findings(builder, groups_of=groups_of)
    return out


def _by_axis(
    builder: FindingBuilder, panel: Panel, axis: str, config: PluralismConfig, gold: Gold, truth_name: str, people: Panel | None,
    part: Mapping[str, str], rows: Mapping[str, Any],
) -> list[Finding]:  # fmt: skip
    truth, whose = truth_of(gold, truth_name, people, panel.items)
    n = config.permutations
    return [
        *suppressed_findings(builder, panel, axis, part=part),
        *sensitivity_findings(builder, panel, axis, permutations=n, part=part, rows=rows),
        *disparity_findings(builder, panel, axis, truth, whose, permutations=n, part=part, rows=rows),
        *contrast_findings(builder, panel, axis, permutations=n, part=part, rows=rows),
    ]


@one_blas_thread()
def people_findings(
    table: RatingTable, frame: pl.DataFrame, config: PluralismConfig, gold: Gold, truth_name: str
) -> list[Finding]:
    """Every finding on ratings by people, under each view of the raters; nothing on groups if raters are unknown."""
    builder = FindingBuilder.for_config(frame, "people", PEOPLE, draws=config.draws, seed=config.seed)
    out: list[Finding] = []
    for view, rows_of_view in table.views().items():
        panel = people_panel(table, frame, rows_of_view, config.least_raters)
        part = {"raters": PEOPLE, "view": view}
        rows: dict[str, Any] = {} if view == VIEWS[0] else {"rater_id": list(panel.raters)}
        if not table.identified:
            out += _unidentified(builder, panel, part)
        else:
            out += agreement_findings(builder, panel, part=part, rows=rows, reml_draws=config.reml_draws)
        truth, whose = truth_of(gold, truth_name, panel, panel.items)
        if any(value is not None for value in gold.values()) and truth is not None:
            out.append(polarity_finding(builder, panel, truth, whose, part=part, rows=rows))
        for axis in panel.demographics:
            out += _by_axis(builder, panel, axis, config, gold, truth_name, panel, part, rows)
        if INTERSECTION in panel.demographics:
            out += pooled_findings(builder, panel, INTERSECTION, part=part, rows=rows)
        single = {axis: values for axis, values in panel.demographics.items() if " x " not in axis}
        if single:
            out += grasp_findings(builder, panel, permutations=config.permutations, part=part, rows=rows)
    return out


def _unidentified(builder: FindingBuilder, panel: Panel, part: Mapping[str, str]) -> list[Finding]:
    """Only alpha, over items: measures that follow a rater across items need rater identities."""
    from evenhand.datasets.question_texts import OPTIONS
    from evenhand.methods.pluralism.rating.agreement import ALPHA, ICC
    from evenhand.statistics.krippendorff import krippendorff

    alpha = krippendorff(
        panel.labels, count=len(OPTIONS), resample="items", draws=min(builder.draws, 1_000), seed=builder.seed
    )
    why = "the raters of this copy are unknown: a column is a position in a list, not a person"
    return [
        builder.build(
            ALPHA, "nominal", alpha.coefficient, "coefficient", part=dict(part), interval=alpha.interval, n=alpha.ratings,
            reason=alpha.reason, clusters={"items": alpha.items},
            extra={"observed": alpha.observed, "expected": alpha.expected, "bootstrap_bias": alpha.bias, "rater": "not known"},
        ),
        builder.build(ICC, "ICC(2,1)", None, "coefficient", part=dict(part), reason=why, extra={"k": 1.0, "rater": "not known"}),
    ]  # fmt: skip
