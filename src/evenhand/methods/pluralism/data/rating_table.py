"""The table that every reader of ratings returns: long rows, items, and matrices of them; and how rows become that table.

A cell is a rating or has a reason why it is not one. Ids stay whole, and rows of the same item or rater must agree about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from evenhand.datasets.base import clean_key
from evenhand.datasets.question_texts import OPTIONS
from evenhand.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


AXES = ("gender", "race", "age", "education", "locale")
"""Axes that are known by name."""
VIEWS = ("all raters", "without the raters its authors removed", "without straight-lining raters")
"""Which raters take part; results are shown under each."""
MOST_CELLS = 100_000_000
_WORDS = dict(zip(OPTIONS, (0.0, 0.5, 1.0), strict=True))
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII)
_ROUNDED = re.compile(r"(\d)\.(\d+)[eE]\+?(\d+)", re.ASCII)
_WHOLE = re.compile(r"\d+\.0", re.ASCII)


def label_of(value: float) -> str:
    """``safe`` below 0.5, ``unsure`` at 0.5, ``unsafe`` above: the rule by which a rating counts as unsafe."""
    return OPTIONS[0] if value < 0.5 else OPTIONS[2] if value > 0.5 else OPTIONS[1]


@dataclass(frozen=True, slots=True, eq=False)
class RatingTable:
    """Ratings of items by raters.

    ``frame`` is long: item_id, rater_id (texts), value (0 safe to 1 unsafe), label (safe, unsure, unsafe), and a column for each
    of ``axes``, empty if a rater's value is missing; one row for each (item, rater). ``items`` holds item_id, text, and reply,
    domain (texts, empty where missing) and gold (1 unsafe, 0 safe, null unknown) where the source has them.
    ``checksums`` is file to ``xxh128:...``; ``notes`` is what a reader of the numbers must know; ``rejected`` holds (data row from
    1, reason with file and row). ``removed_by_authors`` are raters that the authors of the data leave out of their analyses; they
    are in ``frame`` unless the reader was asked to drop them. Where ``identified`` is False, a rater_id is a place in
    a list and not a person: what needs to know who rated (ICC of two-way models, rater resampling) is not defined.
    """

    frame: pl.DataFrame
    axes: tuple[str, ...]
    items: pl.DataFrame
    origin: str
    checksums: Mapping[str, str]
    notes: tuple[str, ...] = ()
    rejected: tuple[tuple[int, str], ...] = ()
    removed_by_authors: tuple[str, ...] = ()
    identified: bool = True

    def matrix(self, view: pl.DataFrame | None = None) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[str, ...]]:
        """Values (items, raters), NaN if a rater gave none, with the item ids and rater ids of its rows and columns.

        ``view`` is some rows of ``frame``, for example of one group or domain; without it all. Items and raters stand in
        the order of ``frame``; those without a rating in the view are left out. Raises BadInput for more than `MOST_CELLS`.
        """
        import numpy as np

        rows = self.frame if view is None else view
        at, to, items, raters = self._places(rows)
        values = np.full((len(items), len(raters)), np.nan)
        values[at, to] = rows["value"].to_numpy()
        return values, items, raters

    def codes(self, view: pl.DataFrame | None = None) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        """The same with the label of each rating, 0 safe, 1 unsure, 2 unsafe, and -1 where a rater gave none."""
        import numpy as np

        rows = self.frame if view is None else view
        at, to, items, raters = self._places(rows)
        labels = np.full((len(items), len(raters)), -1, dtype=np.int64)
        place = {label: code for code, label in enumerate(OPTIONS)}
        labels[at, to] = [place[label] for label in rows["label"].to_list()]
        return labels, items, raters

    def demographics(self, raters: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
        """Axis to the value of each rater, in the order of ``raters`` (default: of `matrix`); empty where missing.

        Raises BadInput for a rater who is not in the table.
        """
        raters_once = self.frame.unique("rater_id", keep="first", maintain_order=True)
        ids = raters_once["rater_id"].to_list()
        wanted = ids if raters is None else list(raters)
        place = {rater: at for at, rater in enumerate(ids)}
        absent = next((rater for rater in wanted if rater not in place), None)
        if absent is not None:
            raise BadInput(f"Unknown rater '{absent}'.", file=self.origin)
        columns = {axis: raters_once[axis].to_list() for axis in self.axes}
        return {axis: tuple(values[place[rater]] for rater in wanted) for axis, values in columns.items()}

    def gold(self, items: Sequence[str] | None = None) -> NDArray[np.float64] | None:
        """The expert's label of each item, 1 unsafe, 0 safe, NaN unknown; None if the source has none."""
        import numpy as np

        if "gold" not in self.items.columns:
            return None
        gold_of = dict(zip(self.items["item_id"].to_list(), self.items["gold"].to_list(), strict=True))
        labels = [gold_of[item] for item in (gold_of if items is None else items)]
        return np.array([np.nan if label is None else label for label in labels], dtype=np.float64)

    def views(self) -> dict[str, pl.DataFrame]:
        """The rows under each of `VIEWS`; one that would leave nobody out, or cannot be made, is not there."""
        import numpy as np
        import polars as pl

        from evenhand.methods.pluralism.rating.statistics.raters import straight_liners

        views = {VIEWS[0]: self.frame}
        if not self.identified:
            return views
        values, _, raters = self.matrix()
        distinct = np.unique(values[np.isfinite(values)])
        codes = np.where(np.isfinite(values), np.searchsorted(distinct, np.nan_to_num(values)), -1)
        straight = [raters[at] for at in straight_liners(codes)]
        for name, out in zip(VIEWS[1:], (list(self.removed_by_authors), straight), strict=True):
            kept = self.frame.filter(~pl.col("rater_id").is_in(out))
            if 0 < kept.height < self.frame.height:
                views[name] = kept
        return views

    def without_raters(self, raters: Sequence[str]) -> RatingTable:
        """The table without some raters; items that nobody else rated leave it too."""
        import polars as pl

        frame = self.frame.filter(~pl.col("rater_id").is_in(list(raters)))
        if frame.is_empty():
            raise BadInput("No rater is left.", file=self.origin)
        items = self.items.filter(pl.col("item_id").is_in(frame["item_id"].unique().to_list()))
        return replace(self, frame=frame, items=items)

    def with_notes(self, *notes: str) -> RatingTable:
        """The table with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def counts(self) -> dict[str, int]:
        """Ratings, items, raters (0 where they are not identified), rows set aside."""
        raters = self.frame["rater_id"].n_unique() if self.identified else 0
        return {
            "ratings": self.frame.height,
            "items": self.items.height,
            "raters": raters,
            "rejected": len(self.rejected),
        }

    def _places(
        self, rows: pl.DataFrame
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        import numpy as np

        items = {item: at for at, item in enumerate(rows["item_id"].unique(maintain_order=True).to_list())}
        present = set(rows["rater_id"].unique().to_list())
        order = self.frame["rater_id"].unique(maintain_order=True).to_list()
        raters = {rater: at for at, rater in enumerate(rater for rater in order if rater in present)}
        if len(items) * len(raters) > MOST_CELLS:
            raise BadInput(
                f"{len(items):,} items x {len(raters):,} raters are too many for one matrix.",
                file=self.origin,
                do=f"Take a sample of at most {MOST_CELLS:,} cells.",
            )
        at = np.fromiter((items[item] for item in rows["item_id"].to_list()), dtype=np.int64, count=rows.height)
        to = np.fromiter((raters[rater] for rater in rows["rater_id"].to_list()), dtype=np.int64, count=rows.height)
        return at, to, tuple(items), tuple(raters)


class RatedRow(NamedTuple):
    """One rating: its data row, item, rater, value, the rater's value on each axis, and what the row says of the item."""

    row: int
    item: str
    rater: str
    value: float
    groups: tuple[str, ...]
    about: tuple[str | float | None, ...]


