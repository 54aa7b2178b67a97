"""Entry at prompts: names crossed with stems, which makes the counterfactuals, and tables of prompts already filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xxhash import xxh3_64_hexdigest

from evenhand.datasets.base import clean_key, item_id
from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.datasets.table import Table, as_table, attribute_name, resolve
from evenhand.errors import BadInput
from evenhand.records import Item, Message
from evenhand.safe_text import surrogate_free

NAME = "[NAME]"
BLANK = "[BLANK]"
_NAME_ROLES = ("name", "group")
_STEM_ROLES = ("stem", "stem_id", "stem_class")
_SENTENCE_START = re.compile(r"(?:^|[.!?]\s+)[\"'“‘]?$")


@dataclass(frozen=True, slots=True)
class Name:
    """What fills ``[NAME]``: a first name or a noun phrase, the group it is associated with, and further columns."""

    name: str
    group: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stem:
    """A sentence with ``[NAME]`` and one ``[BLANK]``; ``stem_class`` is neutral, stereotype_probe or loaded."""

    id: str
    text: str
    stem_class: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_names(source: Any, mapping: Mapping[str, str] | None = None) -> list[Name]:
    """Read names with their groups; every other column becomes an attribute.

    Roles: ``name``, ``group``. Names are put in NFC before they are compared.
    Raises BadInput for an empty cell, a name listed twice, and a name listed under two groups (each with its row).
    """
    table = as_table(source)
    roles = resolve(table, _without(mapping, _STEM_ROLES), required=_NAME_ROLES)
    names: list[Name] = []
    seen: dict[str, tuple[int, str]] = {}
    for row, cells in enumerate(table.rows(), start=1):
        name, group = (required_cell(table, cells, roles, role, row) for role in ("name", "group"))
        before = seen.setdefault(name.casefold(), (row, group))
        if before[1] != group:
            raise table.error(
                f"'{name}' is listed under two groups, '{before[1]}' (row {before[0]}) and '{group}'.",
                row,
                do="Keep each name in one group.",
            )
        if before[0] != row:
            raise table.error(f"'{name}' is listed twice (first in row {before[0]}).", row)
        names.append(Name(name, group, other_columns(cells, roles)))
    return names


def read_stems(source: Any, mapping: Mapping[str, str] | None = None) -> list[Stem]:
    """Read stems; ids default to S01, S02, ... in file order, and every other column becomes an attribute.

    Roles: ``stem`` (the text), ``stem_id``, ``stem_class``. Raises BadInput with the row where ``[NAME]`` is absent,
    ``[BLANK]`` is absent or there twice, or an id or a text is used twice.
    """
    table = as_table(source)
    roles = resolve(table, _without(mapping, _NAME_ROLES), required=_STEM_ROLES[:1], optional=_STEM_ROLES[1:])
    stems: list[Stem] = []
    seen: dict[str, int] = {}
    texts: dict[str, int] = {}
    for row, cells in enumerate(table.rows(), start=1):
        text = required_cell(table, cells, roles, "stem", row)
        if NAME not in text:
            raise table.error(f"The stem has no {NAME}: '{text}'.", row)
        if (blanks := text.count(BLANK)) != 1:
            how_often = "no" if blanks == 0 else f"{blanks} times"
            raise table.error(f"The stem has {how_often} {BLANK}, it needs one: '{text}'.", row)
        if texts.setdefault(text.casefold(), row) != row:
            raise table.error(f"The stem is there twice (first in row {texts[text.casefold()]}): '{text}'.", row)
        key = required_cell(table, cells, roles, "stem_id", row) if "stem_id" in roles else f"S{row:02d}"
        if seen.setdefault(key, row) != row:
            raise table.error(f"The stem id '{key}' is used twice (first in row {seen[key]}).", row)
        stem_class = clean_key(cells[roles["stem_class"]] or "") if "stem_class" in roles else ""
        stems.append(Stem(key, text, stem_class, other_columns(cells, roles)))
    return stems


def cross(
    names: Sequence[Name],
    stems: Sequence[Stem],
    *,
    audit: str = "service",
    system_prompt: str | None = SERVICE_SYSTEM_PROMPT,
    capitalise: bool = False,
) -> list[Item]:
    """The whole cross product, stem by stem: ``len(names) * len(stems)`` items with clusters ``name`` and ``stem``.

    The stratum is the stem's class; attributes of name and stem are joined. ``capitalise`` writes a noun phrase with
    a capital where it opens a sentence. The default system prompt asks to complete the ``[BLANK]`` (published: the
    idea; ours: the wording); None sends none.
    """
    return [
        Item(
            id=item_id(audit, stem.id, name.name),
            audit=audit,
            chat=build_chat(fill(stem.text, name.name, capitalise=capitalise), system_prompt),
            group=name.group,
            stratum=stem.stem_class,
            clusters={"name": name.name, "stem": stem.id},
            attributes={"stem_text": stem.text, **stem.attributes, **name.attributes},
        )
        for stem in stems
        for name in names
    ]


def _without(mapping: Mapping[str, str] | None, others: Sequence[str]) -> dict[str, str]:
    """One mapping serves a names and a stems file: each takes its own roles."""
    return {role: column for role, column in (mapping or {}).items() if role not in others}


def fill(stem: str, name: str, *, capitalise: bool = False) -> str:
    """Put ``name`` in place of every ``[NAME]``, with a capital at the start of a sentence if asked for."""
    if not capitalise:
        return stem.replace(NAME, name)
    pieces = stem.split(NAME)
    text = pieces[0]
    for piece in pieces[1:]:
        opens = _SENTENCE_START.search(text) is not None
        text += (name[:1].upper() + name[1:] if opens else name) + piece
    return text


def build_chat(prompt: str, system_prompt: str | None) -> tuple[Message, ...]:
    """A one-turn chat, with the system prompt first if there is one."""
    user = Message("user", prompt)
    return (Message("system", system_prompt), user) if system_prompt else (user,)


def required_cell(table: Table, cells: Mapping[str, str | None], roles: Mapping[str, str], role: str, row: int) -> str:
    """The cell of a role in NFC with white space collapsed; raises BadInput with the row where it is empty."""
    value = clean_key(cells[roles[role]] or "")
    if not value:
        raise table.error(f"The column '{roles[role]}' ({role}) is empty.", row)
    return value


def other_columns(cells: Mapping[str, str | None], roles: Mapping[str, str]) -> dict[str, str]:
    """The filled columns that play no role, as attributes."""
    taken = set(roles.values())
    return {attribute_name(key): clean_key(value) for key, value in cells.items() if key not in taken and value}


STEM_ALIASES = {"stem": ("stem_id", "template_id"), "stratum": ("stem_class",), "item_id": ("id",)}


class GroupOfName:
    """Remembers the group of each name, and rejects a name that turns up under a second group."""

    def __init__(self, origin: str):
        self.origin = origin
        self._seen: dict[str, tuple[str, int]] = {}

    def check(self, name: str, group: str, row: int) -> None:
        """Raise BadInput with both rows where ``name`` was in another group before."""
        before, first = self._seen.setdefault(name, (group, row))
        if before != group:
            raise BadInput(
                f"'{name}' is listed under two groups, '{before}' (row {first}) and '{group}'.",
                file=self.origin,
                row=row,
                do="Keep each name in one group.",
            )


def read_prompts(
    source: Any,
    mapping: Mapping[str, str] | None = None,
    *,
    audit: str = "service",
    system_prompt: str | None = SERVICE_SYSTEM_PROMPT,
) -> list[Item]:
    """Items of a table with one finished prompt a row.

    Roles: ``prompt`` and ``group`` are needed; ``name``, ``stem``, ``stratum`` (or ``stem_class``) and ``item_id``
    are optional; every other column becomes an attribute. Without a stem column each distinct prompt is its own stem;
    without a name column items have no ``name`` cluster, so no permutation of names is possible. The prompt itself is
    sent as it is, except that lone surrogates are replaced. Raises BadInput with the row for an empty cell, an id
    that is used twice, and a name under two groups.
    """
    table = as_table(source)
    roles = resolve(
        table,
        mapping,
        required=("prompt", "group"),
        optional=("item_id", "name", "stem", "stratum"),
        aliases=STEM_ALIASES,
    )
    groups = GroupOfName(table.origin)
    items: list[Item] = []
    rows_of: dict[str, int] = {}
    for row, cells in enumerate(table.rows(), start=1):
        prompt = cells[roles["prompt"]] or ""
        if not prompt.strip():
            raise table.error(f"The column '{roles['prompt']}' (prompt) is empty.", row)
        group = required_cell(table, cells, roles, "group", row)
        units: list[str] = [role for role in ("name", "stem") if role in roles]
        clusters = {role: required_cell(table, cells, roles, role, row) for role in units}
        clusters.setdefault("stem", f"P{xxh3_64_hexdigest(surrogate_free(prompt).encode())[:8]}")
        if "name" in clusters:
            groups.check(clusters["name"], group, row)
        if "item_id" in roles:
            key = required_cell(table, cells, roles, "item_id", row)
        elif "name" in clusters:
            key = item_id(audit, clusters["stem"], clusters["name"])
        else:
            key = item_id(audit, clusters["stem"], group)
        if rows_of.setdefault(key, row) != row:
            raise table.error(
                f"The item '{key}' is there twice (first in row {rows_of[key]}).",
                row,
                do="Remove one, or give each row its own item_id.",
            )
        items.append(
            Item(
                id=key,
                audit=audit,
                chat=build_chat(prompt, system_prompt),
                group=group,
                stratum=clean_key(cells[roles["stratum"]] or "") if "stratum" in roles else "",
                clusters=clusters,
                attributes=other_columns(cells, roles),
            )
        )
    return items
