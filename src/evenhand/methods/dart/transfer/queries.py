"""Open questions that test difference awareness in use: 280 queries in four domains, written for Evenhand (docs/transfer_card.md).

DART (arXiv 2604.16845) reports a set of the same size and domains; its queries, writing procedure and judge are not available.
Our defaults are the split of each domain into 56 queries that need a difference and 14 controls, the key facts, and the terms by
which a word grader reads an answer.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from evenhand.datasets.base import clean_key, item_id
from evenhand.datasets.table import Table, as_table, resolve
from evenhand.errors import BadInput
from evenhand.graders.normalise import fold
from evenhand.records import Item, Message

AUDIT = "transfer"
Needs = Literal["difference", "equal"]
NEEDS: tuple[Needs, ...] = ("difference", "equal")
DOMAINS = ("medical", "legal", "policy", "education")
_FOLDER = Path(__file__).parents[3] / "datasets" / "shipped"
_REQUIRED = ("id", "domain", "needs", "group", "query", "key_fact", "key_terms")
_OPTIONAL = ("dimension", "wrong_terms", "source", "url", "checked")
_DASHES = re.compile("[\u2010-\u2015\u2212-]")
_NEGATION = re.compile(
    r"(?:\b(?:not|no|never|nor|neither|without|instead of|rather than|cannot)|n't)(?: [\w']+){0,3} [\"'(]?$"
)


@dataclass(frozen=True, slots=True)
class TransferQuery:
    """One query with what a right answer states.

    ``needs`` says whether the right answer rests on a difference between groups, or (a control) on equal treatment.
    ``key_terms`` are groups of alternatives: an answer states the key fact where every group has a hit. ``wrong_terms`` are
    wordings that turn the fact round. ``source`` and ``url`` name the public page behind the fact, ``checked`` the month.
    """

    id: str
    domain: str
    needs: Needs
    group: str
    query: str
    key_fact: str
    key_terms: tuple[tuple[str, ...], ...]
    wrong_terms: tuple[str, ...] = ()
    dimension: str = ""
    source: str = ""
    url: str = ""
    checked: str = ""

    def key_hits(self, text: str) -> list[str]:
        """The first term found of each group of ``key_terms``, in order; groups without a hit are left out.

        Terms are matched on word starts, whatever the case, the form of the quotes, hyphens and emphasis marks. In a control a
        wording of sameness that is denied in the same clause ("not the same dose") is not a hit.
        """
        plain = plain_text(text)
        hits = (_first_hit(plain, group, denied=self.needs == "difference") for group in self.key_terms)
        return [term for term in hits if term]

    def states_key(self, text: str) -> bool:
        """Whether every group of ``key_terms`` has a hit in ``text``."""
        return len(self.key_hits(text)) == len(self.key_terms)

    def wrong_hit(self, text: str) -> str:
        """The first of ``wrong_terms`` that ``text`` holds without denying it in the same clause; "" if there is none."""
        return _first_hit(plain_text(text), self.wrong_terms, denied=False)

    def item(self) -> Item:
        """The query as one user message, without a system message."""
        shown = ("domain", "dimension", "key_fact", "source", "url", "checked")
        return Item(
            item_id(AUDIT, self.id), AUDIT, (Message("user", self.query),), self.group, self.needs, {"query": self.id},
            {name: getattr(self, name) for name in shown if getattr(self, name)},
        )  # fmt: skip


def plain_text(text: str) -> str:
    """``text`` as terms are matched in it: folded, hyphens and dashes as spaces, no asterisks, single spaces."""
    return " ".join(_DASHES.sub(" ", fold(text).casefold()).replace("*", "").split())


@cache
def _pattern(term: str) -> re.Pattern[str]:
    """A term at a word's start; a number is matched whole, so that 45 is not found in 450, 4.45 or 45.5."""
    word = plain_text(term)
    after = r"(?![.,]?\d)" if word[-1:].isdigit() else ""
    return re.compile(rf"(?<!\w)(?<!\d[.,]){re.escape(word)}{after}")


def _first_hit(plain: str, terms: Iterable[str], *, denied: bool) -> str:
    """The first term that ``plain`` holds; with ``denied`` a hit after a negation counts too."""
    for term in terms:
        for match in _pattern(term).finditer(plain):
            if denied or not _NEGATION.search(plain[max(0, match.start() - 60) : match.start()]):
                return term
    return ""


def read_transfer(source: str | Path | Table | Any, mapping: Mapping[str, str] | None = None) -> list[TransferQuery]:
    """Queries from a csv, tsv, jsonl or parquet file, or a frame, in the order of its rows.

    Columns: id, domain, needs (difference or equal), group, query, key_fact, key_terms ("a|b; c": groups parted by
    semicolons, alternatives by bars); optionally dimension, wrong_terms, source, url, checked.
    Raises BadInput, with the row, for an empty cell, an unknown need, a repeated id or query, an empty term, an address that is
    not https, a query that states its own key terms, a fact that lacks them, and a fact that holds one of its wrong terms.
    """
    table = as_table(source)
    columns = resolve(table, mapping, required=_REQUIRED, optional=_OPTIONAL)
    queries: list[TransferQuery] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(table.rows(), start=1):
        cells = {role: clean_key(row[column] or "") for role, column in columns.items()}
        query = _query(cells, table.origin, number)
        for what, key in (("id", query.id), ("query", plain_text(query.query))):
            if seen.setdefault(f"{what} {key}", number) != number:
                raise table.error(f"The {what} of row {seen[f'{what} {key}']} is repeated here.", number)
        queries.append(query)
    return queries


