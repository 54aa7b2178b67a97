"""Copies of DICES that hold every overall rating, but not who gave it: agreement can be computed from them, groups cannot.

Shapes: a table of items with counts beside a matrix of answers (350), and items with a string of answers each (990).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenhand.datasets.base import clean_key
from evenhand.datasets.table import Table, read_table, whole_number
from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.data.dices_fields import RELEASES, item_text
from evenhand.methods.pluralism.rating.data.rating_rows import RatedRow, collect
from evenhand.methods.pluralism.rating.data.rating_table import RatingTable
from evenhand.safe_text import surrogate_free
from evenhand.text_input import decoded, parse_json

MATRIX, ITEMS, STRINGS = "dices_350_overall_matrix.csv", "dices_350_items.csv", "dices_990_overall.jsonl.gz"
COPIES: Mapping[str, tuple[str, ...]] = {"350": (MATRIX, ITEMS), "990": (STRINGS,)}
_LETTERS = {"N": 0.0, "U": 0.5, "Y": 1.0}
_COUNTS = ("n_no", "n_unsure", "n_yes")
_RATER = re.compile(r"p\d+")
_LARGEST = 1 << 28
_NO_GROUPS = "This copy does not say who the raters are: nothing can be compared between groups."


def read_copy(file: Path, table: Table | None, which: str | None, *, partial: bool = False) -> RatingTable:
    """Ratings of a copy; ``table`` is the file as it was read, None for a compressed one.

    Raises BadInput for other columns, unknown answers, counts that the answers do not give, and other numbers of ratings than
    were published (unless ``partial``).
    """
    if table is None:
        if which == "350":
            raise BadInput("This file holds the 990 set.", file=file, do="Ask for 990.")
        return _strings(file, partial)
    columns = table.frame.columns
    if which == "990" or "item_id" not in columns:
        raise BadInput(
            f"This is no file of DICES-{which or '350 or 990'}.",
            file=file,
            do=f"Found the columns {', '.join(columns[:6])}. Use a published file, or a copy called {MATRIX} or {STRINGS}.",
        )
    if any(_RATER.fullmatch(name) for name in columns):
        other = file.with_name(ITEMS)
        return _matrix(file, table, read_table(other) if other.is_file() else None, partial)
    other = file.with_name(MATRIX)
    if not other.is_file():
        raise BadInput("The items are here, their ratings are not.", file=file, do=f"Put {MATRIX} beside it.")
    return _matrix(other, read_table(other), table, partial)


def _matrix(file: Path, table: Table, items: Table | None, partial: bool) -> RatingTable:
    release = RELEASES["350"]
    raters = [name for name in table.frame.columns if _RATER.fullmatch(name)]
    about = ("text", "reply", "gold") if items is not None else ()
    known = {} if items is None else _items(items)
    rows: list[RatedRow] = []
    for number, cells in enumerate(table.rows(), start=1):
        item = clean_key(cells["item_id"] or "")
        if items is not None and item not in known:
            raise BadInput(f"The item '{item[:40]}' is not in {ITEMS}.", file=file, row=number)
        said, counts = known.get(item, ((), None))
        values = []
        for rater in raters:
            answer = clean_key(cells[rater] or "")
            if answer not in _LETTERS:
                raise BadInput(f"The answer '{answer[:40]}' of {rater} is not N, U or Y.", file=file, row=number)
            values.append(_LETTERS[answer])
            rows.append(RatedRow(number, item, rater, _LETTERS[answer], (), said))
        _check_counts(values, counts, file, number)
    checksums = {Path(t.origin).name: t.checksum for t in (table, *((items,) if items is not None else ()))}
    _check_size(len(rows), release.rows, file, partial)
    return collect(rows, (), about, table.origin, checksums, (), (_NO_GROUPS,))


def _items(table: Table) -> dict[str, tuple[tuple[str | float | None, ...], list[int]]]:
    missing = [n for n in ("item_id", "context", "response", "safety_gold", *_COUNTS) if n not in table.frame.columns]
    if missing:
        raise table.error(f"There is no column '{missing[0]}'.")
    found: dict[str, tuple[tuple[str | float | None, ...], list[int]]] = {}
    for number, cells in enumerate(table.rows(), start=1):
        gold = {"Yes": 1.0, "No": 0.0}.get(clean_key(cells["safety_gold"] or ""))
        if gold is None:
            raise table.error(f"The expert label '{cells['safety_gold']}' is not Yes or No.", number)
        shown = [item_text(cells[name] or "", RELEASES["350"]) for name in ("context", "response")]
        counts = [whole_number(cells[name] or "", "The count", file=table.origin, row=number) for name in _COUNTS]
        item = clean_key(cells["item_id"] or "")
        if item in found:
            raise table.error(f"The item '{item[:40]}' is repeated here.", number)
        found[item] = ((*shown, gold), counts)
    return found


def _strings(file: Path, partial: bool) -> RatingTable:
    from xxhash import xxh3_128_hexdigest

    try:
        packed = file.read_bytes()
        with gzip.open(file, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"The file cannot be unpacked: {error}", file=file) from error
    if len(data) > _LARGEST:
        raise BadInput(f"Unpacked, the file is larger than {_LARGEST >> 20} MB.", file=file)
    rows: list[RatedRow] = []
    for number, line in enumerate(filter(None, (part.strip() for part in data.split(b"\n"))), start=1):
        item, said, letters, counts = _line(line, file, number)
        values = [_LETTERS[letter] for letter in letters]
        _check_counts(values, counts, file, number)
        rows += [RatedRow(number, item, f"place-{at:02d}", value, (), said) for at, value in enumerate(values)]
    _check_size(len(rows), RELEASES["990"].rows, file, partial)
    notes = (
        _NO_GROUPS,
        "A place in an item's list of ratings is not a person: what needs to know who rated is undefined.",
    )
    checksums = {file.name: f"xxh128:{xxh3_128_hexdigest(packed)}"}
    return collect(rows, (), ("text", "reply"), str(file), checksums, (), notes, identified=False)


def _line(line: bytes, file: Path, number: int) -> tuple[str, tuple[str, str], str, list[int]]:
    cells: Any = parse_json(decoded(line, file), file=file, row=number, what="The line")
    try:
        letters = cells["ratings"]
        item, texts, counts = str(cells["item_id"]), (cells["context"], cells["response"]), [cells[n] for n in _COUNTS]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"The line is no item with its ratings: {type(error).__name__} {error}", file=file, row=number
        ) from error
    if not isinstance(letters, str) or set(letters) - set(_LETTERS) or not all(isinstance(t, str) for t in texts):
        raise BadInput("The ratings are no text of N, U and Y, or a text is none.", file=file, row=number)
    context, reply = (item_text(surrogate_free(text), RELEASES["990"]) for text in texts)
    return item, (context, reply), letters, counts


def _check_counts(values: list[float], counts: list[int] | None, file: Path, number: int) -> None:
    told = [values.count(value) for value in _LETTERS.values()]
    if counts is not None and told != counts:
        raise BadInput(f"The answers count to {told} (no, unsure, yes), the item says {counts}.", file=file, row=number)


def _check_size(found: int, published: int, file: Path, partial: bool) -> None:
    if found != published and not partial:
        raise BadInput(
            f"The file has {found:,} ratings, {published:,} were published.",
            file=file,
            do="Fetch it again, whole, or say that it is partial.",
        )