@dataclass(slots=True)
class NumberScale:
    """What a cell of a rating column means. Counts numbers ``inside`` and ``outside`` the scale as it reads."""

    words: Mapping[str, float]
    safe: float = 0.0
    unsafe: float = 1.0
    inside: int = field(default=0, init=False)
    outside: int = field(default=0, init=False)
    first: str = field(default="", init=False)

    @classmethod
    def with_words(cls, words: Mapping[str, str | float] | None, scale: tuple[float, float] | None) -> NumberScale:
        """Raises BadInput for a word without a known meaning and a scale without two different finite ends."""
        meanings = dict(_WORDS)
        for word, meaning in (words or {}).items():
            value = _WORDS.get(clean_key(meaning).casefold()) if isinstance(meaning, str) else float(meaning)
            if isinstance(meaning, str) and value is None and _NUMBER.fullmatch(clean_key(meaning).casefold()):
                value = float(meaning)
            if value is None or not 0 <= value <= 1:
                raise BadInput(
                    f"'{word}' cannot mean '{meaning}'.", do=f"Use {', '.join(OPTIONS)}, or a number from 0 to 1."
                )
            meanings[clean_key(word).casefold()] = value
        safe, unsafe = scale or (0.0, 1.0)
        if not (math.isfinite(safe) and math.isfinite(unsafe)) or safe == unsafe:
            raise BadInput(
                f"A scale from {safe} to {unsafe} needs two different finite ends.", do="Give two different numbers."
            )
        return cls(meanings, safe, unsafe)

    def for_labels(self) -> NumberScale:
        """For an expert's labels: the same words, while 0 and 1 mean safe and unsafe whatever scale or codes the ratings have."""
        return NumberScale({word: value for word, value in self.words.items() if _NUMBER.fullmatch(word) is None})

    def read(self, cell: str) -> tuple[float | None, str]:
        """The value from 0 to 1 and an empty text, or None and what is wrong."""
        key = clean_key(cell).casefold()
        if not key:
            return None, "The rating is empty."
        if key in self.words:
            return self.words[key], ""
        if _NUMBER.fullmatch(key) is None:
            return None, f"The rating '{clean_key(cell)[:40]}' is neither a known word nor a number."
        value = (float(key) - self.safe) / (self.unsafe - self.safe)
        if not -1e-9 <= value <= 1 + 1e-9:
            why = f"The rating {clean_key(cell)[:40]} is not within {self.safe:g} and {self.unsafe:g}."
            self.outside, self.first = self.outside + 1, self.first or why
            return None, why
        self.inside += 1
        return min(1.0, max(0.0, value)), ""


