"""Entry at prompts: a table of prompts that are already filled in, as items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xxhash import xxh3_64_hexdigest

from evenhand.datasets.base import clean_key, item_id
from evenhand.datasets.cross import build_chat, other_columns, required_cell
from evenhand.datasets.shipped_prompt import SERVICE_SYSTEM_PROMPT
from evenhand.datasets.table import as_table, resolve
from evenhand.errors import BadInput
from evenhand.records import Item
from evenhand.safe_text import surrogate_free

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
    sent as it stands, except that lone surrogates are replaced. Raises BadInput with the row for an empty cell, an id
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
            raise BadInput(f"The column '{roles['prompt']}' (prompt) is empty.", file=table.origin, row=row)
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
            raise BadInput(
                f"The item '{key}' is there twice (first in row {rows_of[key]}).",
                file=table.origin,
                row=row,
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
