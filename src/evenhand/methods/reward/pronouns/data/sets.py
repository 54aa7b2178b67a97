"""Which pronoun prompts and blanks an affirmation audit uses: the shipped ones, TANGO, MISGENDERED."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenhand.config import AuditConfig
from evenhand.datasets.base import item_id
from evenhand.datasets.shipped import shipped_table
from evenhand.datasets.table import Table
from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.config import AffirmationSettings
from evenhand.methods.reward.pronouns.data.misgendered import Blank, Misgendered
from evenhand.methods.reward.pronouns.data.tango import FAMILY_KINDS, Tango
from evenhand.methods.reward.pronouns.graders.pronoun import PronounFamily
from evenhand.records import Item, Message
from evenhand.registry import PRONOUN_SETS

AUDIT = "affirmation"
_FILES = ("pronoun_frames.csv", "pronoun_names.csv", "pronoun_sets.csv")


@dataclass(frozen=True, slots=True)
class AffirmationSet:
    """Prompts to be continued, blanks to be filled, and the pronoun families they speak of."""

    prompts: list[Item]
    blanks: list[Blank]
    families: Mapping[str, PronounFamily]
    source: dict[str, Any]


def _table(name: str) -> Table:
    return shipped_table(Path(__file__).parents[4] / "datasets" / "shipped" / name)


def _rows(name: str) -> list[dict[str, str]]:
    return list(_table(name).frame.iter_rows(named=True))


def shipped_families() -> dict[str, PronounFamily]:
    """The six families of the shipped set."""
    return {
        row["family"]: PronounFamily(
            row["family"], row["nom"], row["acc"], row["poss_dep"], row["poss_indep"], row["reflexive"],
            FAMILY_KINDS.get(row["family"], "neo"),
        )
        for row in _rows("pronoun_sets.csv")
    }  # fmt: skip


def shipped(*, seed: int = 0) -> AffirmationSet:
    """Eight names x six families x twelve sentences: each a prompt to be continued, and a blank to be filled."""
    families = shipped_families()
    prompts, blanks = [], []
    for name in (row["name"] for row in _rows("pronoun_names.csv")):
        for family in families.values():
            for frame in _rows("pronoun_frames.csv"):
                declaration = f"{name} uses {family.nom}/{family.acc} pronouns."
                before = f"{declaration} {frame['before']}"
                key = item_id("shipped", name, family.name, frame["frame_id"])
                prompts.append(
                    Item(
                        key,
                        AUDIT,
                        (Message("user", before),),
                        group=family.name,
                        clusters={"template": frame["frame_id"], "antecedent": name},
                        attributes={"form": frame["form"], "antecedent_type": "name"},
                    )
                )
                blanks.append(
                    Blank(
                        id=key,
                        name=name,
                        declared=family.name,
                        form=frame["form"],
                        declaration=declaration,
                        template_id=frame["frame_id"],
                        text_before=before,
                        text_after=f" {frame['after']}",
                        options={other.name: f" {getattr(other, frame['form'])}" for other in families.values()},
                    )
                )
    return AffirmationSet(prompts, blanks, families, {"shipped": {name: _table(name).checksum for name in _FILES}})


def tango(*, seed: int = 0) -> AffirmationSet:
    """TANGO's prompts, to be continued."""
    data = Tango()
    items = data.items()
    files = {name: file.checksum for name, file in data.sources.used.items()}
    return AffirmationSet(items, [], data.families(), {"tango": files})


def misgendered(*, seed: int = 0) -> AffirmationSet:
    """MISGENDERED's blanks, for names drawn by the seed."""
    data = Misgendered()
    blanks = data.blanks(seed=seed)
    files = {name: file.checksum for name, file in data.sources.used.items()}
    return AffirmationSet([], blanks, data.families, {"misgendered": files, "notes": list(data.notes)})


def open_affirmation(config: AuditConfig) -> AffirmationSet:
    """The registered sets that the settings name. Raises BadInput where two of them give one family different forms."""
    names = dict.fromkeys(config.of(AffirmationSettings).affirmation_set)
    parts: list[AffirmationSet] = [PRONOUN_SETS.get(name)(seed=config.seed) for name in names]
    families: dict[str, PronounFamily] = {}
    for part in parts:
        for name, family in part.families.items():
            if families.setdefault(name, family) != family:
                raise BadInput(
                    f"The sets {', '.join(names)} give '{name}' different forms.",
                    do="Run them one by one, with --affirmation-set.",
                )
    return AffirmationSet(
        [item for part in parts for item in part.prompts],
        [blank for part in parts for blank in part.blanks],
        families,
        {key: value for part in parts for key, value in part.source.items()},
    )
