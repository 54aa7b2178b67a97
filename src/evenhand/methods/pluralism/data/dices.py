"""DICES: conversations whose last chatbot reply raters of known gender, race, age and education labelled safe, unsure or unsafe.

Reads the two published files (350 and 990 conversations; arXiv 2306.11247, CC BY 4.0). Their columns differ from the readme, cells
hold line breaks, and Yes means unsafe. Also reads two copies that hold every overall rating but not who gave it: a table of items
with counts next to a matrix of answers (350), and items with a string of answers each (990). Agreement can be computed from the
copies, groups cannot.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from evenhand.datasets.base import Sources, clean_key
from evenhand.datasets.table import Table, read_table, whole_number
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.dices_fields import (
    ANSWERS,
    HEADERS,
    RELEASES,
    REMOVED_350,
    SPELLINGS,
    Release,
    domains_of,
    item_text,
    reason_columns,
    topics_of,
)
from evenhand.methods.pluralism.data.rating_table import RatedRow, RatingTable, collect, plain_ids
from evenhand.methods.pluralism.data.ratings import polarity_of
from evenhand.safe_text import surrogate_free
from evenhand.text_input import decoded, parse_json, read_text

NAMES = ("dices", "dices-350", "dices-990")
SOURCE = "google-research-datasets/dices-dataset (arXiv 2306.11247)"
LICENCE = "CC BY 4.0"
OTHER_TOPIC = "dices_topic:"
"""Begins the domain of an item none of whose topics belongs to one of the 14 domains."""
FILES: Mapping[str, tuple[str, ...]] = {
    name: tuple(f"{folder}diverse_safety_adversarial_dialog_{name}.csv" for folder in ("", f"{name}/"))
    for name in RELEASES
}
MATRIX, ITEMS, STRINGS = "dices_350_overall_matrix.csv", "dices_350_items.csv", "dices_990_overall.jsonl.gz"
COPIES: Mapping[str, tuple[str, ...]] = {"350": (MATRIX, ITEMS), "990": (STRINGS,)}
_LETTERS = {"N": 0.0, "U": 0.5, "Y": 1.0}
_COUNTS = ("n_no", "n_unsure", "n_yes")
_RATER = re.compile(r"p\d+")
_LARGEST = 1 << 28
_NO_GROUPS = "This copy does not say who the raters are: nothing can be compared between groups."


def read_dices(
    path: str | Path,
    which: Literal["350", "990"] | None = None,
    *,
    partial: bool = False,
    drop_removed: bool = False,
    removed: str | Path | Sequence[str] | None = None,
    spellings: Mapping[str, Mapping[str, str]] | None = None,
    polarity: Literal["refuse", "note"] = "refuse",
) -> RatingTable:
    """Ratings of one of the two sets, from its published file, from a copy without raters, or from a folder that holds either.

    In a folder the 350 set is read unless ``which`` says otherwise, and a published file is preferred to a copy. ``items`` has
    text (the conversation), reply (what was rated), domain (of the expert's first topic that belongs to one of 14 domains, else
    a level of its own), topics, harm (the expert's degree), and in the 350 set gold (the expert's label).
    ``partial`` allows another number of rows than was published. ``removed`` are the raters that the authors leave out, as ids
    or a file of them (known for the 350 set); ``drop_removed`` leaves them out here too. ``spellings`` adds axis to spelling to
    value. ``polarity`` says what happens where the crowd contradicts the expert.

    Raises BadInput, with file, row and value, for an unknown answer or demographic value; for a missing column; for a row count
    that was not published; and where items that the expert calls unsafe are rated as safer (area under the curve below 0.5).
    """
    if which is not None and which not in RELEASES:
        raise BadInput(f"Unknown DICES set '{which}'.", do=f"Known: {', '.join(RELEASES)}.")
    file = _find(Path(path), which)
    table = None if file.suffix.lower() == ".gz" else read_table(file)
    if table is None or {"item_id", "rater_id", "Q_overall"} - set(table.frame.columns):
        ratings = read_copy(file, table, which, partial=partial)
        if drop_removed or removed is not None:
            raise BadInput("A copy without raters cannot exclude raters.", file=file, do="Use the published file.")
    else:
        release = _release(table, which)
        ratings = _read(file, table, release, partial, spellings or {})
        ratings = _with_removed(ratings, release, removed, partial=partial)
    ratings = _with_polarity(ratings, polarity)
    if not drop_removed:
        return ratings
    if not ratings.removed_by_authors:
        raise BadInput(
            "This file holds none of the raters that its authors excluded.",
            file=file,
            do="Give their ids; they are known only for the 350 set.",
        )
    note = f"{len(ratings.removed_by_authors)} raters that the authors of the data left out are left out here."
    return ratings.without_raters(ratings.removed_by_authors).with_notes(note)


def open_dices(name: str, data_root: str | Path | None = None) -> RatingTable | None:
    """The set with one of `NAMES` (``dices`` is the 350 set) from the folder of public data; None for another name."""
    if name not in NAMES:
        return None
    return open_990(data_root) if name == "dices-990" else open_350(data_root)


def open_350(data_root: str | Path | None = None) -> RatingTable:
    """DICES-350 from the folder of public data."""
    return read_dices(_folder(data_root), "350")


def open_990(data_root: str | Path | None = None) -> RatingTable:
    """DICES-990 from the folder of public data."""
    return read_dices(_folder(data_root), "990")


def _folder(data_root: str | Path | None) -> Path:
    return Sources("dices", None if data_root is None else Path(data_root) / "dices").folder


def topic_domain(harm_type: str) -> str:
    """The domain of an item: that of its first topic with one, else its first topic as a level of its own."""
    domains, topics = domains_of(harm_type), topics_of(harm_type)
    return domains[0] if domains else OTHER_TOPIC + (topics[0] if topics else "none")


def _find(path: Path, which: str | None) -> Path:
    if not path.is_dir():
        return path
    sets = [which] if which else list(RELEASES)
    names = [name for key in sets for name in (*FILES[key], *COPIES[key])]
    file = next((path / name for name in names if (path / name).is_file()), None)
    if file is None:
        raise BadInput("The folder holds no DICES file.", file=path, do=f"Put one of these there: {', '.join(names)}.")
    return file


def _release(table: Table, which: str | None) -> Release:
    columns = set(table.frame.columns)
    lacking = {name: [c for c in header if c not in columns] for name, header in HEADERS.items()}
    name = which or min(lacking, key=lambda key: len(lacking[key]))
    if lacking[name]:
        raise table.error(
            f"DICES-{name} has a column '{lacking[name][0]}', which is missing here ({len(lacking[name])} are).",
            do="Use the published file with all its columns.",
        )
    return RELEASES[name]


def _read(
    file: Path, table: Table, release: Release, partial: bool, spellings: Mapping[str, Mapping[str, str]]
) -> RatingTable:
    frame, origin = table.frame, table.origin
    if frame.height != release.rows and not partial:
        raise BadInput(
            f"The file has {frame.height:,} rows, DICES-{release.name} has {release.rows:,}.",
            file=origin,
            do="Download it again completely (cells hold quoted line breaks), or declare it partial.",
        )
    values, overall = _answers(table)
    cells: dict[str, list[str]] = {
        name: [cell or "" for cell in frame[name].to_list()]
        for name in ("context", "response", "degree_of_harm", "harm_type")
    }
    shown = {cell: item_text(cell, release) for name in ("context", "response") for cell in set(cells[name])}
    domain = {cell: topic_domain(cell) for cell in set(cells["harm_type"])}
    topics = {cell: ", ".join(topics_of(cell)) for cell in domain}
    about: dict[str, Sequence[Any]] = {
        "text": [shown[cell] for cell in cells["context"]],
        "reply": [shown[cell] for cell in cells["response"]],
        "domain": [domain[cell] for cell in cells["harm_type"]],
        "topics": [topics[cell] for cell in cells["harm_type"]],
        "harm": [clean_key(cell) for cell in cells["degree_of_harm"]],
    }
    if "safety_gold" in frame.columns:
        about["gold"] = _mapped(table, "safety_gold", {"No": 0.0, "Yes": 1.0}, "")
    axes = tuple(release.axes)
    groups = [
        _mapped(table, column, {**SPELLINGS[axis], **spellings.get(axis, {}), "": ""}, f" of the axis {axis}")
        for axis, column in release.axes.items()
    ]
    items = plain_ids(frame["item_id"].to_list(), origin, "item_id")
    raters = plain_ids(frame["rater_id"].to_list(), origin, "rater_id")
    empty = next((at for at, ids in enumerate(zip(items, raters, strict=True)) if not all(ids)), None)
    if empty is not None:
        raise BadInput("The item_id or the rater_id is empty.", file=origin, row=empty + 1)
    rows = [
        RatedRow(at, item, rater, value, profile, about_item)
        for at, (item, rater, value, profile, about_item) in enumerate(
            zip(items, raters, values, zip(*groups, strict=True), zip(*about.values(), strict=True), strict=True),
            start=1,
        )
    ]
    checksums = {file.name: table.checksum}
    ratings = collect(rows, axes, tuple(about), origin, checksums, (), (_bytes(file, release), overall))
    return ratings.with_notes(*_sizes(ratings, release), *_topic_notes(ratings))


def _answers(table: Table) -> tuple[list[float], str]:
    """The values of Q_overall, and whether it is what the single reasons give: unsafe if any is, else unsure if any is."""
    frame = table.frame
    means: Mapping[str, float] = ANSWERS
    reasons = [_mapped(table, name, means, "") for name in reason_columns(frame.columns)]
    values = cast(list[float], _mapped(table, "Q_overall", means, ""))
    derived = [max(row) for row in zip(*reasons, strict=True)]
    wrong = [at for at, pair in enumerate(zip(values, derived, strict=True), start=1) if pair[0] != pair[1]]
    rule = "the rule (unsafe if any reason is unsafe, else unsure if any is unsure, else safe)"
    if not wrong:
        return values, f"Q_overall is what {rule} gives in all {len(values):,} rows."
    return (
        values,
        f"Q_overall differs from {rule} in {len(wrong):,} of {len(values):,} rows, first in row {wrong[0]}; it is used.",
    )


def _mapped(table: Table, column: str, meanings: Mapping[str, Any], of: str) -> list[Any]:
    cells = [cell or "" for cell in table.frame[column].to_list()]
    means = {cell: meanings.get(clean_key(cell)) for cell in set(cells)}
    if None in means.values():
        at = next(at for at, cell in enumerate(cells) if means[cell] is None)
        raise table.error(
            f"Unknown value '{clean_key(cells[at])[:60]}' in column '{column}'{of}.",
            at + 1,
            do=(
                f"Known: {'; '.join(key for key in meanings if key)}."
                + (" If it means one of these, map its spelling." if of else "")
            ),
        )
    return [means[cell] for cell in cells]


def _bytes(file: Path, release: Release) -> str:
    with file.open("rb") as stream:
        same = hashlib.file_digest(stream, "sha256").hexdigest() == release.sha256
    return f"The file is{'' if same else ' not'}, byte for byte, the published DICES-{release.name} (sha256)."


def _sizes(ratings: RatingTable, release: Release) -> list[str]:
    counts = ratings.counts()
    return [
        f"{counts[what]:,} {what} are here; DICES-{release.name} has {published:,}."
        for what, published in (("items", release.items), ("raters", release.raters))
        if counts[what] != published
    ]


def _topic_notes(ratings: RatingTable) -> list[str]:
    other = Counter(
        domain.removeprefix(OTHER_TOPIC)
        for domain in ratings.items["domain"].to_list()
        if domain.startswith(OTHER_TOPIC)
    )
    if not other:
        return []
    topics = ", ".join(f"{topic} {count}" for topic, count in other.most_common())
    return [
        f"{sum(other.values())} of {ratings.items.height} items have no topic that belongs to one of the 14 domains and keep their "
        f"own: {topics}. Which topic belongs to which domain is a chosen default."
    ]


def _with_removed(
    ratings: RatingTable, release: Release, removed: str | Path | Sequence[str] | None, *, partial: bool
) -> RatingTable:
    if isinstance(removed, (str, Path)):
        listed: Sequence[str] = read_text(Path(removed)).split()
    else:
        listed = (REMOVED_350 if release.name == "350" else ()) if removed is None else removed
    present = set(ratings.frame["rater_id"].unique().to_list())
    out = tuple(rater for rater in dict.fromkeys(map(str, listed)) if rater in present)
    absent = len(set(map(str, listed))) - len(out)
    if absent and not partial:
        ratings = ratings.with_notes(
            f"{absent} of the {len(listed)} raters that are to be left out are not in the file."
        )
    return replace(ratings, removed_by_authors=out)


def _with_polarity(ratings: RatingTable, polarity: Literal["refuse", "note"]) -> RatingTable:
    checked = polarity_of(ratings)
    if checked is None:
        return ratings.with_notes("There is no expert label, so whether Yes means unsafe cannot be checked.")
    if checked.auc is None:
        return ratings.with_notes(f"Whether Yes means unsafe cannot be checked: {checked.reason}.")
    note = f"Expert label against crowd: area under the curve {checked.auc:.3f} (.790 in the whole 350 set)."
    if not checked.flipped:
        return ratings.with_notes(note)
    why = f"The labels look flipped. {note} Yes must mean unsafe."
    if polarity == "refuse":
        raise BadInput(
            why, file=ratings.origin, do="Use the published file: a copy asks 'is it safe?' and kept Yes and No."
        )
    return ratings.with_notes(why)


def read_copy(file: Path, table: Table | None, which: str | None, *, partial: bool = False) -> RatingTable:
    """Ratings of a copy; ``table`` is the file as it was read, None for a compressed one.

    Raises BadInput for other columns, unknown answers, counts that the answers do not give, and other numbers of ratings than
    were published (unless ``partial``).
    """
    if table is None:
        if which == "350":
            raise BadInput("This file holds the 990 set.", file=file, do="Choose 990.")
        return _strings(file, partial)
    columns = table.frame.columns
    if which == "990" or "item_id" not in columns:
        raise BadInput(
            f"This is not a file of DICES-{which or '350 or 990'}.",
            file=file,
            do=f"Found the columns {', '.join(columns[:6])}. Use a published file, or a copy called {MATRIX} or {STRINGS}.",
        )
    if any(_RATER.fullmatch(name) for name in columns):
        other = file.with_name(ITEMS)
        return _matrix(file, table, read_table(other) if other.is_file() else None, partial)
    other = file.with_name(MATRIX)
    if not other.is_file():
        raise BadInput("The file holds the items without their ratings.", file=file, do=f"Put {MATRIX} next to it.")
    return _matrix(other, read_table(other), table, partial)


def _matrix(file: Path, table: Table, items: Table | None, partial: bool) -> RatingTable:
    release = RELEASES["350"]
    raters = [name for name in table.frame.columns if _RATER.fullmatch(name)]
    about = ("text", "reply", "gold") if items is not None else ()
    item_facts = {} if items is None else _items(items)
    rows: list[RatedRow] = []
    for number, cells in enumerate(table.rows(), start=1):
        item = clean_key(cells["item_id"] or "")
        if items is not None and item not in item_facts:
            raise BadInput(f"The item '{item[:40]}' is not in {ITEMS}.", file=file, row=number)
        about_item, counts = item_facts.get(item, ((), None))
        values = []
        for rater in raters:
            answer = clean_key(cells[rater] or "")
            if answer not in _LETTERS:
                raise BadInput(f"The answer '{answer[:40]}' of {rater} is not N, U or Y.", file=file, row=number)
            values.append(_LETTERS[answer])
            rows.append(RatedRow(number, item, rater, _LETTERS[answer], (), about_item))
        _check_counts(values, counts, file, number)
    checksums = {Path(t.origin).name: t.checksum for t in (table, *((items,) if items is not None else ()))}
    _check_size(len(rows), release.rows, file, partial)
    return collect(rows, (), about, table.origin, checksums, (), (_NO_GROUPS,))


def _items(table: Table) -> dict[str, tuple[tuple[str | float | None, ...], list[int]]]:
    missing = [n for n in ("item_id", "context", "response", "safety_gold", *_COUNTS) if n not in table.frame.columns]
    if missing:
        raise table.error(f"There is no column '{missing[0]}'.")
    item_facts: dict[str, tuple[tuple[str | float | None, ...], list[int]]] = {}
    for number, cells in enumerate(table.rows(), start=1):
        gold = {"Yes": 1.0, "No": 0.0}.get(clean_key(cells["safety_gold"] or ""))
        if gold is None:
            raise table.error(f"The expert label '{cells['safety_gold']}' is not Yes or No.", number)
        shown = [item_text(cells[name] or "", RELEASES["350"]) for name in ("context", "response")]
        counts = [whole_number(cells[name] or "", "The count", file=table.origin, row=number) for name in _COUNTS]
        item = clean_key(cells["item_id"] or "")
        if item in item_facts:
            raise table.error(f"The item '{item[:40]}' is repeated here.", number)
        item_facts[item] = ((*shown, gold), counts)
    return item_facts


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
        item, about_item, letters, counts = _line(line, file, number)
        values = [_LETTERS[letter] for letter in letters]
        _check_counts(values, counts, file, number)
        rows += [RatedRow(number, item, f"place-{at:02d}", value, (), about_item) for at, value in enumerate(values)]
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
            f"The line is not an item with its ratings: {type(error).__name__} {error}", file=file, row=number
        ) from error
    if not isinstance(letters, str) or set(letters) - set(_LETTERS) or not all(isinstance(t, str) for t in texts):
        raise BadInput("The ratings are not a string of N, U and Y, or a text is not a string.", file=file, row=number)
    context, reply = (item_text(surrogate_free(text), RELEASES["990"]) for text in texts)
    return item, (context, reply), letters, counts


def _check_counts(values: list[float], counts: list[int] | None, file: Path, number: int) -> None:
    counted = [values.count(value) for value in _LETTERS.values()]
    if counts is not None and counted != counts:
        raise BadInput(
            f"The answers count to {counted} (no, unsure, yes), the item says {counts}.", file=file, row=number
        )


def _check_size(size: int, published: int, file: Path, partial: bool) -> None:
    if size != published and not partial:
        raise BadInput(
            f"The file has {size:,} ratings, {published:,} were published.",
            file=file,
            do="Download it again completely, or declare it partial.",
        )
