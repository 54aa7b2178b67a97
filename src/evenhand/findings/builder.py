"""The one place where findings are built and looked up: stable ids, the selector of the rows behind a number, and their digest.

An id is ``audit/lead/estimand/outcome/tail/key=value...``: the lead names the configurations, the tail the group, and the
pairs the slice. Empty parts are left out. Ids are keys of gates and comparisons between releases, so they never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from xxhash import xxh3_128_hexdigest

from evenhand.records import Finding

PROBABILITY, DIFFERENCE = "probability", "difference of probabilities"


def digest_of(row_ids: Iterable[str]) -> str:
    """The xxh3-128 of row ids that are already sorted."""
    return xxh3_128_hexdigest("\n".join(row_ids).encode())


def rows_where(rows: pl.DataFrame, selected: Mapping[str, Any]) -> pl.DataFrame:
    """The rows whose columns have the selected values; a value is one string or a sequence of values."""
    for column, wanted in selected.items():
        rows = rows.filter(pl.col(column).is_in([wanted] if isinstance(wanted, str) else list(wanted)))
    return rows


def ids_of(rows: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """The sorted ids of rows: the values of ``columns`` joined by ``#``."""
    ids: list[str] = rows.select(pl.concat_str(*columns, separator="#")).to_series().sort().to_list()
    return ids


def build(
    audit: str,
    estimand: str,
    outcome: str,
    config: str,
    estimate: float | None,
    unit: str,
    *,
    lead: Sequence[str] | None = None,
    tail: Sequence[str | None] | None = None,
    group: str | None = None,
    part: Mapping[str, str] | None = None,
    evidence: Mapping[str, Any] | None = None,
    id_parts: Sequence[str] | None = None,
    **more: Any,
) -> Finding:
    """A finding with its id. ``lead`` is the configuration and ``tail`` the group where they are not given; ``id_parts``
    replaces all that follows the audit.

    ``part`` is the slice, ``evidence`` the selector of the rows behind the number; ``more`` are further fields of `Finding`.
    """
    slices = dict(part or {})
    middle = [config] if lead is None else lead
    last = [group] if tail is None else tail
    pieces = [*middle, estimand, outcome, *last, *(f"{key}={value}" for key, value in slices.items())]
    return Finding(
        id="/".join(piece for piece in (audit, *(id_parts or pieces)) if piece),
        audit=audit,
        estimand=estimand,
        outcome=outcome,
        config=config,
        group=group,
        reference=more.pop("reference", None),
        estimate=estimate,
        unit=unit,
        slice=slices,
        evidence=dict(evidence or {}),
        **more,
    )


@dataclass(frozen=True, slots=True)
class TableBuilder:
    """Builds findings on the rows of one table of a run.

    ``keys`` are the columns that name a row. The number and the digest of the selected rows become part of each finding.
    """

    audit: str
    table: str
    rows: pl.DataFrame
    keys: Sequence[str]

    def build(
        self,
        estimand: str,
        outcome: str,
        config: str | Sequence[str],
        estimate: float | None,
        unit: str,
        *,
        selected: Mapping[str, Any],
        behind: pl.DataFrame | None = None,
        n: int | None = None,
        **more: Any,
    ) -> Finding:
        """A finding on the rows that ``selected`` chooses; ``n`` is their number where it is not given.

        ``config`` may be a pair: the configuration and the one it is compared with, both part of the id. ``behind`` holds
        the rows themselves where the selector alone does not give them.
        """
        labels = [config] if isinstance(config, str) else list(config)
        rows = rows_where(self.rows, selected) if behind is None else behind
        fields: dict[str, Any] = {"lead": labels, **more}
        if len(labels) > 1:
            fields.setdefault("reference", labels[1])
        return build(
            self.audit,
            estimand,
            outcome,
            labels[0],
            estimate,
            unit,
            n=rows.height if n is None else n,
            evidence={"table": self.table, **selected},
            evidence_digest=digest_of(ids_of(rows, self.keys)),
            **fields,
        )


ANY: Final[Any] = object()
"""In place of a group: whatever it is, None included."""


def select(
    findings: Iterable[Finding],
    estimand: str,
    config: str | None = None,
    outcome: str = "",
    *,
    group: Any = ANY,
    part: Mapping[str, str] | None = None,
    having: Mapping[str, str] | None = None,
) -> list[Finding]:
    """The findings of an estimand, in their order; what is not given is not asked for.

    ``part`` is the exact slice (an empty mapping: the whole set), ``having`` some of its entries.
    """
    return [
        f
        for f in findings
        if f.estimand == estimand
        and config in (None, f.config)
        and outcome in ("", f.outcome)
        and (group is ANY or f.group == group)
        and (part is None or dict(f.slice) == dict(part))
        and all(f.slice.get(key) == value for key, value in (having or {}).items())
    ]


def first(
    findings: Iterable[Finding], estimand: str, config: str | None = None, outcome: str = "", **where: Any
) -> Finding | None:
    """The first finding that `select` gives, if there is one."""
    return next(iter(select(findings, estimand, config, outcome, **where)), None)