def plain_ids(cells: Sequence[str | None], origin: str, column: str) -> list[str]:
    """Ids as texts with every digit; an id of a number column (``173.0`` throughout, or ``2.5e14`` in full) as a whole number.

    Raises BadInput, with the row, for an id that was rounded: ``2.96709E+14`` stands for many raters.
    """
    ids = [clean_key(cell or "") for cell in cells]
    full = [key for key in ids if key]
    if full and all(_WHOLE.fullmatch(key) or _ROUNDED.fullmatch(key) for key in full):
        ids = [key.removesuffix(".0") for key in ids]
    for at, key in enumerate(ids):
        match = _ROUNDED.fullmatch(key)
        if match is None:
            continue
        if len(match[2]) != int(match[3][:6]):
            raise BadInput(
                f"The id '{key}' in column '{column}' is a rounded number.",
                file=origin,
                row=at + 1,
                do="Save the column as text: a spreadsheet, or 32-bit floats, cannot hold long ids.",
            )
        ids[at] = match[1] + match[2]
    return ids


def collect(
    rows: Sequence[RatedRow],
    axes: tuple[str, ...],
    about: tuple[str, ...],
    origin: str,
    checksums: Mapping[str, str],
    rejected: Sequence[tuple[int, str]],
    notes: tuple[str, ...],
    *,
    identified: bool = True,
) -> RatingTable:
    """One table of ``rows``; ``axes`` and ``about`` name the entries of their ``groups`` and ``about``.

    A row that contradicts an earlier one on its item, or rates an item again for the same rater, is set aside. A rater with two
    different values on an axis has none there, and a note says so. Raises BadInput if no row is left.
    """
    aside = list(rejected)
    seen: dict[tuple[str, str], int] = {}
    items: dict[str, list[Any]] = {}
    where: dict[str, list[int]] = {}
    people: dict[str, list[str]] = {}
    first_rows: dict[str, list[int]] = {}
    clashes: dict[str, dict[str, str]] = {}
    kept: list[RatedRow] = []
    for row in rows:
        facts, fact_rows = items.get(row.item), where.get(row.item)
        why = ""
        if facts is not None and fact_rows is not None:
            for name, old, new, line in zip(about, facts, row.about, fact_rows, strict=True):
                if old not in ("", None) and new not in ("", None) and old != new:
                    why = f"The {name} of the item '{row.item[:40]}' is not that of row {line}."
        if not why and (row.item, row.rater) in seen:
            why = f"Rater '{row.rater[:40]}' has rated the item '{row.item[:40]}' in row {seen[row.item, row.rater]}."
        if why:
            aside.append((row.row, f"{origin}, row {row.row}: {why}"))
            continue
        seen[row.item, row.rater] = row.row
        if facts is None or fact_rows is None:
            items[row.item], where[row.item] = list(row.about), [row.row] * len(about)
        else:
            for at, new in enumerate(row.about):
                if facts[at] in ("", None) and new not in ("", None):
                    facts[at], fact_rows[at] = new, row.row
        mine = people.setdefault(row.rater, [""] * len(axes))
        lines = first_rows.setdefault(row.rater, [row.row] * len(axes))
        for at, group in enumerate(row.groups):
            if group and not mine[at]:
                mine[at], lines[at] = group, row.row
            elif group and group != mine[at]:
                clash = f"'{mine[at][:40]}' in row {lines[at]} and '{group[:40]}' in row {row.row}"
                clashes.setdefault(axes[at], {}).setdefault(row.rater, clash)
        kept.append(row)
    aside.sort(key=lambda entry: entry[0])
    if not kept:
        first = aside[0][1] if aside else f"{origin}: there is none."
        raise BadInput(f"No row can be used; the first: {first}", file=origin)
    for axis, raters in clashes.items():
        for rater in raters:
            people[rater][axes.index(axis)] = ""
        rater, clash = next(iter(raters.items()))
        notes = (
            *notes,
            f"{len(raters)} raters have more than one {axis}, taken as missing; the first: rater '{rater[:40]}', {clash}.",
        )
    return _table(kept, items, people, axes, about, origin, checksums, notes, tuple(aside), identified)


