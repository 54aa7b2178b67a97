"""Whom an evaluation set mentions: identities and pronouns by column, their roles and counts, and who is missing.

A count of words, not of meanings: a set can speak of people without any word of the list, and a word can be quoted. What is
unclear (see `evenhand.methods.reward.coverage.terms`) is counted apart and never as covered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evenhand.datasets.table import SUFFIXES, Table, as_table
from evenhand.errors import BadInput
from evenhand.methods.reward.coverage.terms import TermList, read_terms, searchable
from evenhand.text_input import json_or

PLACES = ("prompt", "option", "label", "text")
_WORDS = {
    "prompt": "prompt question context instruction input query passage premise system stem user",
    "option": "option options choice choices ans answer answers response responses completion output chosen rejected "
    "candidate ending endings continuation target_text messages conversation",
    "label": "label labels target targets stereotype anti_stereotype antistereotype stereo antistereo group groups category "
    "categories bias_type type gold identity gender race religion class axis stereotyped_groups",
}
_KNOWN = {word: place for place, words in _WORDS.items() for word in words.split()}
_TECHNICAL = re.compile(r"(?:^|_)(?:id|ids|uuid|sha\d*|hash|md5|url|link|index|source|split|date|time|version)$")


@dataclass(frozen=True, slots=True)
class Column:
    """A column that was searched: its place (prompt, option, label or text) and its rows with text."""

    name: str
    place: str
    rows: int


@dataclass(frozen=True, slots=True)
class TermCount:
    """One term in one column and role: how often, and in which data rows (from 1; lines of a txt file)."""

    axis: str
    identity: str
    term: str
    role: str
    place: str
    column: str
    ambiguous: str
    disclosed: bool
    mentions: int
    rows: tuple[int, ...]

    @property
    def clear(self) -> bool:
        """Whether the word surely names the identity; an unclear role alone does no harm."""
        return self.ambiguous in ("", "role")


@dataclass(frozen=True, slots=True)
class IdentityCount:
    """An identity in the whole set or in one column: rows and mentions that are clear, and rows that are unclear only.

    ``roles`` and ``places`` count clear mentions; ``disclosed`` counts those that the speaker says of themself.
    """

    axis: str
    identity: str
    rows: tuple[int, ...]
    mentions: int
    unclear_rows: tuple[int, ...]
    disclosed: int
    roles: Mapping[str, int]
    places: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whom a set mentions. ``rows`` holds text in some searched column; ``left_out`` says why columns were not searched.

    ``excerpts`` are (identity, row, column, text around the term), only if requested.
    """

    origin: str
    checksum: str
    rows: int
    columns: tuple[Column, ...]
    left_out: Mapping[str, str]
    terms: TermList
    counts: tuple[TermCount, ...]
    excerpts: tuple[tuple[str, int, str, str], ...] = field(default=(), repr=False)

    def identities(self, column: str | None = None) -> list[IdentityCount]:
        """Every identity of the list, mentioned or not, in the whole set or in one column."""
        counts = [count for count in self.counts if column in (None, count.column)]
        by_name: dict[tuple[str, str], list[TermCount]] = {}
        for count in counts:
            by_name.setdefault((count.axis, count.identity), []).append(count)
        return [
            _sum_up(axis, name, by_name.get((axis, name), []))
            for axis, names in self.terms.identities().items()
            for name in names
        ]

    def missing(self, column: str | None = None) -> dict[str, tuple[str, ...]]:
        """Axis to the identities without any clear mention; axes with none missing are left out."""
        missing: dict[str, list[str]] = {}
        for count in self.identities(column):
            if not count.rows:
                missing.setdefault(count.axis, []).append(count.identity)
        return {axis: tuple(names) for axis, names in missing.items()}

    def mentioned(self, axis: str, *, but: Collection[str] = (), column: str | None = None) -> frozenset[int]:
        """Rows with a clear mention on an axis, of any identity but some."""
        counts = self.identities(column)
        return frozenset(row for c in counts if c.axis == axis and c.identity not in but for row in c.rows)

    def sentences(self) -> list[str]:
        """The findings in plain words: gender, pronouns, other axes, speakers, and what is unclear."""
        sentences = []
        axes = self.terms.identities()
        if "gender" in axes:
            sentences.append(self._only("gender", "mention a gender", ("women", "men"), "women or men"))
        if "pronoun" in axes:
            sentences.append(self._only("pronoun", "use a third-person pronoun", ("he", "she"), "he or she"))
            neo = self.mentioned("pronoun", but=("he", "she", "they"))
            sentences.append(f"{len(neo):,} of {self.rows:,} rows use a neopronoun.")
        for axis in axes:
            if axis not in ("gender", "pronoun"):
                sentences.append(f"{len(self.mentioned(axis)):,} of {self.rows:,} rows mention {axis}.")
        speakers = {row for count in self.counts if count.disclosed for row in count.rows}
        sentences.append(f"In {len(speakers):,} of {self.rows:,} rows a speaker states an identity of their own.")
        unclear = {row for count in self.counts if not count.clear for row in count.rows}
        sentences.append(
            f"{len(unclear):,} rows contain a word that may mean something else; it is not counted as a mention."
        )
        return sentences

    def _only(self, axis: str, what: str, usual: Sequence[str], words: str) -> str:
        any_rows, beyond = self.mentioned(axis), self.mentioned(axis, but=usual)
        return f"{len(any_rows):,} of {self.rows:,} rows {what}; {len(any_rows) - len(beyond):,} of them only {words}."

    def records(self) -> list[dict[str, Any]]:
        """One flat record per term, column and role, for a csv file; row numbers are joined by spaces."""
        return [asdict(count) | {"rows": " ".join(map(str, count.rows))} for count in self.counts]

    def as_dict(self) -> dict[str, Any]:
        """Everything but texts, for JSON."""
        return {
            "origin": self.origin,
            "checksum": self.checksum,
            "rows": self.rows,
            "terms": {"origin": self.terms.origin, "checksum": self.terms.checksum, "count": len(self.terms.terms)},
            "sentences": self.sentences(),
            "columns": [asdict(column) | {"missing": self.missing(column.name)} for column in self.columns],
            "left_out": dict(self.left_out),
            "identities": [asdict(count) for count in self.identities()],
            "missing": self.missing(),
            "counts": [asdict(count) for count in self.counts],
        }


