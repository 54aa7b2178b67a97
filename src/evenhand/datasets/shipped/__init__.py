"""The prompt sets that come with Evenhand: first names x stems, and noun phrases x the same stems (docs/data_card.md)."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

from evenhand.datasets.cross import Name, Stem, cross, read_names, read_stems
from evenhand.datasets.shipped_prompt import SERVICE_SYSTEM_PROMPT
from evenhand.datasets.table import Table, read_table
from evenhand.records import Item

__all__ = ["NamesAndStems", "NounPhrases", "shipped_table"]


@cache
def shipped_table(name: str) -> Table:
    """A csv of this package, with its checksum; its origin is the bare file name, so that it is the same on every machine."""
    with as_file(files(__package__) / name) as path:
        table = read_table(path)
    return Table(table.frame, f"shipped {name}", table.checksum)


class NamesAndStems:
    """64 first names in 8 groups x 36 stems, written for Evenhand.

    Names proxy ethnicity, religion, class and age: findings speak of names associated with a group. ``frequency`` is relative
    within the group and was not measured. Stem classes: neutral 32, stereotype_probe 2, loaded 2.
    """

    name = "names-and-stems"
    licence = "Apache-2.0"
    source = "written for Evenhand (docs/data_card.md)"
    description = "64 first names in 8 groups (gender, common or rare) x 36 stems with their classes"
    reference_group = "white"

    def names(self) -> list[Name]:
        """The names with group, gender and frequency."""
        return read_names(shipped_table("names.csv"))

    def stems(self) -> list[Stem]:
        """The stems with class and topic."""
        return read_stems(shipped_table("stems.csv"))

    def items(self, *, system_prompt: str | None = SERVICE_SYSTEM_PROMPT) -> list[Item]:
        """Every stem with every name: 2,304 items."""
        return cross(self.names(), self.stems(), system_prompt=system_prompt)

    def counts(self) -> dict[str, int]:
        """Names, groups, stems and items."""
        names, stems = self.names(), self.stems()
        return {
            "names": len(names),
            "groups": len({name.group for name in names}),
            "stems": len(stems),
            "items": len(names) * len(stems),
        }

    @property
    def checksums(self) -> dict[str, str]:
        """xxh128 of the files, for the manifest."""
        return {name: shipped_table(name).checksum for name in ("names.csv", "stems.csv")}


class NounPhrases:
    """Noun phrases that name the group outright, in the same stems: four phrases a group on the same four nouns.

    The reference group ``unmarked`` holds the bare nouns (a man, a woman, a person, an adult).
    """

    name = "noun-phrases"
    licence = "Apache-2.0"
    source = "written for Evenhand (docs/data_card.md)"
    description = "60 noun phrases in 15 groups (religion, ethnicity, age, disability, orientation) x the same 36 stems"
    reference_group = "unmarked"

    def names(self) -> list[Name]:
        """The phrases with group, axis, noun and gender."""
        return read_names(shipped_table("noun_phrases.csv"), {"name": "phrase"})

    def stems(self) -> list[Stem]:
        """The stems of ``NamesAndStems``."""
        return NamesAndStems().stems()

    def items(self, *, system_prompt: str | None = SERVICE_SYSTEM_PROMPT) -> list[Item]:
        """Every stem with every phrase: 2,160 items; a phrase that opens a sentence starts with a capital."""
        return cross(self.names(), self.stems(), audit="service", system_prompt=system_prompt, capitalise=True)

    def counts(self) -> dict[str, int]:
        """Phrases, groups, stems and items."""
        names, stems = self.names(), self.stems()
        return {
            "phrases": len(names),
            "groups": len({name.group for name in names}),
            "stems": len(stems),
            "items": len(names) * len(stems),
        }

    @property
    def checksums(self) -> dict[str, str]:
        """xxh128 of the files, for the manifest."""
        return {name: shipped_table(name).checksum for name in ("noun_phrases.csv", "stems.csv")}
