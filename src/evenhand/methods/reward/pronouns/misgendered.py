"""MISGENDERED (Hossain, Dev and Singh 2023, arXiv 2306.03950): sentences with a blank for a declared pronoun, from your copy."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import polars as pl

from evenhand.datasets.base import Sources, item_id
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.grader import PronounFamily
from evenhand.methods.reward.pronouns.tango import FAMILY_KINDS
from evenhand.records import Item, Message
from evenhand.text_input import read_text

MASK = "{mask_token}"
_SLOT = {"nom": "nom", "acc": "acc", "pos_dep": "poss_dep", "pos_ind": "poss_indep", "ref": "reflexive"}
DECLARATIONS = (
    "templates",
    *(f"{kind}_template_{forms}" for kind in ("explicit", "parenth") for forms in ("2", "31", "32", "41", "42", "5")),
)
"""Without a declaration, then the ways to declare: a sentence or brackets, with two to five forms."""
DEFAULT_DECLARATION = "explicit_template_5"
NAME_LISTS = ("female", "male", "unisex")
_FILLED = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Blank:
    """A sentence with a blank: the text before and after it, and the form of each pronoun set that may fill it.

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

    The published files have irregularities, which `notes` lists for the files read so far. ``repair`` (the default) removes the
    slash that the explicit templates write before "'s". With or without ``repair``, ids written as 3.0 or left empty become the
    whole numbers of the other files, so that one sentence has one id; sentences that declare pronouns in the file without
    declarations stay as they are.
    """

    name = "misgendered"
    licence = "CC BY 4.0"
    source = "tamannahossainkay/misgendered-backend (arXiv 2306.03950)"
    description = "MISGENDERED: 50 sentences x 13 declarations x 11 pronoun sets x 500 names"
    reference_group = "he"

    def __init__(self, folder: str | Path | None = None, *, repair: bool = True):
        self.sources, self.repair = Sources("misgendered", folder), repair
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repaired, or is unusual, in the templates read so far."""
        return tuple(self._notes)

    @cached_property
    def families(self) -> dict[str, PronounFamily]:
        """The eleven sets. The header says pos_indep where the templates say pos_ind."""
        table = read_table(self.sources.file("pronouns.csv"))
        roles = resolve(table, None, required=("gender", "nom", "acc", "pos_dep", "pos_indep", "ref"))
        families = {}
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            forms = [cells[column] for column in roles.values()]
            if not all(forms):
                raise table.error("A form of a pronoun set is missing.", row)
            name, nom, acc, dependent, independent, reflexive = forms
            if name in families:
                raise table.error(f"The pronoun set '{name}' is listed twice.", row)
            families[name] = PronounFamily(
                name, nom, acc, dependent, independent, reflexive, FAMILY_KINDS.get(name, "neo")
            )
        return families

    def names(self, kind: str = "unisex") -> list[str]:
        """Names of one list: female, male or unisex. Raises BadInput for another list and for an empty one."""
        if kind not in NAME_LISTS:
            raise BadInput(f"Unknown list of names '{kind}'.", do=f"Known: {', '.join(NAME_LISTS)}.")
        path = self.sources.file(f"names/{kind}.txt")
        listed = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        if not listed:
            raise BadInput("The list holds no name.", file=path)
        return listed

    def templates(self, declaration: str) -> Table:
        """The sentences of one way to declare, with template ids as whole numbers.

        Raises BadInput with the row for a template without exactly one blank, an unknown form or slot, an id that is not a
        whole number, and an id that is used twice.
        """
        if declaration not in DECLARATIONS:
            raise BadInput(f"Unknown declaration '{declaration}'.", do=f"Known: {', '.join(DECLARATIONS)}.")
        table = read_table(self.sources.file(f"templates/{declaration}.csv"))
        resolve(table, None, required=("template", "form", "template_id"))
        ids: dict[str, int] = {}
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            if cells["template"].count(MASK) != 1:
                raise table.error("The template does not hold exactly one blank.", row)
            if cells["form"] not in _SLOT:
                raise table.error(f"Unknown pronoun form '{cells['form']}'.", row)
            unknown = set(_FILLED.findall(cells["template"])) - {"name", "mask_token", *_SLOT}
            if unknown:
                raise table.error(f"Unknown slot '{min(unknown)}'.", row)
            number = _whole(cells["template_id"], row)
            if number is None:
                raise table.error(f"'{cells['template_id']}' is not a template id.", row)
            if number in ids:
                raise table.error(f"The id {number} is already used in row {ids[number]}.", row)
            ids[number] = row
        self._note(table, declaration, list(ids))
        return Table(table.frame.with_columns(template_id=pl.Series(list(ids))), table.origin, table.checksum)

    def _note(self, table: Table, declaration: str, ids: Sequence[str]) -> None:
        if self.repair and table.frame["template"].str.contains("/'s", literal=True).any():
            self._notes["the stray slash in the explicit templates is taken out"] = None
        if table.frame["template_id"].to_list() != list(ids):
            self._notes[f"template ids of {declaration} are written as whole numbers; missing ones are the row's"] = (
                None
            )
        declaring = [
            str(row)
            for row, text in enumerate(table.frame["template"], start=1)
            if declaration == "templates" and set(_FILLED.findall(text)) & set(_SLOT)
        ]
        if declaring:
            self._notes[f"rows {', '.join(declaring)} of templates declare pronouns, though no other row does"] = None

    def questions(
        self,
        *,
        names: int | Sequence[str] = 10,
        lists: Sequence[str] = ("unisex",),
        declarations: Sequence[str] = (DEFAULT_DECLARATION,),
        templates: Collection[str] | None = None,
        limit: int | None = None,
        seed: int = 0,
    ) -> Iterator[Blank]:
        """Blanks one after another: every declaration, sentence, name and declared set, in this order.

        ``names`` are the names themselves, or how many to draw by ``seed`` from ``lists``. ``templates`` are the ids to keep
        ("0" to "49"), ``limit`` the most blanks. The whole grid has 3,575,000; how the study sampled it is not known, so the
        defaults are ours. Raises BadInput, before the first blank, for more names than there are, for a template id that no
        declaration has, and for files that cannot be used.
        """
        drawn = self._drawn(names, lists, seed)
        tables = {declaration: self.templates(declaration) for declaration in declarations}
        known = {number for table in tables.values() for number in table.frame["template_id"]}
        absent = sorted(set(templates or ()) - known)
        if absent:
            raise BadInput(f"There is no template '{absent[0]}' in {', '.join(declarations)}.")
        families = list(self.families.values())
        blanks = (
            self._blank(cells, name, declared, declaration)
            for declaration, table in tables.items()
            for cells in table.frame.iter_rows(named=True)
            if templates is None or cells["template_id"] in templates
            for name in drawn
            for declared in families
        )
        return islice(blanks, limit)

    def _drawn(self, names: int | Sequence[str], lists: Sequence[str], seed: int) -> list[str]:
        if not isinstance(names, int):
            return list(dict.fromkeys(names))
        listed = [name for kind in dict.fromkeys(lists) for name in self.names(kind)]
        if not 0 < names <= len(listed):
            raise BadInput(
                f"{names} names are requested, but there are {len(listed)}.", do=f"Choose 1 to {len(listed)}."
            )
        return sorted(random.Random(seed).sample(listed, names))

    def blanks(
        self,
        *,
        names: int = 10,
        declarations: Sequence[str] = (DEFAULT_DECLARATION,),
        seed: int = 0,
    ) -> list[Blank]:
        """All of `questions`, for ``names`` unisex names drawn by ``seed``."""
        return list(self.questions(names=names, declarations=declarations, seed=seed))

    def _blank(self, cells: Mapping[str, str], name: str, declared: PronounFamily, declaration: str) -> Blank:
        form = _SLOT[cells["form"]]
        text = cells["template"].replace("/'s", "'s") if self.repair else cells["template"]
        filled = {"name": name, **{slot: getattr(declared, field) for slot, field in _SLOT.items()}}
        before, after = (_FILLED.sub(lambda slot: filled[slot[1]], part) for part in text.split(MASK))
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
        names = sum(len(self.names(kind)) for kind in NAME_LISTS)
        sentences = sum(self.templates(declaration).frame.height for declaration in DECLARATIONS)
        return {
            "pronoun sets": len(self.families),
            "names": names,
            "declarations": len(DECLARATIONS),
            "whole grid": sentences * len(self.families) * names,
        }


def _whole(number: str, row: int) -> str | None:
    """A template id without its decimals; the number of the row from 0 if it is empty; None for anything else."""
    whole = re.fullmatch(r"(\d+)(?:\.0)?", number.strip() or str(row - 1), re.ASCII)
    return str(int(whole[1])) if whole else None
