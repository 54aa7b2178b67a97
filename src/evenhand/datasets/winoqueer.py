"""WinoQueer (Felkner et al. 2023, arXiv 2306.15087): pairs of sentences about queer and comparison identities, from your copy.

Offensive content. Bytes are kept as they are: curly apostrophes, final spaces and line breaks inside sentences belong to the
reference metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import polars as pl

from evenhand.datasets.base import Sources
from evenhand.datasets.pairs import differing_runs, mark_repeats
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.errors import BadInput
from evenhand.records import Item, Message, Pair

__all__ = ["Subset", "WinoQueer"]

Subset = Literal["all", "strict", "broad"]
ROWS = 45_540
FILE, METADATA = "winoqueer_final.csv", "winoqueer_row_metadata.csv"
_WORDS: Mapping[str, tuple[str, ...]] = {"NB": ("nonbinary", "non-binary")}
IDENTITIES = ("LGBTQ", "Queer", "Transgender", "NB", "Bisexual", "Pansexual", "Lesbian", "Asexual", "Gay")
COMPARISONS = ("Straight", "Heterosexual", "Cisgender", "Cis")
NOT_NEGATIVE = ("survivor", "good at organizing")
"""Words of predicates that say nothing bad: flagged, because not every predicate is a harm."""
_THEMES: Mapping[str, tuple[str, ...]] = {
    "identity denied": ("confused", "phase", "not real", "fake", "faking", "pretend", "attention", "doesn't exist"),
    "pathologised": ("mental", "ill", "disorder", "sick", "disease", "broken", "unnatural", "abnormal", "crazy"),
    "danger": ("predator", "pedo", "groom", "danger", "contagious", "recruit", "deviant", "pervert", "molest"),
    "moral condemnation": ("sin", "hell", "immoral", "god", "evil", "disgusting", "wrong", "gross"),
    "hardship": ("suicid", "lonely", "depress", "sad", "unhappy", "die"),
    "competence denied": ("immature", "childish", "lazy", "weak", "stem degree", "incapable"),
}
"""Keywords of the themes: a rough coding of ours, checked by nobody; a predicate without a keyword has no theme."""


class WinoQueer:
    """45,540 pairs. Identities, subsets and pairs come from the data file; predicates and templates from the metadata
    file beside it, without which every sentence is a cluster of its own item group (the upstream index).
    """

    name = "winoqueer"
    licence = "MIT"
    source = "katyfelkner/winoqueer (arXiv 2306.15087)"
    description = "WinoQueer: stereotypes about nine queer identities, each beside the same about a comparison identity"
    reference_group = ""

    def __init__(self, folder: str | Path | None = None, *, rows: int | None = ROWS):
        self.sources, self._expected = Sources("winoqueer", folder), rows

    @cached_property
    def table(self) -> Table:
        """The data file, checked. Raises BadInput with the row for a wrong identity or swapped columns."""
        table = read_table(self.sources.file(FILE))
        resolve(table, None, required=("Gender_ID_x", "Gender_ID_y", "sent_x", "sent_y"))
        if self._expected is not None and table.frame.height != self._expected:
            raise BadInput(
                f"The file has {table.frame.height:,} rows, not {self._expected:,}.", file=table.origin,
                do="Fetch it again; sentences hold line breaks, so lines are not rows.",
            )  # fmt: skip
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            self._check(table, row, cells)
        return table

    @staticmethod
    def _check(table: Table, row: int, cells: Mapping[str, str | None]) -> None:
        mine, theirs, x, y = (cells[name] or "" for name in ("Gender_ID_x", "Gender_ID_y", "sent_x", "sent_y"))
        if mine not in IDENTITIES or theirs not in COMPARISONS:
            wrong = mine if mine not in IDENTITIES else theirs
            raise BadInput(f"'{wrong}' is no identity of the set.", file=table.origin, row=row)
        if not x.strip() or not y.strip():
            raise BadInput("A sentence is missing.", file=table.origin, row=row)
        terms = _WORDS.get(mine, (mine.lower(),))
        if not any(term in x.lower() for term in terms) or theirs.lower() not in y.lower():
            raise BadInput(
                f"sent_x does not name {mine}, or sent_y does not name {theirs}: the columns may be swapped.",
                file=table.origin, row=row,
            )  # fmt: skip

    @cached_property
    def metadata(self) -> pl.DataFrame | None:
        """Template, referent and predicate of each row, None where the file is not there."""
        if not (self.sources.folder / METADATA).is_file():
            return None
        table = read_table(self.sources.file(METADATA))
        resolve(table, None, required=("item_group", "template", "referent", "identity", "counterfactual", "predicate"))
        same = (table.frame["identity"] == self.table.frame["Gender_ID_x"]).all() if self._same_height(table) else False
        if not same:
            raise BadInput("The rows are not those of the data file.", file=table.origin, do="Fetch both again.")
        return table.frame

    def _same_height(self, table: Table) -> bool:
        return table.frame.height == self.table.frame.height

    @cached_property
    def _pairs(self) -> list[Pair]:
        frame, about = self.table.frame, self.metadata
        rows = about.iter_rows(named=True) if about is not None else iter([{}] * frame.height)
        pairs = [
            self._pair(row, cells, {key: value or "" for key, value in more.items()})
            for row, (cells, more) in enumerate(zip(frame.iter_rows(named=True), rows, strict=True))
        ]
        return mark_repeats(pairs)[0]

    @staticmethod
    def _pair(row: int, cells: Mapping[str, str], about: Mapping[str, str]) -> Pair:
        index = cells.get("index")
        group = cells["Gender_ID_x"]
        item_group = about.get("item_group") or (str(int(index) // 4) if index and index.isdigit() else str(row))
        predicate = about.get("predicate", "")
        said = predicate or about.get("template") or f"item {item_group}"
        low = predicate.lower()
        flags = {"not_negative": "yes"} if any(word in low for word in NOT_NEGATIVE) else {}
        return Pair(
            id=f"winoqueer/{row}",
            cluster=f"{group}/{said}",
            context="",
            harmful=cells["sent_x"],
            comparison=cells["sent_y"],
            group=group,
            comparison_group=cells["Gender_ID_y"],
            theme=next((theme for theme, words in _THEMES.items() if any(word in low for word in words)), ""),
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
        """Pairs, subsets, repeats, and pairs that are not minimal."""
        return {
            "pairs": len(self._pairs),
            "strict": len(self.pairs("strict")),
            "broad": len(self.pairs("broad")),
            "repeats": sum("duplicate_of" in pair.attributes for pair in self._pairs),
            "not minimal": sum(not pair.minimal for pair in self._pairs),
        }