def coverage(
    source: Any,
    mapping: Mapping[str, Sequence[str]] | None = None,
    *,
    terms: Any = None,
    excerpts: int = 0,
) -> Coverage:
    """Count the terms of the list in a csv, tsv, jsonl, parquet or txt file, or a frame.

    ``mapping`` is place (`PLACES`) to columns; without it every column with letters is searched, its place taken from
    its name (unknown names are "text"), except identifiers, links and hashes. Cells that hold JSON lists or objects are
    searched in their strings, not their keys. ``terms`` is a list for `read_terms`; ``excerpts`` keeps that many texts for
    each identity. Raises BadInput for an unknown place or column, a column under two places, and no text at all.
    """
    table = _table(source)
    listed = read_terms(terms)
    places, left_out = _places(table, mapping)
    counts: dict[tuple[str, str, str, str, str, str, str, bool], list[int]] = {}
    shown: dict[str, list[tuple[str, int, str, str]]] = {}
    columns: list[Column] = []
    with_text: set[int] = set()
    for name, place in places.items():
        filled = [(row, cell) for row, cell in enumerate(table.frame[name], start=1) if (cell or "").strip()]
        with_text.update(row for row, _ in filled)
        columns.append(Column(name, place, len(filled)))
        for row, cell in filled:
            for text in _strings(cell):
                for m in listed.mentions(text):
                    term = m.term
                    key = (term.axis, term.identity, term.term, m.role, place, name, m.ambiguous, m.disclosed)
                    counts.setdefault(key, []).append(row)
                    kept = shown.setdefault(term.identity, [])
                    if len(kept) < excerpts:
                        around = searchable(text)[max(0, m.start - 40) : m.end + 40]
                        kept.append((term.identity, row, name, " ".join(around.split())))
    if not with_text:
        raise table.error("No column holds text to search.", do="Name one with --map prompt=COLUMN.")
    return Coverage(
        origin=table.origin,
        checksum=table.checksum,
        rows=len(with_text),
        columns=tuple(columns),
        left_out=left_out,
        terms=listed,
        counts=tuple(TermCount(*key, len(rows), tuple(sorted(set(rows)))) for key, rows in counts.items()),
        excerpts=tuple(entry for kept in shown.values() for entry in kept),
    )


