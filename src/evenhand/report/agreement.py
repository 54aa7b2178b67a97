"""The table on agreement of graders: coefficients, raw agreement, and what each grader alone says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from evenhand.records import Finding
from evenhand.report.blocks import Cell, Table
from evenhand.report.finding_table import (
    COEFFICIENT,
    SHARE,
    FindingColumns,
    Unit,
    cells,
    finding_table,
    range_text,
    value_cell,
    words,
)


class Agreement(NamedTuple):
    """A row on agreement: a coefficient or a share, or, if ``raw``, the raw agreement that a coefficient holds."""

    f: Finding
    graders: str
    measure: str
    raw: bool = False

    @property
    def unit(self) -> Unit:
        """A share for probabilities and raw agreement, else a coefficient."""
        return SHARE if self.raw or self.f.unit == "probability" else COEFFICIENT


def agreement_table(
    rows: Iterable[Agreement], block_id: str, *, model: str, n: str, note: str = "", caption: str = ""
) -> Table | None:
    """One row for each of ``rows``. ``model`` and ``n`` head the first and the last column, ``note`` explains the last."""

    def number(row: Agreement) -> Cell:
        return value_cell(row.f.extra["observed"] if row.raw else row.f.estimate, row.unit, row.f.reason)

    return finding_table(
        rows,
        (
            words(model, lambda row: row.f.config),
            words("graders", lambda row: row.graders),
            words("measure", lambda row: row.measure, wide=True),
            cells("value", number, numeric=True),
            words("95 % interval", lambda row: "" if row.raw else range_text(row.f, row.unit)),
            FindingColumns[Agreement](lambda row: row.f).size(n, note=note),
        ),
        block_id=block_id,
        title="Agreement of the graders",
        caption=caption,
    )
