"""From findings to a table: each column formats a finding by its unit and says why a number is missing.

A table is built from rows of any kind and columns that know how to read them::

    finding_table(
        changes,
        (
            words("model", lambda f: f.config),
            FINDING.estimate("change, points"),
            FINDING.interval(),
            FINDING.p(note="Holm over domains"),
            FINDING.size("queries"),
        ),
        block_id="transfer-changes",
    )

Where a row holds several findings, one `FindingColumns` reads each of them. Numbers come from the findings as they are
stored; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, Filter, Table, ends
from evenhand.wording import DASH, count, defined, nats, number, p_value, percent, points

R = TypeVar("R")
NO_VALUE, NO_INTERVAL, NO_TEST = "not measured", "no interval", "not tested"


@dataclass(frozen=True, slots=True)
class Unit:
    """How values of one unit are printed; ``suffix`` follows a value outside a table."""

    text: Callable[[float | None], str]
    suffix: str = ""

    def range(self, low: float | None, high: float | None) -> str:
        """Both ends of an interval, or a dash where there is none: ``+12.0 to +41.3``."""
        return f"{self.text(low)} to {self.text(high)}" if defined(low) and defined(high) else DASH

    def alone(self, value: float | None) -> str:
        """A value with its unit: ``+0.98 nats``."""
        return f"{self.text(value)}{self.suffix}" if defined(value) else DASH


def _scale(value: float | None) -> str:
    return f"{value:.3f}".replace("-", "\u2212") if value is not None and defined(value) else DASH


def _size(value: float | None) -> str:
    return points(value).lstrip("+")


def _whole(value: float | None) -> str:
    return count(int(value)) if value is not None and defined(value) else DASH


SHARE = Unit(percent)
"""A probability: ``27.1%``."""
SMALL_SHARE = Unit(lambda value: percent(value, 2))
"""A probability to a hundredth of a percent: ``0.13%``."""
WHOLE_SHARE = Unit(lambda value: percent(value, 0))
"""A probability to a whole percent, where there is little room: ``27%``."""
POINTS = Unit(points, " points")
"""A signed difference of probabilities in percentage points: ``+27.1``."""
POINT_SIZE = Unit(_size, " points")
"""A size in percentage points, without a sign: ``12.0``."""
NATS = Unit(nats, " nats")
"""A signed number of nats: ``+0.98``."""
NAT_SIZE = Unit(lambda value: nats(value).lstrip("+"), " nats")
"""A size in nats, without a sign: ``0.98``."""
COUNT = Unit(_whole)
"""A whole number with thousands apart: ``1,234``."""
RATIO = Unit(number)
"""A ratio, an area, or any other number, to three significant digits: ``1.87``."""
COEFFICIENT = Unit(lambda value: number(value, 2))
"""A coefficient of agreement, to two significant digits: ``0.71``."""
SCALE = Unit(_scale)
"""A rating from 0 to 1 or a distance of ratings, to three decimals: ``0.052``."""
P_VALUE = Unit(p_value)
"""A p that belongs to no test of its finding: ``0.00062``."""

UNITS: dict[str, Unit] = {
    "probability": SHARE,
    "difference of probabilities": POINTS,
    "nats": NATS,
    "count": COUNT,
    "rating": SCALE,
}
"""Unit of a finding to its form; the number itself for any other unit."""


def unit_of(f: Finding) -> Unit:
    """The form of a finding's values."""
    return UNITS.get(f.unit, RATIO)


def range_text(f: Finding | None, unit: Unit | None = None) -> str:
    """The interval of a finding in words, or a dash: ``12.0% to 41.3%``."""
    return DASH if f is None else (unit or unit_of(f)).range(*ends(f))


def first_p(f: Finding | None, *fields: str) -> float | None:
    """The first p of a finding's test that is known, of these fields of `HypothesisTest`."""
    if f is None or f.test is None:
        return None
    return next((p for name in fields if (p := getattr(f.test, name)) is not None), None)


@dataclass(frozen=True)
class Shown(Generic[R]):
    """A column of a table: its head, and the cell that it makes of a row."""

    head: Column
    cell: Callable[[R], Cell]


def value_cell(
    value: float | None, unit: Unit, reason: str = "", evidence: Filter | None = None, label: str = ""
) -> Cell:
    """A number as a cell: sorted by its value, linked to ``evidence``; a dash with its reason if undefined."""
    if value is None or not defined(value):
        return Cell(DASH, reason=reason or NO_VALUE)
    return Cell(unit.text(value), sort=value, evidence=evidence, label=label)


def words(
    title: str,
    read: Callable[[R], object],
    *,
    evidence: Callable[[R], Filter | None] | None = None,
    label: Callable[[R], str] | None = None,
    note: str = "",
    wide: bool = False,
    numeric: bool = False,
) -> Shown[R]:
    """A column of text; ``evidence`` links it to the rows behind, under the accessible name ``label``. None is empty."""

    def cell(row: R) -> Cell:
        text = read(row)
        return Cell(
            "" if text is None else str(text),
            evidence=evidence(row) if evidence else None,
            label=label(row) if label else "",
        )

    return Shown(Column(title, numeric=numeric, help=note, wide=wide), cell)