def _query(cells: Mapping[str, str], origin: str, row: int) -> TransferQuery:
    """One row, checked."""

    def wrong(what: str, do: str | None = None) -> BadInput:
        return BadInput(what, file=origin, row=row, do=do)

    empty = next((name for name in _REQUIRED if not cells[name]), "")
    if empty:
        raise wrong(f"The cell '{empty}' is empty.")
    if cells["needs"] not in NEEDS:
        raise wrong(f"needs is '{cells['needs']}'.", f"Write {' or '.join(NEEDS)}.")
    groups = tuple(_alternatives(group) for group in cells["key_terms"].split(";"))
    terms = _alternatives(cells.get("wrong_terms", "")) if cells.get("wrong_terms") else ()
    if not all(map(plain_text, (term for group in (*groups, terms) for term in group))):
        raise wrong(
            "A key term or wrong term is empty.", "Write groups as 'a|b; c', without a bar or semicolon at an end."
        )
    if cells.get("url") and not cells["url"].startswith("https://"):
        raise wrong("The url does not begin with https://.")
    query = TransferQuery(
        **{name: cells[name] for name in ("id", "domain", "group", "query", "key_fact")},
        **{name: cells.get(name, "") for name in ("dimension", "source", "url", "checked")},
        needs="difference" if cells["needs"] == "difference" else "equal", key_terms=groups, wrong_terms=terms,
    )  # fmt: skip
    if query.states_key(query.query):
        raise wrong(
            "The query itself holds a hit of every group of key_terms.", "An echo would be graded as a right answer."
        )
    if not query.states_key(query.key_fact):
        lacking = [
            group[0]
            for group in groups
            if not _first_hit(plain_text(query.key_fact), group, denied=query.needs == "difference")
        ]
        where = f" (the group of '{lacking[0]}')" if lacking else ""
        raise wrong(f"The key fact does not hold its own key terms{where}.", "Add the fact's wording to key_terms.")
    if query.wrong_hit(query.key_fact):
        raise wrong(
            f"The key fact holds the wrong term '{query.wrong_hit(query.key_fact)}'.", "Choose a narrower term."
        )
    return query


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(term.strip() for term in text.split("|"))


def first_queries(queries: Sequence[TransferQuery], limit: int | None) -> list[TransferQuery]:
    """At most ``limit`` queries, the domains in turn, in the order of the file otherwise."""
    if limit is None or len(queries) <= limit:
        return list(queries)
    turn: defaultdict[str, int] = defaultdict(int)
    ranked = []
    for place, query in enumerate(queries):
        ranked.append((turn[query.domain], place))
        turn[query.domain] += 1
    kept = {place for _, place in sorted(ranked)[:limit]}
    return [query for place, query in enumerate(queries) if place in kept]


def count_table(queries: Sequence[TransferQuery]) -> str:
    """Two Markdown tables: queries, controls and groups by domain; and queries by dimension and domain."""
    domains = list(dict.fromkeys(query.domain for query in queries))
    rows = [["domain", "need a difference", "controls", "different groups"]]
    for domain in [*domains, "all"]:
        in_domain = [query for query in queries if domain in (query.domain, "all")]
        needs = Counter(query.needs for query in in_domain)
        groups = len({query.group.casefold() for query in in_domain})
        rows.append([domain, str(needs["difference"]), str(needs["equal"]), str(groups)])
    pairs = Counter((query.dimension, query.domain) for query in queries)
    second = [["dimension", *domains, "all"]]
    for dimension, total in sorted(
        Counter(query.dimension for query in queries).items(), key=lambda row: (-row[1], row[0])
    ):
        second.append([dimension, *(str(pairs[dimension, domain]) for domain in domains), str(total)])
    return "\n\n".join(_markdown(table) for table in (rows, second))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "| --- |" + " ---: |" * (len(rows[0]) - 1), *lines[1:]])


class Transfer:
    """The shipped queries, or with ``file`` queries of your own in the same columns.

    Shipped: 70 a domain (medical, legal, policy, education), of which 56 need a difference and 14 are controls where equal
    treatment is right. Raises BadInput as `read_transfer` does.
    """

    name = "transfer"
    licence = "Apache-2.0"
    source = "written for Evenhand (docs/transfer_card.md)"
    description = "280 open questions in four domains: 224 need a difference between groups, 56 are controls"
    reference_group = ""

    def __init__(self, file: str | Path | None = None, mapping: Mapping[str, str] | None = None):
        from evenhand.datasets.shipped import shipped_table

        tables = (
            [as_table(file)] if file is not None else [shipped_table(_FOLDER / f"transfer_{d}.csv") for d in DOMAINS]
        )
        self.checksums: Mapping[str, str] = {table.origin: table.checksum for table in tables}
        self.queries: tuple[TransferQuery, ...] = tuple(
            query for table in tables for query in read_transfer(table, mapping if file is not None else None)
        )

    def items(self) -> list[Item]:
        """One item a query."""
        return [query.item() for query in self.queries]

    def counts(self) -> dict[str, int]:
        """Queries in all, those that need a difference, controls, and different group and dimension names."""
        needs = Counter(query.needs for query in self.queries)
        return {
            "items": len(self.queries),
            "need a difference": needs["difference"],
            "controls": needs["equal"],
            "groups": len({query.group for query in self.queries}),
            "dimensions": len({query.dimension for query in self.queries if query.dimension}),
        }
