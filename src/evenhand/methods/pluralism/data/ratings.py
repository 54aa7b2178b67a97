"""Ratings by people from a file of your own: one row per rating, or a matrix with one column per rater.

Ratings are 0 (safe), 0.5 (unsure) or 1 (unsafe). Nothing is guessed: a row that lacks something is set aside with its reason. A
missing demographic value is a level of its own (an empty text), and so is ``Other``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.datasets.base import clean_key
from evenhand.datasets.pku import category_slug
from evenhand.datasets.table import Table, as_table, resolve
from evenhand.methods.pluralism.data.rating_table import AXES, NumberScale, RatedRow, RatingTable, collect, plain_ids

if TYPE_CHECKING:
    from evenhand.methods.pluralism.rating.statistics.raters import Polarity


ITEM_ROLES = ("text", "reply", "domain", "gold")
_ALIASES = {
    "item": ("item_id",),
    "rater": ("rater_id", "annotator", "annotator_id", "worker_id"),
    "rating": ("value", "label", "answer"),
    "text": ("prompt", "context", "query"),
    "reply": ("response",),
    "domain": ("category",),
    "gold": ("safety_gold", "expert"),
    **{axis: (f"rater_{axis}",) for axis in AXES},
}
_WIDE = re.compile(r"p\d{2,}")
_AXIS = "axis."


def read_ratings(
    path: str | Path | Any,
    columns: Mapping[str, str] | None = None,
    *,
    words: Mapping[str, str | float] | None = None,
    scale: tuple[float, float] | None = None,
) -> RatingTable:
    """Ratings from a csv, tsv, jsonl or parquet file, or a frame.

    ``columns`` is role to column: item, rater, rating; perhaps text, reply, domain, gold (of the item); perhaps gender, race,
    age, education, locale, or ``axis.NAME`` for another axis. Columns of those names (also ``rater_gender`` and so on) are found
    alone. A matrix has one row an item and a column a rater: columns called p000, p001, ..., or those that the role
    ``raters`` matches (``"rater_*"``); its raters have no demographics.

    ``safe``, ``unsure`` and ``unsafe`` are known words; ``words`` gives further ones, as one of these or a number from 0 to 1
    (yes and no must be given here, since files disagree on what they mean). Numbers must lie within 0 and 1, or within
    ``scale``, (what is safe, what is unsafe), which is mapped onto 0 to 1; a scale may run downwards.

    Set aside in ``rejected``, by row: empty, unknown and out-of-range ratings, a second rating of an item by a rater, an item
    whose text, reply, domain or expert label changes, empty ids. Raises BadInput for missing columns, ids that a spreadsheet
    rounded, a file in which most numbers are out of range, and if no row is left.
    """
    table = as_table(path)
    reader = NumberScale.with_words(words, scale)
    given = dict(columns or {})
    axes = {role: role.removeprefix(_AXIS) for role in given if role.startswith(_AXIS)}
    _check_axes(axes.values(), table)
    names = table.frame.columns
    taken = {given.get("item", ""), *(c for role, c in given.items() if role in ITEM_ROLES)}
    raters = [n for n in names if n not in taken and _is_rater(n, given.get("raters"))]
    wide = "raters" in given or ("rating" not in given and len(raters) > 1 and "rating" not in names)
    rejected: list[tuple[int, str]] = []
    if wide:
        if len(raters) < 2:
            raise table.error(f"Fewer than two columns match '{given.get('raters')}'.", do="Give for example 'p*'.")
        given.pop("raters", None)
        roles = resolve(table, given, required=("item",), optional=ITEM_ROLES, aliases=_ALIASES)
        rows = _wide_rows(table, roles, raters, reader, rejected)
        axis_names: tuple[str, ...] = ()
    else:
        optional = (*ITEM_ROLES, *AXES, *axes)
        roles = resolve(table, given, required=("item", "rater", "rating"), optional=optional, aliases=_ALIASES)
        twice = sorted({column for column in roles.values() if list(roles.values()).count(column) > 1})
        if twice:
            raise table.error(f"The column '{twice[0]}' has two roles.", do="Map each role to its own.")
        rows = _long_rows(table, roles, [r for r in (*AXES, *axes) if r in roles], reader, rejected)
        axis_names = tuple(axes.get(role, role) for role in (*AXES, *axes) if role in roles)
    about = tuple(role for role in ITEM_ROLES if role in roles)
    parsed = list(rows)
    if reader.outside > reader.inside:
        raise table.error(
            f"{reader.outside} of {reader.outside + reader.inside} numbers are out of range; the first: {reader.first}",
            do="Give the ends of the scale, for example 1 (safe) and 5 (unsafe).",
        )
    ratings = collect(parsed, axis_names, about, table.origin, _checksums(table), rejected, ())
    if "gold" not in about:
        return ratings
    checked = polarity_of(ratings)
    if checked is None or checked.auc is None:
        return ratings
    note = f"An item that the expert calls unsafe is rated higher than a safe one with probability {checked.auc:.3f}."
    if checked.flipped:
        note += " Below 0.5: the ratings or the expert labels probably mean the opposite of what is assumed."
    return ratings.with_notes(note)


def polarity_of(table: RatingTable) -> Polarity | None:
    """Do the ratings point the way of the expert label? None if the items have none."""
    from evenhand.methods.pluralism.rating.statistics.raters import polarity

    values, items, _ = table.matrix()
    truth = table.gold(items)
    return None if truth is None else polarity(values, truth)


def _check_axes(names: Iterable[str], table: Table) -> None:
    reserved = {"item_id", "rater_id", "value", "label", *ITEM_ROLES}
    for name in names:
        if not name or name in reserved or name in AXES:
            raise table.error(f"A custom axis cannot be called '{name}'.", do="Choose another.")


def _is_rater(name: str, pattern: str | None) -> bool:
    return _WIDE.fullmatch(name) is not None if pattern is None else fnmatchcase(name, pattern)


def _checksums(table: Table) -> dict[str, str]:
    return {Path(table.origin).name: table.checksum} if table.checksum else {}


def _about(
    table: Table, roles: Mapping[str, str], reader: NumberScale
) -> tuple[list[tuple[str | float | None, ...]], list[str]]:
    """What each row says of its item, and what is wrong with that."""
    labels_of = reader.for_labels()
    columns: list[Sequence[str | float | None]] = []
    wrong = [""] * table.frame.height
    for role in (role for role in ITEM_ROLES if role in roles):
        cells = [cell or "" for cell in table.frame[roles[role]].to_list()]
        if role == "gold":
            labels: list[float | None] = []
            for at, cell in enumerate(cells):
                value, why = labels_of.read(cell) if clean_key(cell) else (None, "")
                if why or value not in (None, 0.0, 1.0):
                    value, wrong[at] = None, f"The expert label '{clean_key(cell)[:40]}' is neither safe nor unsafe."
                labels.append(value)
            columns.append(labels)
        elif role == "domain":
            columns.append([category_slug(cell) or clean_key(cell) for cell in cells])
        else:
            columns.append([cell.replace("\r\n", "\n").strip() for cell in cells])
    rows: list[tuple[str | float | None, ...]] = (
        list(zip(*columns, strict=True)) if columns else [()] * table.frame.height
    )
    return rows, wrong


def _long_rows(
    table: Table, roles: Mapping[str, str], axes: Sequence[str], reader: NumberScale, rejected: list[tuple[int, str]]
) -> Iterator[RatedRow]:
    items = plain_ids(table.frame[roles["item"]].to_list(), table.origin, roles["item"])
    raters = plain_ids(table.frame[roles["rater"]].to_list(), table.origin, roles["rater"])
    about, wrong = _about(table, roles, reader)
    groups = [[clean_key(cell or "") for cell in table.frame[roles[axis]].to_list()] for axis in axes]
    for at, cell in enumerate(table.frame[roles["rating"]].to_list()):
        value, why = reader.read(cell or "")
        why = why or wrong[at]
        if not items[at] or not raters[at]:
            why = f"The cell '{roles['rater' if items[at] else 'item']}' is empty."
        if why or value is None:
            rejected.append((at + 1, f"{table.origin}, row {at + 1}: {why}"))
            continue
        yield RatedRow(at + 1, items[at], raters[at], value, tuple(group[at] for group in groups), about[at])


def _wide_rows(
    table: Table, roles: Mapping[str, str], raters: Sequence[str], reader: NumberScale, rejected: list[tuple[int, str]]
) -> Iterator[RatedRow]:
    items = plain_ids(table.frame[roles["item"]].to_list(), table.origin, roles["item"])
    about, wrong = _about(table, roles, reader)
    columns = [table.frame[name].to_list() for name in raters]
    first: dict[str, int] = {}
    for at, item in enumerate(items):
        why = wrong[at] or ("" if item else f"The cell '{roles['item']}' is empty.")
        if not why and first.setdefault(item, at + 1) != at + 1:
            why = f"The item '{item[:40]}' of row {first[item]} is repeated here."
        if why:
            rejected.append((at + 1, f"{table.origin}, row {at + 1}: {why}"))
            continue
        for rater, cells in zip(raters, columns, strict=True):
            cell = cells[at] or ""
            if not clean_key(cell):
                continue  # this rater did not rate this item
            value, why = reader.read(cell)
            if why or value is None:
                rejected.append((at + 1, f"{table.origin}, row {at + 1}: {why} (column '{rater}')"))
                continue
            yield RatedRow(at + 1, item, rater, value, (), about[at])
