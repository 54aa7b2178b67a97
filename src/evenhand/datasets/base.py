"""What every dataset offers, where public files lie, and how items get their ids."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from xxhash import xxh3_64_hexdigest, xxh3_128

from evenhand.errors import BadInput
from evenhand.records import Item
from evenhand.safe_text import surrogate_free

_LONGEST_PART = 48


@runtime_checkable
class Dataset(Protocol):
    """A place that items come from.

    ``licence`` and ``source`` go into the manifest; ``reference_group`` is the group that contrasts are taken to,
    empty where the set has none. A set may also offer ``responses()`` (items and responses) and ``labels()`` (a
    ``LabelTable``).
    """

    name: str
    licence: str
    source: str
    description: str
    reference_group: str

    def items(self) -> list[Item]:
        """Every item of the set, under its default settings."""
        ...

    def counts(self) -> dict[str, int]:
        """How much there is of what, for listings."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its path, size in bytes, and ``xxh128:`` checksum."""

    path: str
    size: int
    checksum: str


class Sources:
    """Where the files of a public set lie, with a checksum of each file that was asked for.

    The folder is ``folder`` if given, else the folder ``name`` inside the folder that EVENHAND_DATA names.
    ``used`` holds one ``SourceFile`` per file name, for the manifest.
    """

    def __init__(self, name: str, folder: str | Path | None = None):
        self.name = name
        root = os.environ.get("EVENHAND_DATA", "")
        if folder is None and not root:
            raise BadInput(
                f"The public data set '{name}' is not shipped and its folder is not known.",
                do=f"Give its folder, or set EVENHAND_DATA to the folder that holds '{name}'.",
            )
        self.folder = Path(folder) if folder is not None else Path(root) / name
        if not self.folder.is_dir():
            raise BadInput(
                f"There is no folder of the public data set '{name}'.",
                file=self.folder,
                do=f"Give its folder, or set EVENHAND_DATA to the folder that holds '{name}'.",
            )
        self.used: dict[str, SourceFile] = {}

    def file(self, name: str) -> Path:
        """The path of a file of the set; its checksum is recorded in ``used``.

        Raises BadInput where it is missing.
        """
        path = self.folder / name
        if not path.is_file():
            raise BadInput(f"The data set '{self.name}' lacks this file.", file=path, do="Fetch the set again, whole.")
        if name not in self.used:
            digest = xxh3_128()
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            self.used[name] = SourceFile(str(path), path.stat().st_size, f"xxh128:{digest.hexdigest()}")
        return path


def clean_key(text: str) -> str:
    """A name or id as it is matched: NFC, no lone surrogates, white space collapsed to single spaces."""
    return " ".join(unicodedata.normalize("NFC", surrogate_free(text)).split())


def slug(part: str) -> str:
    """A readable piece of an id: letters, digits and ``. _ -`` stay as they are, in NFC.

    Anything else becomes ``-``; then, and where the piece is over 48 characters, 8 hexadecimal digits of the whole
    piece follow after ``~``, so that two pieces never share an id.
    """
    part = clean_key(part)
    plain = "".join(c if c.isalnum() or c in "._-" or unicodedata.category(c)[0] == "M" else "-" for c in part)
    if plain == part and 0 < len(part) <= _LONGEST_PART:
        return plain
    return f"{plain[:_LONGEST_PART].strip('-')}~{xxh3_64_hexdigest(part.encode())[:8]}"


def item_id(*parts: str) -> str:
    """A stable, readable item id, for example ``service/S01/Emily``."""
    return "/".join(slug(part) for part in parts)


def open_dataset(name: str, folder: str | Path | None = None) -> Any:
    """The registered dataset ``name``; ``folder`` says where its files lie if it is not shipped."""
    from evenhand.registry import DATASETS

    maker = DATASETS.get(name)
    return maker(folder) if folder is not None else maker()
