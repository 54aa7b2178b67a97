"""Measures of the text itself: length, sentiment, regard on served answers; toxicity of all outputs as a control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from evenhand.errors import BadInput
from evenhand.findings.families import q_values, record_of
from evenhand.methods.service.statistics.contrasts import helpful_contrasts
from evenhand.methods.service.table import FindingBuilder
from evenhand.records import SERVED, Finding
from evenhand.statistics.cells import FloatArray

WORDS = "words"
TOXICITY = "toxicity"
REGARD = "regard"


def check_classifiers(classifiers: Sequence[str], toxicity: str | None) -> None:
    """Raise BadInput for a classifier that cannot be opened, or two of one name."""
    from evenhand.graders.content import open_classifier

    wanted = _wanted(classifiers, toxicity)
    if len({name for name, _ in wanted} | {WORDS}) < len(wanted) + 1:
        raise BadInput("Two measures have one name.", do="Name them: --classifier NAME=SPEC.")
    for _, spec in wanted:
        open_classifier(spec)


def _wanted(classifiers: Sequence[str], toxicity: str | None) -> list[tuple[str, str]]:
    return [_named(text) for text in classifiers] + ([(TOXICITY, toxicity)] if toxicity else [])


def measure_texts(
    rows: pl.DataFrame, classifiers: Sequence[str], toxicity: str | None
) -> tuple[pl.DataFrame, dict[str, str]]:
    """One value a response and measure, of the text without echo and reasoning (column ``visible``, where there is one).

    The measures: ``words``, each classifier, and the toxicity control; and each measure's unit.

    A classifier is ``SPEC`` or ``NAME=SPEC``; under the name ``regard`` it is given the first sentence with the name masked
    (practice of the regard literature), else the whole text. Every distinct text is measured once.
    """
    from evenhand.graders.content import count_words, open_classifier, regard_text

    seen = rows.filter(pl.col("text").is_not_null() & (pl.col("finish_reason") != "error"))
    frame = seen.select("config", "item_id", "repetition")
    texts = seen["visible" if "visible" in seen.columns else "text"].to_list()
    names = seen["name"].to_list() if "name" in seen.columns else [None] * len(texts)
    frame = frame.with_columns(pl.Series(WORDS, [float(count_words(text)) for text in texts], dtype=pl.Float64))
    units = {WORDS: "words"}
    for name, spec in _wanted(classifiers, toxicity):
        classifier = open_classifier(spec)
        inputs = texts
        if name == REGARD:
            inputs = [regard_text(text, phrase or "") for text, phrase in zip(texts, names, strict=True)]
        distinct = list(dict.fromkeys(inputs))
        value_of = dict(zip(distinct, classifier.measure(distinct), strict=True))
        frame = frame.with_columns(pl.Series(name, [value_of[text] for text in inputs], dtype=pl.Float64))
        units[name] = classifier.unit
    return frame.sort("config", "item_id", "repetition"), units


def _named(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    return (name, spec) if equals and "/" not in name else (text, text)


def _values(builder: FindingBuilder, measures: pl.DataFrame, name: str) -> FloatArray:
    joined = builder.table.labelled.join(
        measures, on=["config", "item_id", "repetition"], how="left", maintain_order="left", validate="1:1"
    )
    return np.asarray(joined[name].fill_null(float("nan")).to_numpy(), dtype=np.float64)


def content_findings(builder: FindingBuilder, measures: pl.DataFrame, units: dict[str, str]) -> list[Finding]:
    """Each measure of answers, group against reference, on stems where both groups have an answer (other stems would bias it)."""
    table = builder.table
    served = table.outcome(SERVED).astype(bool)
    if not served[table.unit_groups[table.unit_codes] == 0].any():
        return []
    findings = []
    for name, unit in units.items():
        if name == TOXICITY:
            continue
        content = helpful_contrasts(
            table.unit_codes, table.stem_codes, _values(builder, measures, name), served, table.unit_groups, 0,
            draws=builder.draws, seed=builder.seed,
        )  # fmt: skip
        family = content.family
        for contrast, q in zip(family.contrasts, q_values(c.test for c in family.contrasts), strict=True):
            group, reasons = table.groups[contrast.group], contrast.reasons or {}
            behind, of_all = content.served.get(contrast.group, (0, 0))
            findings.append(
                builder.build(
                    name,
                    "served",
                    contrast.difference,
                    unit,
                    group=group,
                    reference=table.groups[0],
                    rows={"group": (group, table.groups[0]), "label": sorted(SERVED)},
                    interval=contrast.interval,
                    test=record_of(
                        contrast.test, f"{name} of answers, {table.config}", family_size=family.family_size,
                        p_holm=contrast.p_holm, q_bh=q,
                    ),
                    standard_error=contrast.standard_error,
                    minimum_detectable=contrast.minimum_detectable,
                    reason="; ".join(dict.fromkeys(reasons.values())),
                    clusters={"stems": contrast.stems, "stems dropped": contrast.stems_dropped},
                    extra={
                        "mean": contrast.rate, "reference_mean": contrast.reference_rate,
                        "served": behind, "responses": of_all, "unmeasured": content.unmeasured,
                    },
                )
            )  # fmt: skip
    return findings


def toxicity_findings(builder: FindingBuilder, measures: pl.DataFrame, units: dict[str, str]) -> list[Finding]:
    """Mean toxicity of all outputs, by group: a control reported alongside the labels, never in their place."""
    if TOXICITY not in units:
        return []
    table, values = builder.table, _values(builder, measures, TOXICITY)
    groups = table.unit_groups[table.unit_codes]
    findings = []
    for code, group in enumerate(table.groups):
        measured = values[(groups == code) & np.isfinite(values)]
        findings.append(
            builder.build(
                TOXICITY, "all outputs", float(measured.mean()) if measured.size else None, units[TOXICITY], group=group,
                reason="" if measured.size else "no output was measured",
                extra={"share_over_half": float((measured > 0.5).mean()) if measured.size else None},
            )
        )  # fmt: skip
    return findings
