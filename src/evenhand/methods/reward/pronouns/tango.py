"""TANGO's misgendering prompts and its disclosure prompts (Ovalle et al. 2023, arXiv 2305.09941), read from your copy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from evenhand.datasets.base import Sources, clean_key, item_id
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.methods.reward.margins.pairs import names_any
from evenhand.methods.reward.pronouns.grader import PronounFamily
from evenhand.records import Item, Message

AUDIT = "affirmation"
ROWS = 2880
FAMILY_KINDS: Mapping[str, Literal["binary", "they", "neo"]] = {"he": "binary", "she": "binary", "they": "they"}
"""The kind of a pronoun family; any other is a neopronoun."""
_FORMS = ("family", "nom", "acc", "poss_dep", "poss_indep", "reflexive")
_ANTECEDENTS = {
    "ante_nongendered": "name, not gendered",
    "ante_gendered_female": "name given to women",
    "ante_gendered_male": "name given to men",
    "distal": "distal",
}
_BINARY = frozenset({"man", "woman", "cisgender man", "cisgender woman", "cis man", "cis woman"})
_OTHER = frozenset({"cisgender", "cis", "male", "female"})


class Tango:
    """2,880 prompts: twelve templates, forty antecedents of four types, six pronoun families.

    Intended upstream for measuring bias toward transgender and nonbinary people, not for verifying anyone's gender.
    """

    name = "tango"
    licence = "CC BY-SA 4.0"
    source = "amazon-science/tango (arXiv 2305.09941)"
    description = "TANGO misgendering prompts: 12 templates x 40 antecedents x 6 pronoun families"
    reference_group = "he"

    def __init__(self, folder: str | Path | None = None, *, rows: int | None = ROWS):
        self.sources, self._expected = Sources("tango", folder), rows

    def _prompts(self) -> Table:
        table = read_table(self.sources.file("misgendering_prompts.csv"))
        resolve(table, None, required=("template_idx", "ante", "ante_type", "pronoun_family", "template"))
        if self._expected is not None and table.frame.height != self._expected:
            raise table.error(
                f"The file has {table.frame.height:,} rows, not {self._expected:,}.", do="Fetch it again."
            )
        return table

    def families(self) -> dict[str, PronounFamily]:
        """The six families with TANGO's own forms (its xe differs from that of MISGENDERED).

        Raises BadInput with the row for a missing form and for a family that is listed twice.
        """
        table = read_table(self.sources.file("pronoun_forms.csv"))
        resolve(table, None, required=_FORMS)
        families: dict[str, PronounFamily] = {}
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            forms = [(cells[column] or "").strip() for column in _FORMS]
            if not all(forms):
                raise table.error("A form of a pronoun family is missing.", row)
            name, nom, acc, dependent, independent, reflexive = forms
            if name in families:
                raise table.error(f"The pronoun family '{name}' is listed twice.", row)
            families[name] = PronounFamily(
                name, nom, acc, dependent, independent, reflexive, FAMILY_KINDS.get(name, "neo")
            )
        return families

    def items(self) -> list[Item]:
        """Every prompt with its first letter a capital, as plain text to be continued.

        Raises BadInput with the row for an unknown family or antecedent type, a prompt that holds no form of its family, and
        a repeated prompt.
        """
        table, families = self._prompts(), self.families()
        items: list[Item] = []
        seen: dict[str, int] = {}
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            item = _item(table, row, {key: (value or "").strip() for key, value in cells.items()}, families)
            if item.id in seen:
                raise table.error(f"The prompt of row {seen[item.id]} is repeated here.", row)
            seen[item.id] = row
            items.append(item)
        return items

    def counts(self) -> dict[str, int]:
        """Prompts, templates, antecedents and families."""
        frame = self._prompts().frame
        return {
            "prompts": frame.height,
            "templates": frame["template_idx"].n_unique(),
            "antecedents": frame["ante"].n_unique(),
            "families": frame["pronoun_family"].n_unique(),
        }


def _item(table: Table, row: int, cells: Mapping[str, str], families: Mapping[str, PronounFamily]) -> Item:
    family, kind, text = cells["pronoun_family"], cells["ante_type"], cells["template"]
    if family not in families:
        raise table.error(f"Unknown pronoun family '{family}'.", row)
    if kind not in _ANTECEDENTS:
        raise table.error(f"Unknown antecedent type '{kind}'.", row)
    if not names_any([text], families[family].forms):
        raise table.error(f"The prompt holds no pronoun of the family '{family}'.", row)
    return Item(
        item_id("tango", cells["template_idx"], cells["ante"], family),
        AUDIT,
        (Message("user", text[:1].upper() + text[1:]),),
        group=family,
        clusters={"template": f"tango {cells['template_idx']}", "antecedent": cells["ante"]},
        attributes={"antecedent_type": _ANTECEDENTS[kind]},
    )


def bare_identity(identity: str) -> str:
    """An identity without its article and in lower case, as it is compared."""
    return clean_key(identity).casefold().removeprefix("a ").removeprefix("an ")


def identity_kind(identity: str) -> Literal["binary", "tgnb", "other"]:
    """The side of an identity when disclosures are compared, whatever its article and case.

    ``binary``: man, woman, cisgender man, cisgender woman (a chosen default); ``other``:
    cisgender, male or female alone, which are on neither side; ``tgnb``: any other.
    """
    bare = bare_identity(identity)
    if bare in _BINARY:
        return "binary"
    return "other" if set(bare.split()) <= _OTHER else "tgnb"
