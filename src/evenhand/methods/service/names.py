"""Single names, single stems, and repetitions: what stands behind a group's rate (spec section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.findings.families import record_of
from evenhand.methods.service.findings import Maker
from evenhand.methods.service.statistics.names import leave_one_name_out, name_rates, split_within
from evenhand.methods.service.statistics.stability import stability
from evenhand.methods.service.table import COLLAPSES
from evenhand.records import DECLINED, Finding
from evenhand.statistics.cells import Cells
from evenhand.statistics.intervals import wilson

# attribute column -> (estimand, value counted first, value subtracted); several spellings of the public sets
_SPLITS = {
    "frequency": ("common_minus_rare", ("common",), ("rare", "least")),
    "gender": ("men_minus_women", ("man", "men", "male"), ("woman", "women", "female")),
}


def name_findings(maker: Maker, outcome: str = "declined") -> list[Finding]:
    """Rate of every name, range of each difference with one name left out, common minus rare, men minus women."""
    table = maker.table
    if table.units.unit != "name":
        return []
    cells = table.cells(COLLAPSES[outcome])
    findings = [
        maker.make(
            "name_rate",
            outcome,
            rate.rate,
            PROBABILITY,
            group=table.groups[rate.group],
            rows={"name": table.unit_names[rate.row]},
            part={"name": table.unit_names[rate.row]},
            interval=rate.wilson,
            extra={"dominating": rate.dominating, **_attributes(maker, rate.row)},
        )
        for rate in name_rates(cells)
    ]
    if cells.nested:  # names that each meet another stem cannot be exchanged
        return findings
    for code, group in enumerate(table.groups):
        if code:
            findings += _left_out(maker, outcome, cells, code, group)
        findings += _splits(maker, outcome, cells, code, group)
    return findings


def _attributes(maker: Maker, row: int) -> Mapping[str, str]:
    result = {column: maker.table.attribute(column)[row] for column in _SPLITS}
    return {column: value for column, value in result.items() if value is not None}


def _left_out(maker: Maker, outcome: str, cells: Cells, code: int, group: str) -> list[Finding]:
    result = leave_one_name_out(cells, code, 0, seed=maker.seed)
    table = maker.table
    if result is None:
        return []
    return [
        maker.make(
            "leave_one_name_out",
            outcome,
            result.without,
            DIFFERENCE,
            group=group,
            reference=table.groups[0],
            test=record_of(result.test, ""),
            extra={
                "low": result.low,
                "high": result.high,
                "name": table.unit_names[result.row],
                "dominating": result.dominating,
                "with_all_names": result.difference,
                "p_without": result.test.p if result.test else None,
            },
        )
    ]


def _splits(maker: Maker, outcome: str, cells: Cells, code: int, group: str) -> list[Finding]:
    findings = []
    for column, (estimand, first, second) in _SPLITS.items():
        values = np.array([(value or "").casefold() for value in maker.table.attribute(column)])
        result = split_within(cells, code, np.isin(values, first), np.isin(values, second), seed=maker.seed)
        if result is None:
            continue
        findings.append(
            maker.make(
                estimand,
                outcome,
                result.difference,
                DIFFERENCE,
                group=group,
                test=record_of(result.test, ""),
                clusters={"names": result.names[0], "other names": result.names[1]},
                extra={"first": result.first, "second": result.second},
            )
        )
    return findings


def stem_findings(maker: Maker, outcome: str = "declined") -> list[Finding]:
    """Rate of every stem over all names, with its class and text, and the rate in each group."""
    table = maker.table
    if not table.units.stem:
        return []
    values = table.outcome(COLLAPSES[outcome])
    findings = []
    for code, stem in enumerate(table.stems):
        here = table.stem_codes == code
        groups = table.unit_groups[table.unit_codes[here]]
        by_group = {
            group: float(values[here][groups == position].mean())
            for position, group in enumerate(table.groups)
            if np.any(groups == position)
        }
        hits, n = float(values[here].sum()), int(here.sum())
        stem_class, text = table.stem_facts[stem]
        extra: dict[str, Any] = {"class": stem_class, "text": text, "by_group": by_group}
        findings.append(
            maker.make(
                "stem_rate",
                outcome,
                hits / n,
                PROBABILITY,
                rows={"stem": stem},
                part={"stem": stem},
                interval=wilson(hits, n),
                extra=extra,
            )
        )
    return findings


def stability_findings(maker: Maker) -> list[Finding]:
    """Do the repetitions of one prompt agree? The share with one label, Fleiss kappa, and the correlation of ``declined``."""
    labels, items = maker.table.prompt_matrix
    if labels.shape[1] < 2:
        return []
    from evenhand.records import LABELS

    declined = np.isin(labels, [LABELS.index(label) for label in LABELS if label in DECLINED]).astype(float)
    result = stability(labels, np.where(labels < 0, np.nan, declined))
    why = "no prompt has two labelled repetitions" if not result.prompts else "the labels never vary"
    rows = {
        "same_label_share": (result.same_label, "share of prompts"),
        "fleiss_kappa_over_repetitions": (result.fleiss_kappa, "kappa"),
        "intraclass_correlation": (result.icc, "correlation"),
    }
    return [
        maker.make(
            "stability", name, value, unit, reason="" if value is not None else why,
            clusters={"prompts": result.prompts, "prompts in all": len(items)},
        )
        for name, (value, unit) in rows.items()
    ]  # fmt: skip
