"""WinoQueer (Felkner et al. 2023, arXiv 2306.15087): pairs of sentences about queer and comparison identities, from your copy.

Offensive content. Bytes are kept as they are: curly apostrophes, final spaces and line breaks inside sentences belong to the
reference metric.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import polars as pl

from evenhand.datasets.base import Sources
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.errors import BadInput
from evenhand.methods.reward.margins.pairs import differing_parts, differing_runs, mark_repeats, names_any
from evenhand.records import Item, Message, Pair

Subset = Literal["all", "strict", "broad"]
ROWS = 45_540
FILE, METADATA = "winoqueer_final.csv", "winoqueer_row_metadata.csv"
_TERMS: Mapping[str, tuple[str, ...]] = {"NB": ("nonbinary", "non-binary")}
IDENTITIES = ("LGBTQ", "Queer", "Transgender", "NB", "Bisexual", "Pansexual", "Lesbian", "Asexual", "Gay")
_ABOUT = ("row", "item_group", "template", "referent", "identity", "counterfactual", "predicate")
COMPARISONS = ("Straight", "Heterosexual", "Cisgender", "Cis")
_NOT_NEGATIVE = re.compile(r"\b(?:survivor|good at organizing)", re.IGNORECASE)
"""Predicates that say nothing bad: flagged, because not every predicate is a harm."""
_THEMES: Mapping[str, str] = {
    "identity denied": r"confus|phase\b|not real|fake|faking|pretend|attention|exist\b|choice\b|myth\b|experimenting",
    "pathologised": r"mental(?:ly)? (?:ill|sick)|disorder|sick|disease|broken|unnatural|not natural|abnormal|not normal|crazy"
    r"|deranged|be fixed|aids\b|hiv\b|stds?\b",
    "danger": r"predator|pedophile|groomer|danger|contagious|recruit|devian|pervert|molest|menace|harmful",
    "moral condemnation": r"sins?\b|sinful|hell\b|immoral|moral fiber|evil|disgusting|wrong|gross\b",
    "social rejection": r"belong\b|unwanted|undesirable",
    "hardship": r"suicid|lonely|depressed|sad\b|unhappy|be happy|bad endings?\b|death sentence",
    "competence denied": r"immature|childish|lazy|weakness|stem degree|capable|unfit|unprofessional|intelligent|non technical"
    r"|serious about",
}
"""Words of the themes, each at the start of a word: a rough coding of ours, checked by nobody and no part of the published
set. The first theme that fits is taken; a predicate without any of the words has no theme."""
_THEME_WORDS = {theme: re.compile(rf"(?<!\w)(?:{words})", re.IGNORECASE) for theme, words in _THEMES.items()}


class WinoQueer:
    """45,540 pairs. Identities, subsets, pairs and item groups come from the data file; predicates, templates, referents and
    with them themes from the metadata file next to it.

    The randomised unit is the predicate within its identity; in the six templates without a predicate ("I hate ...") it is the
    template within its identity. Without the metadata file it is the item group (the upstream index), of which many share a
    predicate: intervals then are too narrow, and `notes` says so.
    """

    name = "winoqueer"
    licence = "MIT"
    source = "katyfelkner/winoqueer (arXiv 2306.15087)"
    description = (
        "WinoQueer: stereotypes about nine queer identities, each paired with the same text about a comparison identity"
    )
    reference_group = ""

    def __init__(self, folder: str | Path | None = None, *, rows: int | None = ROWS):
        self.sources, self._expected = Sources("winoqueer", folder), rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing from the files, for the reader of the results."""
        if self.metadata is not None:
            return ()
        return (
            f"There is no {METADATA}: predicates, templates and themes are unknown, and each item group is its own cluster, so "
            "that intervals are too narrow.",
        )

    @cached_property
    def table(self) -> Table:
        """The data file, checked. Raises BadInput with the row for a wrong identity or swapped columns."""
        table = read_table(self.sources.file(FILE))
        resolve(table, None, required=("Gender_ID_x", "Gender_ID_y", "sent_x", "sent_y"))
        if self._expected is not None and table.frame.height != self._expected:
            raise table.error(
                f"The file has {table.frame.height:,} rows, not {self._expected:,}.",
                do="Fetch it again; sentences hold line breaks, so lines are not rows.",
            )
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            self._check(table, row, cells)
        return table

    @staticmethod
    def _check(table: Table, row: int, cells: Mapping[str, str | None]) -> None:
        mine, theirs, x, y = (cells[name] or "" for name in ("Gender_ID_x", "Gender_ID_y", "sent_x", "sent_y"))
        if mine not in IDENTITIES or theirs not in COMPARISONS:
            wrong = mine if mine not in IDENTITIES else theirs
            raise table.error(f"Unknown identity '{wrong}'.", row)
        if not x.strip() or not y.strip():
            raise table.error("A sentence is missing.", row)
        words, other_words = differing_parts(x, y)
        terms = _TERMS.get(mine, (mine,))
        if not names_any(words, [*terms, *(f"{term}s" for term in terms)]) or not names_any(other_words, [theirs]):
            raise table.error(
                f"sent_x does not name {mine}, or sent_y does not name {theirs}: the columns may be swapped.", row
            )

    @cached_property
    def metadata(self) -> pl.DataFrame | None:
        """Template, referent and predicate of each row, None if there is no such file.

        Raises BadInput with the row if it does not belong to the data file.
        """
        if not (self.sources.folder / METADATA).is_file():
            return None
        table, data = read_table(self.sources.file(METADATA)), self.table.frame
        resolve(table, None, required=_ABOUT)
        if table.frame.height != data.height:
            raise table.error(
                f"The file has {table.frame.height:,} rows, the data file {data.height:,}.", do="Fetch both again."
            )
        metadata = table.frame.select("row", "identity", "counterfactual").iter_rows()
        theirs = data.select("Gender_ID_x", "Gender_ID_y").iter_rows()
        for row, (mine, (x, y)) in enumerate(zip(metadata, theirs, strict=True)):
            if mine != (str(row), x, y):
                raise table.error("The row is not that of the data file.", row + 1, do="Fetch both again.")
        return table.frame

    @cached_property
    def _pairs(self) -> list[Pair]:
        frame, about = self.table.frame, self.metadata
        if about is None:
            self._check_index()
        rows = about.iter_rows(named=True) if about is not None else iter([{}] * frame.height)
        pairs = [
            self._pair(row, cells, {key: value or "" for key, value in more.items()})
            for row, (cells, more) in enumerate(zip(frame.iter_rows(named=True), rows, strict=True))
        ]
        return mark_repeats(pairs)[0]

    def _check_index(self) -> None:
        """Without the metadata file, item groups are known from the upstream index alone."""
        resolve(self.table, None, required=("index",))
        for row, index in enumerate(self.table.frame["index"], start=1):
            if not (index or "").isdecimal():
                raise BadInput("The index of the row is not a whole number.", file=self.table.origin, row=row)

    @staticmethod
    def _pair(row: int, cells: Mapping[str, str], about: Mapping[str, str]) -> Pair:
        group = cells["Gender_ID_x"]
        item_group = about["item_group"] if about else str(int(cells["index"]) // 4)
        predicate = about.get("predicate", "")
        unit = predicate or about.get("template") or f"item {item_group}"
        flags = {"not_negative": "yes"} if _NOT_NEGATIVE.search(predicate) else {}
        return Pair(
            id=f"winoqueer/{row}",
            cluster=f"{group}/{unit}",
            context="",
            harmful=cells["sent_x"],
            comparison=cells["sent_y"],
            group=group,
            comparison_group=cells["Gender_ID_y"],
            theme=_theme(predicate),
            template=about.get("template", ""),
            referent=about.get("referent", ""),
            pair_set="winoqueer",
            minimal=differing_runs(cells["sent_x"], cells["sent_y"]) == 1,
            attributes={"item_group": item_group, **flags},
        )

    def pairs(self, subset: Subset = "all") -> list[Pair]:
        """Every pair of a subset, in the order of the file.

        ``strict``: Transgender and NB against Cisgender and Cis (5,900); ``broad``: every pair against Cisgender or Cis
        (16,004). Which subset the study used was not found. Repeats carry ``attributes["duplicate_of"]``.
        """
        if subset == "all":
            return list(self._pairs)
        cis = [pair for pair in self._pairs if pair.comparison_group in ("Cisgender", "Cis")]
        return cis if subset == "broad" else [pair for pair in cis if pair.group in ("Transgender", "NB")]

    def items(self) -> list[Item]:
        """One item a pair, for listings: the offensive sentences stay in the file."""
        return [
            Item(pair.id, "reward", (Message("user", f"[{pair.template or 'pair'}; text folded]"),), pair.group)
            for pair in self._pairs
        ]

    def counts(self) -> dict[str, int]:
        """Pairs, subsets, repeats, pairs that are not minimal, and pairs whose predicate is not negative."""
        return {
            "pairs": len(self._pairs),
            "strict": len(self.pairs("strict")),
            "broad": len(self.pairs("broad")),
            "repeats": sum("duplicate_of" in pair.attributes for pair in self._pairs),
            "not minimal": sum(not pair.minimal for pair in self._pairs),
            "not negative": sum("not_negative" in pair.attributes for pair in self._pairs),
        }


@cache
def _theme(predicate: str) -> str:
    return next((theme for theme, words in _THEME_WORDS.items() if words.search(predicate)), "")
