"""TANGO's misgendering prompts and its disclosure prompts (Ovalle et al. 2023, arXiv 2305.09941), read from your copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from evenhand.datasets.base import Sources, item_id
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.errors import BadInput
from evenhand.graders.pronoun import PronounFamily
from evenhand.records import Item, Message

__all__ = ["FAMILY_KINDS", "Tango", "disclosures", "read_disclosures"]

AUDIT = "affirmation"
ROWS = 2880
FAMILY_KINDS: Mapping[str, Literal["binary", "they", "neo"]] = {"he": "binary", "she": "binary", "they": "they"}
"""The kind of a pronoun family; any other is a neopronoun."""
DISCLOSURE_FORMS = ("identified as", "came out as", "mainly uses the label")
"""The three of TANGO's eighteen forms that its README quotes; the others need the upstream file."""
_ANTECEDENTS = {
    "ante_nongendered": "name, not gendered",
    "ante_gendered_female": "name given to women",
    "ante_gendered_male": "name given to men",
    "distal": "distal",
}


class Tango:
    """2,880 prompts: twelve templates, forty antecedents of four types, six pronoun families.

    Intended upstream for measuring bias toward transgender and nonbinary people, not for verifying anyone's gender.
    """

    name = "tango"
    licence = "CC BY-SA 4.0"
    source = "amazon-science/tango (arXiv 2305.09941)"
    description = "TANGO misgendering prompts: 12 templates x 40 antecedents x 6 pronoun families"
    reference_group = "he"

    def __init__(self, folder: str | Path | None = None):
        self.sources = Sources("tango", folder)

    def _prompts(self) -> Table:
        table = read_table(self.sources.file("misgendering_prompts.csv"))
        resolve(table, None, required=("template_idx", "ante", "ante_type", "pronoun_family", "template"))
        if table.frame.height != ROWS:
            raise BadInput(
                f"The file has {table.frame.height:,} rows, not {ROWS:,}.", file=table.origin, do="Fetch it again."
            )
        return table

    def families(self) -> dict[str, PronounFamily]:
        """The six families with TANGO's own forms (its xe differs from that of MISGENDERED)."""
        table = read_table(self.sources.file("pronoun_forms.csv"))
        roles = resolve(table, None, required=("family", "nom", "acc", "poss_dep", "poss_indep", "reflexive"))
        found = {}
        for row in table.frame.iter_rows(named=True):
            name, nom, acc, dependent, independent, reflexive = (row[column] for column in roles.values())
            found[name] = PronounFamily(
                name, nom, acc, dependent, independent, reflexive, FAMILY_KINDS.get(name, "neo")
            )
        return found

    def items(self) -> list[Item]:
        """Every prompt with its first letter a capital, as plain text to be continued."""
        table, families = self._prompts(), self.families()
        items = []
        for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
            family, kind = cells["pronoun_family"], cells["ante_type"]
            if family not in families:
                raise BadInput(f"'{family}' is no pronoun family of the set.", file=table.origin, row=row)
            if kind not in _ANTECEDENTS:
                raise BadInput(f"'{kind}' is no antecedent type of the set.", file=table.origin, row=row)
            text = cells["template"].strip()
            items.append(
                Item(
                    item_id("tango", cells["template_idx"], cells["ante"], family),
                    AUDIT,
                    (Message("user", text[:1].upper() + text[1:]),),
                    group=family,
                    clusters={"template": f"tango {cells['template_idx']}", "antecedent": cells["ante"]},
                    attributes={"antecedent_type": _ANTECEDENTS[kind]},
                )
            )
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


def disclosures(
    names: Sequence[str], identities: Mapping[str, str], forms: Sequence[str] = DISCLOSURE_FORMS
) -> list[Item]:
    """Prompts "NAME FORM IDENTITY." for every name, form and identity; ``identities`` maps each to ``tgnb`` or ``binary``."""
    return [
        _disclosure(name, form, identity, kind)
        for name in names
        for form in forms
        for identity, kind in identities.items()
    ]


def _disclosure(name: str, form: str, identity: str, kind: str) -> Item:
    return Item(
        item_id("disclosure", name, form, identity),
        AUDIT,
        (Message("user", f"{name} {form} {identity}."),),
        group=identity,
        stratum="disclosure",
        clusters={"name": name, "form": form},
        attributes={"identity_kind": kind},
    )


def read_disclosures(path: str | Path) -> list[Item]:
    """Disclosure prompts from TANGO's own table: filled_gender_prompt, gender_identity, name, gender_prompt."""
    table = read_table(path)
    roles = resolve(table, None, required=("filled_gender_prompt", "gender_identity", "name", "gender_prompt"))
    items = []
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        text, identity, name, form = ((cells[roles[role]] or "").strip() for role in roles)
        if not text or not identity or not name:
            raise BadInput("The prompt, the identity or the name is missing.", file=table.origin, row=row)
        binary = identity.casefold() in {"man", "woman", "cisgender man", "cisgender woman", "cis man", "cis woman"}
        item = _disclosure(name, form, identity, "binary" if binary else "tgnb")
        items.append(
            Item(item.id, AUDIT, (Message("user", text),), identity, "disclosure", item.clusters, item.attributes)
        )
    return items
