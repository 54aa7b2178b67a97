"""The prompt sets that come with Evenhand: first names x stems, and noun phrases x the same stems
(docs/data_card.md).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from evenhand.datasets.prompts import Name, Stem, cross, read_names, read_stems
from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.datasets.table import Table, read_table
from evenhand.records import Item

__all__ = ["NAMES", "NOUN_PHRASES", "STEMS", "NamesAndStems", "NounPhrases", "shipped_table"]

NAMES = Path(__file__).with_name("names.csv")
STEMS = Path(__file__).with_name("stems.csv")
NOUN_PHRASES = Path(__file__).with_name("noun_phrases.csv")


@cache
def shipped_table(path: Path) -> Table:
    """A csv of this package with its checksum; errors and manifests call it by its bare name."""
    table = read_table(path)
    return Table(table.frame, f"shipped {path.name}", table.checksum)


class _Crossed:
    """Names or phrases of one file crossed with the shipped stems."""

    units: str
    file: Path

    def names(self) -> list[Name]:
        """What fills ``[NAME]``, with its group and further columns."""
        return read_names(shipped_table(self.file))

    def stems(self) -> list[Stem]:
        """The stems with class and topic."""
        return read_stems(shipped_table(STEMS))

    def counts(self) -> dict[str, int]:
        """Names or phrases, groups, stems and items."""
        names, stems = self.names(), self.stems()
        return {
            self.units: len(names),
            "groups": len({name.group for name in names}),
            "stems": len(stems),
            "items": len(names) * len(stems),
        }

    @property
    def checksums(self) -> dict[str, str]:
        """xxh128 of the files, for the manifest."""
        return {path.name: shipped_table(path).checksum for path in (self.file, STEMS)}


class NamesAndStems(_Crossed):
    """64 first names in 8 groups x 36 stems, written for Evenhand.

    Names proxy ethnicity, religion, class and age: findings speak of names associated with a group. ``frequency`` is
    relative within the group and was not measured. Stem classes: neutral 32, stereotype_probe 2, loaded 2.
    """

    name = "names-and-stems"
    licence = "Apache-2.0"
    source = "written for Evenhand (docs/data_card.md)"
    description = "64 first names in 8 groups (gender, common or rare) x 36 stems with their classes"
    reference_group = "white"
    units, file = "names", NAMES

    def items(self, *, system_prompt: str | None = SERVICE_SYSTEM_PROMPT) -> list[Item]:
        """Every stem with every name: 2,304 items."""
        return cross(self.names(), self.stems(), system_prompt=system_prompt)


class NounPhrases(_Crossed):
    """Noun phrases that name the group outright, in the same stems: four phrases a group on the same four nouns.

    The reference group ``unmarked`` holds the bare nouns (a man, a woman, a person, an adult).
    """

    name = "noun-phrases"
    licence = "Apache-2.0"
    source = "written for Evenhand (docs/data_card.md)"
    description = "60 noun phrases in 15 groups (religion, ethnicity, age, disability, orientation) x the same 36 stems"
    reference_group = "unmarked"
    units, file = "phrases", NOUN_PHRASES

    def names(self) -> list[Name]:
        """The phrases with group, axis, noun and gender."""
        return read_names(shipped_table(NOUN_PHRASES), {"name": "phrase"})

    def items(self, *, system_prompt: str | None = SERVICE_SYSTEM_PROMPT) -> list[Item]:
        """Every stem with every phrase: 2,160 items; a phrase that opens a sentence starts with a capital."""
        return cross(self.names(), self.stems(), audit="service", system_prompt=system_prompt, capitalise=True)
