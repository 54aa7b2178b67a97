"""The responses behind the figures, packed small enough to travel inside the page.

Rows are coded columns over dictionaries, texts are kept once, long texts are cut with a note of their length, and a
run with more rows than fit is thinned so that every (facet values) stratum keeps its share: rare labels, such as
harmful answers, stay whole.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from evenhand.safe_text import clean, cut


@dataclass(frozen=True, slots=True)
class FacetSet:
    """A filter value that stands for several: ``declined`` for refusal and harmful refusal."""

    key: str
    title: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facet:
    """A column to filter by. ``names`` maps values to display forms; values not in it are shown as given.

    ``strata`` says whether the facet defines strata when rows must be thinned.
    """

    key: str
    title: str
    names: Mapping[str, str]
    sets: tuple[FacetSet, ...] = ()
    strata: bool = False


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One response. ``fold`` names why its text stays closed until opened (``"harmful refusal"``); empty shows it."""

    id: str
    facets: Mapping[str, str]
    prompt: str
    text: str
    repetition: int = 0
    finish: str = ""
    flags: tuple[str, ...] = ()
    fold: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All responses of a run, and how many of them may travel.

    ``max_rows`` and ``max_bytes`` bound what is embedded; ``max_chars`` bounds each text. ``command`` shows the rest.
    """

    facets: tuple[Facet, ...]
    rows: Sequence[EvidenceRow]
    command: str = "evenhand show RUN"
    max_rows: int = 20_000
    max_bytes: int = 8_000_000
    max_chars: int = 2_000


def pack(evidence: Evidence) -> dict[str, Any]:
    """The evidence as one JSON object for the page's script.

    ``rows`` hold one code per facet, then text, prompt, repetition, id, finish, flags and fold; ``totals`` (null
    where every row is here) holds one count per combination of facet values, so that the page can say how many rows
    a filter has in the run.
    """
    facets = evidence.facets
    coders = [_Coder() for _ in facets]
    coded = [
        tuple(coder(clean(row.facets.get(facet.key, ""))) for coder, facet in zip(coders, facets, strict=True))
        for row in evidence.rows
    ]
    texts, prompts, notes = _Texts(evidence.max_chars), _Texts(evidence.max_chars), _Coder()
    packed: list[list[int | str]] = []
    spent = 0
    for index in _order(evidence, coded)[: evidence.max_rows]:
        row = evidence.rows[index]
        before = texts.size + prompts.size
        cells: list[int | str] = [
            *coded[index],
            texts(row.text),
            prompts(row.prompt),
            row.repetition,
            clean(row.id),
            notes(clean(row.finish)),
            notes(clean(", ".join(row.flags))),
            notes(clean(row.fold)),
        ]
        spent += 3 * len(cells) + len(row.id) + texts.size + prompts.size - before
        if packed and spent > evidence.max_bytes:
            break
        packed.append(cells)
    width = len(facets)
    packed.sort(key=lambda cells: (cells[:width], str(cells[width + 3]), cells[width + 2]))
    whole = len(packed) == len(evidence.rows)
    return {
        "facets": [_facet(facet, coder) for facet, coder in zip(facets, coders, strict=True)],
        "rows": packed,
        "texts": texts.values,
        "textLengths": texts.cut,
        "prompts": prompts.values,
        "promptLengths": prompts.cut,
        "notes": notes.values,
        "total": len(evidence.rows),
        "totals": None if whole else [[*codes, n] for codes, n in sorted(Counter(coded).items())],
        "command": clean(evidence.command),
    }


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element: no ``<``, ``>``, ``&`` and no line separator of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _order(evidence: Evidence, coded: Sequence[tuple[int, ...]]) -> list[int]:
    """Row numbers in the order in which they earn a place.

    Strata (combinations of the facets marked so) take turns; inside a stratum the cells (combinations of all facets)
    take turns, by repetition. Ties fall by a digest of the row's id, so the choice does not depend on the order of
    the table.
    """
    rows = evidence.rows
    if len(rows) <= evidence.max_rows and sum(len(row.text) for row in rows) <= evidence.max_bytes:
        return list(range(len(rows)))
    strata = [i for i, facet in enumerate(evidence.facets) if facet.strata]
    digest = [blake2b(f"{row.id}\0{row.repetition}".encode("utf-8", "replace"), digest_size=8).digest() for row in rows]
    cells: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, codes in enumerate(coded):
        cells[codes].append(index)
    turns: defaultdict[tuple[int, ...], list[tuple[int, bytes, int]]] = defaultdict(list)
    for codes, members in cells.items():
        members.sort(key=lambda i: (rows[i].repetition, digest[i]))
        turns[tuple(codes[i] for i in strata)].extend((turn, digest[i], i) for turn, i in enumerate(members))
    places: list[tuple[int, bytes, int]] = []
    for members_of in turns.values():
        places.extend((place, key, i) for place, (_, key, i) in enumerate(sorted(members_of)))
    return [i for _, _, i in sorted(places)]


def _facet(facet: Facet, coder: _Coder) -> dict[str, Any]:
    names = {clean(key): clean(name) for key, name in facet.names.items()}
    position = coder.codes
    return {
        "key": facet.key,
        "title": facet.title,
        "values": coder.values,
        "names": [names.get(value, value) for value in coder.values],
        "sets": [
            {"key": s.key, "title": s.title, "members": [position[m] for m in map(clean, s.members) if m in position]}
            for s in facet.sets
        ],
    }


class _Coder:
    """Values to small integers, in order of first use."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def __call__(self, value: str) -> int:
        return self.codes.setdefault(value, len(self.codes))

    @property
    def values(self) -> list[str]:
        return list(self.codes)


class _Texts:
    """Texts kept once, cut to a length; ``cut`` maps the number of a text to its full length."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.values: list[str] = []
        self.cut: dict[str, int] = {}
        self.size = 0
        self._codes: dict[tuple[str, int], int] = {}

    def __call__(self, text: str) -> int:
        key = cut(text, self.limit)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.values)
            self.values.append(key[0])
            self.size += len(key[0].encode("utf-8", "replace")) + 4
            if key[1]:
                self.cut[str(code)] = key[1]
        return code