def _table(
    kept: Sequence[RatedRow],
    items: Mapping[str, Sequence[Any]],
    people: Mapping[str, Sequence[str]],
    axes: tuple[str, ...],
    about: tuple[str, ...],
    origin: str,
    checksums: Mapping[str, str],
    notes: tuple[str, ...],
    rejected: tuple[tuple[int, str], ...],
    identified: bool,
) -> RatingTable:
    import polars as pl

    frame = pl.DataFrame(
        {
            "item_id": pl.Series([row.item for row in kept], dtype=pl.String),
            "rater_id": pl.Series([row.rater for row in kept], dtype=pl.String),
            "value": pl.Series([row.value for row in kept], dtype=pl.Float64),
            "label": pl.Series([label_of(row.value) for row in kept], dtype=pl.String),
            **{
                axis: pl.Series([people[row.rater][at] for row in kept], dtype=pl.String)
                for at, axis in enumerate(axes)
            },
        }
    )
    columns: dict[str, Any] = {"item_id": pl.Series(list(items), dtype=pl.String)}
    if "text" not in about:
        columns["text"] = pl.Series([""] * len(items), dtype=pl.String)
    for at, name in enumerate(about):
        kind = pl.Float64 if name == "gold" else pl.String
        columns[name] = pl.Series([values[at] for values in items.values()], dtype=kind)
    return RatingTable(frame, axes, pl.DataFrame(columns), origin, checksums, notes, rejected, (), identified)
