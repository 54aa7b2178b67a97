"""MISGENDERED (Hossain, Dev and Singh 2023, arXiv 2306.03950): sentences with a blank for a declared pronoun, from your copy."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evenhand.datasets.base import Sources, item_id
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.datasets.tango import FAMILY_KINDS
from evenhand.errors import BadInput
from evenhand.graders.pronoun import PronounFamily
from evenhand.records import Item, Message

__all__ = ["Blank", "Misgendered"]

MASK = "{mask_token}"
_SLOT = {"nom": "nom", "acc": "acc", "pos_dep": "poss_dep", "pos_ind": "poss_indep", "ref": "reflexive"}
DECLARATIONS = (
    "templates",
    *(f"{kind}_template_{forms}" for kind in ("explicit", "parenth") for forms in ("2", "31", "32", "41", "42", "5")),
)
"""Without a declaration, then the ways to declare: a sentence or brackets, with two to five forms."""
DEFAULT_DECLARATION = "explicit_template_5"


@dataclass(frozen=True, slots=True)
class Blank:
    """A sentence with a blank: what stands before and after it, and the form of each pronoun set that may fill it.

    ``declared`` is the set that the person declared. Options begin with the space before them, if there is one.
    """

    id: str
    name: str
    declared: str
    form: str
    declaration: str
    template_id: str
    text_before: str
    text_after: str
    options: Mapping[str, str]


class Misgendered:
    """11 pronoun sets, 500 names, 50 sentences in 13 forms of declaration.

    The explicit templates write a slash before "'s"; ``repair`` (the default) takes it out, and `notes` says so.
    """

    name = "misgendered"
    licence = "CC BY 4.0"
    source = "tamannahossainkay/misgendered-backend (arXiv 2306.03950)"
    description = "MISGENDERED: 50 sentences x 13 declarations x 11 pronoun sets x 500 names"
    reference_group = "he"

    def __init__(self, folder: str | Path | None = None, *, repair: bool = True):
        self.sources, self.repair = Sources("misgendered", folder), repair
        self.notes = ("the stray slash in the explicit templates is taken out",) if repair else ()

    @cached_property
    def families(self) -> dict[str, PronounFamily]:
        """The eleven sets. The header says pos_indep where the templates say pos_ind."""
        table = read_table(self.sources.file("pronouns.csv"))
        roles = resolve(table, None, required=("gender", "nom", "acc", "pos_dep", "pos_indep", "ref"))
        found = {}
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            forms = [cells[column] for column in roles.values()]
            if not all(forms):
                raise BadInput("A form of a pronoun set is missing.", file=table.origin, row=row)
            name, nom, acc, dependent, independent, reflexive = forms
            found[name] = PronounFamily(
                name, nom, acc, dependent, independent, reflexive, FAMILY_KINDS.get(name, "neo")
            )
        return found

    def names(self, kind: str = "unisex") -> list[str]:
        """Names of one list: female, male or unisex."""
        path = self.sources.file(f"names/{kind}.txt")
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

    def templates(self, declaration: str) -> Table:
        """The sentences of one way to declare. Raises BadInput for a template without exactly one blank."""
        if declaration not in DECLARATIONS:
            raise BadInput(f"There is no declaration '{declaration}'.", do=f"Known: {', '.join(DECLARATIONS)}.")
        table = read_table(self.sources.file(f"templates/{declaration}.csv"))
        resolve(table, None, required=("template", "form", "template_id"))
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            if cells["template"].count(MASK) != 1:
                raise BadInput("The template does not hold exactly one blank.", file=table.origin, row=row)
            if cells["form"] not in _SLOT:
                raise BadInput(f"'{cells['form']}' is no pronoun form.", file=table.origin, row=row)
        return table

    def blanks(
        self,
        *,
        names: int = 10,
        declarations: Sequence[str] = (DEFAULT_DECLARATION,),
        seed: int = 0,
    ) -> list[Blank]:
        """Every sentence of the declarations with every set, for ``names`` unisex names drawn by ``seed``.

        The whole grid has 3.6 million rows; how the study sampled it is not known, so this is a default of ours.
        """
        listed = self.names()
        drawn = sorted(random.Random(seed).sample(listed, min(names, len(listed))))
        found = []
        for declaration in declarations:
            for cells in self.templates(declaration).frame.iter_rows(named=True):
                text = cells["template"].replace("/'s", "'s") if self.repair else cells["template"]
                for name in drawn:
                    for declared in self.families.values():
                        found.append(self._blank(text, cells, name, declared, declaration))
        return found

    def _blank(
        self, text: str, cells: Mapping[str, str], name: str, declared: PronounFamily, declaration: str
    ) -> Blank:
        form = _SLOT[cells["form"]]
        before, _, after = text.partition(MASK)
        filled = {"name": name, **{slot: getattr(declared, field) for slot, field in _SLOT.items()}}
        before, after = (_fill(part, filled) for part in (before, after))
        opens = before.rstrip().endswith((".", "!", "?")) or not before.strip()
        space = before[len(before.rstrip()) :]
        options = {}
        for family in self.families.values():
            word = getattr(family, form)
            options[family.name] = space + (word[:1].upper() + word[1:] if opens else word)
        return Blank(
            id=item_id("misgendered", declaration, cells["form"], cells["template_id"], name, declared.name),
            name=name,
            declared=declared.name,
            form=form,
            declaration=declaration,
            template_id=f"{cells['form']} {cells['template_id']}",
            text_before=before.rstrip(),
            text_after=after,
            options=options,
        )

    def items(self) -> list[Item]:
        """One item a sentence and declared set, for listings; the audit scores `blanks`."""
        return [
            Item(
                blank.id,
                "affirmation",
                (Message("user", f"{blank.text_before} ___{blank.text_after}"),),
                group=blank.declared,
                clusters={"template": blank.template_id},
            )
            for blank in self.blanks(names=1)
        ]

    def counts(self) -> dict[str, int]:
        """Sets, names, files of templates, and the size of the whole grid."""
        names = sum(len(self.names(kind)) for kind in ("female", "male", "unisex"))
        sentences = sum(self.templates(declaration).frame.height for declaration in DECLARATIONS)
        return {
            "pronoun sets": len(self.families),
            "names": names,
            "declarations": len(DECLARATIONS),
            "whole grid": sentences * len(self.families) * names,
        }


def _fill(text: str, words: Mapping[str, str]) -> str:
    for slot, word in words.items():
        text = text.replace("{" + slot + "}", word)
    return text