def _table(source: Any) -> Table:
    if not isinstance(source, (str, Path)) or Path(source).suffix.lower() != ".txt":
        if isinstance(source, (str, Path)) and Path(source).suffix.lower() not in SUFFIXES:
            readable = ", ".join((*SUFFIXES, ".txt"))
            raise BadInput(
                f"Files of type '{Path(source).suffix}' are not read.", file=source, do=f"Known: {readable}."
            )
        return as_table(source)
    import polars as pl
    from xxhash import xxh3_128_hexdigest

    try:
        data = Path(source).read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise BadInput(f"The file cannot be read: {error.strerror}.", file=source) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"The file is not UTF-8: byte {error.start}.", file=source, do="Save it as UTF-8.") from error
    if not any(line.strip() for line in lines):
        raise BadInput("The file is empty.", file=source)
    return Table(pl.DataFrame({"text": lines}), str(source), f"xxh128:{xxh3_128_hexdigest(data)}")


def _places(table: Table, mapping: Mapping[str, Sequence[str]] | None) -> tuple[dict[str, str], dict[str, str]]:
    """Column to place, and column to the reason why it is not searched."""
    names = table.frame.columns
    if mapping:
        placed: dict[str, str] = {}
        for place, columns in mapping.items():
            if place not in PLACES:
                raise table.error(f"Unknown place '{place}'.", do=f"Known: {', '.join(PLACES)}.")
            for column in columns:
                if column not in names:
                    raise table.error(f"There is no column '{column}'.", do=f"Found: {', '.join(names)}.")
                if placed.setdefault(column, place) != place:
                    raise table.error(f"Column '{column}' is mapped to two places.")
        return placed, {name: "not listed in --map" for name in names if name not in placed}
    placed, left_out = {}, {}
    for name in names:
        plain = re.sub(r"[\s-]+", "_", name.strip().lower())
        if _TECHNICAL.search(plain):
            left_out[name] = "an identifier, link or hash by its name"
        elif not any(re.search(r"[^\W\d_]", cell) for cell in table.frame[name] if cell):
            left_out[name] = "without letters"
        else:
            parts = (plain, re.sub(r"_?(?:\d+|[a-e])$", "", plain), *plain.split("_"))
            placed[name] = next((_KNOWN[part] for part in parts if part in _KNOWN), "text")
    return placed, left_out


def _strings(cell: str) -> Iterator[str]:
    """The cell, or the strings in it if it is a JSON list or object."""
    value: Any = cell
    if cell.lstrip()[:1] in ("[", "{"):
        value = json_or(cell, cell)
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(reversed(value))


def _sum_up(axis: str, identity: str, counts: Sequence[TermCount]) -> IdentityCount:
    clear = [count for count in counts if count.clear]
    rows = {row for count in clear for row in count.rows}
    roles: dict[str, int] = {}
    places: dict[str, int] = {}
    for count in clear:
        roles[count.role] = roles.get(count.role, 0) + count.mentions
        places[count.place] = places.get(count.place, 0) + count.mentions
    return IdentityCount(
        axis,
        identity,
        tuple(sorted(rows)),
        sum(count.mentions for count in clear),
        tuple(sorted({row for count in counts for row in count.rows} - rows)),
        sum(count.mentions for count in clear if count.disclosed),
        roles,
        places,
    )