def value(
    title: str,
    read: Callable[[R], float | None],
    unit: Unit = COUNT,
    *,
    reason: Callable[[R], str] | str = "",
    evidence: Callable[[R], Filter | None] | None = None,
    note: str = "",
) -> Shown[R]:
    """A column of numbers that are not a finding's estimate: counts, parts of ``extra``."""

    def cell(row: R) -> Cell:
        why = reason if isinstance(reason, str) else reason(row)
        return value_cell(read(row), unit, why, evidence(row) if evidence else None)

    return Shown(Column(title, numeric=True, help=note), cell)


def cells(
    title: str, read: Callable[[R], Cell], *, numeric: bool = False, note: str = "", wide: bool = False
) -> Shown[R]:
    """A column whose cells are made by hand, for what has no form of its own."""
    return Shown(Column(title, numeric=numeric, help=note, wide=wide), read)


@dataclass(frozen=True)
class FindingColumns(Generic[R]):
    """Columns of one finding of a row. ``missing`` is the reason shown for a row without it."""

    pick: Callable[[R], Finding | None]
    missing: str | Callable[[R], str] = NO_VALUE

    def _missing(self, row: R) -> str:
        return self.missing if isinstance(self.missing, str) else self.missing(row)

    def estimate(
        self,
        title: str,
        *,
        unit: Unit | None = None,
        interval: bool = False,
        evidence: Callable[[R], Filter | None] | None = None,
        label: Callable[[R], str] | None = None,
        note: str = "",
    ) -> Shown[R]:
        """The estimate in its unit, or a dash with the finding's reason. ``interval`` adds the interval in parentheses."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            if f is None:
                return Cell(DASH, reason=self._missing(row))
            form = unit or unit_of(f)
            made = value_cell(
                f.estimate, form, f.reason, evidence(row) if evidence else None, label(row) if label else ""
            )
            if not interval or made.reason:
                return made
            text = f"{made.text} ({form.range(*ends(f))})" if f.interval else made.text
            return Cell(text, made.sort, made.reason, made.evidence, made.label)

        return Shown(Column(title, numeric=True, help=note), cell)

    def interval(self, title: str = "95 % interval", *, unit: Unit | None = None, note: str = "") -> Shown[R]:
        """The interval in the unit of the estimate, sorted by its lower end."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            if f is None:
                return Cell(DASH, reason=self._missing(row))
            low, high = ends(f)
            text = (unit or unit_of(f)).range(low, high)
            return Cell(text, sort=low) if text != DASH else Cell(DASH, reason=f.reason or NO_INTERVAL)

        return Shown(Column(title, help=note), cell)

    def p(self, title: str = "adjusted p", *fields: str, note: str = "") -> Shown[R]:
        """The p of the finding's test: Holm's, or the first known of these fields of the test. Never printed as zero."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            if f is None:
                return Cell(DASH, reason=self._missing(row))
            p = first_p(f, *(fields or ("p_holm",)))
            return Cell(p_value(p), sort=p) if p is not None else Cell(DASH, reason=f.reason or NO_TEST)

        return Shown(Column(title, numeric=True, help=note), cell)

    def size(self, title: str = "n", *, cluster: str = "", note: str = "") -> Shown[R]:
        """How many rows are behind the estimate, or how many of the named clusters."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            if f is None or (cluster and cluster not in f.clusters):
                return Cell(DASH, reason=self._missing(row))
            n = f.clusters[cluster] if cluster else f.n
            return Cell(count(n), sort=n)

        return Shown(Column(title, numeric=True, help=note), cell)

    def field(self, title: str, key: str, unit: Unit = COUNT, *, note: str = "") -> Shown[R]:
        """A number that the finding holds in addition to its estimate."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            return Cell(DASH, reason=self._missing(row)) if f is None else value_cell(f.extra.get(key), unit, f.reason)

        return Shown(Column(title, numeric=True, help=note), cell)

    def field_range(self, title: str, key: str, *, unit: Unit | None = None, note: str = "") -> Shown[R]:
        """A second interval that the finding holds as a pair of ends."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            pair = f.extra.get(key) if f is not None else None
            if f is None or not pair:
                return Cell(DASH, reason=(f.reason if f else "") or self._missing(row))
            return Cell((unit or unit_of(f)).range(*pair), sort=pair[0])

        return Shown(Column(title, numeric=True, help=note), cell)

    def decision(
        self, title: str, read: Callable[[Finding], bool], says: tuple[str, str] = ("found", "not found")
    ) -> Shown[R]:
        """What was decided of the finding, in one of two words."""

        def cell(row: R) -> Cell:
            f = self.pick(row)
            return Cell(DASH, reason=self._missing(row)) if f is None else Cell(says[0] if read(f) else says[1])

        return Shown(Column(title), cell)


FINDING = FindingColumns[Finding](lambda f: f)
"""Columns of rows that are findings themselves."""


def finding_table(
    rows: Iterable[R],
    columns: Sequence[Shown[R]],
    *,
    block_id: str,
    title: str = "",
    caption: str = "",
    sortable: bool = False,
) -> Table | None:
    """A table with one row for each of ``rows``, or None if there are none.

    Parameters
    ----------
    rows : findings, or tuples of findings that share a row.
    columns : how each cell is read from a row; the first column holds the row headers.
    block_id, title, caption, sortable : as of `Table`.
    """
    made = tuple(tuple(column.cell(row) for column in columns) for row in rows)
    if not made:
        return None
    heads = tuple(column.head for column in columns)
    return Table(id=block_id, columns=heads, rows=made, title=title, caption=caption, sortable=sortable)


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
