"""Entry at responses: a table of texts that some model gave already, as items and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xxhash import xxh3_64_hexdigest

from evenhand.datasets.base import clean_key, item_id
from evenhand.datasets.prompts import STEM_ALIASES, GroupOfName, build_chat, other_columns, required_cell
from evenhand.datasets.table import Table, as_table, resolve, whole_number
from evenhand.records import FinishReason, Item, Response
from evenhand.safe_text import surrogate_free

FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "error": "error",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "max_length": "length",
}
_OPTIONAL = (
    "config",
    "item_id",
    "group",
    "name",
    "stem",
    "stratum",
    "repetition",
    "prompt",
    "system_prompt",
    "finish_reason",
    "reasoning",
    "provider_refusal",
    "error",
)
_ALIASES = {**STEM_ALIASES, "repetition": ("rep", "gen"), "response": ("completion",), "provider_refusal": ("refusal",)}


def read_responses(
    source: Any,
    mapping: Mapping[str, str] | None = None,
    *,
    items: Mapping[str, Item] | None = None,
    audit: str = "service",
) -> tuple[list[Item], list[Response]]:
    """Items and responses of a table with one response a row.

    With ``items`` the rows are matched by ``item_id`` (or by stem and name); without, items are made from the
    columns: group is needed then, and item_id, or name and stem, or prompt. Further roles: config (else ``model``, or
    both joined), repetition, finish_reason, reasoning, provider_refusal, error, stratum, system_prompt; other columns
    become attributes.

    Without a finish_reason column a text counts as finished (``stop``), and an empty one as a failed row: nobody can
    tell whether the model stopped. Raises BadInput with the row for an unknown finish reason or item, a duplicate
    (config, item, repetition), a name under two groups, an item whose rows disagree, and one configuration with two
    system prompts.
    """
    table = as_table(source)
    mapping = dict(mapping or {})
    optional = tuple(role for role in _OPTIONAL if role != "config" or role in mapping)
    roles = resolve(table, mapping, required=("response",), optional=optional, aliases=_ALIASES)
    if items is None:
        resolve(table, {role: roles[role] for role in roles if role == "group"}, required=("group",))
    by_units = {(i.clusters.get("stem"), i.clusters.get("name")): i.id for i in (items or {}).values()}
    made: dict[str, tuple[Item, int]] = {}
    responses: list[Response] = []
    first: dict[tuple[str, str, int], int] = {}
    systems: dict[str, tuple[str, int]] = {}
    groups = GroupOfName(table.origin)
    for row, cells in enumerate(table.rows(), start=1):
        config = _config(table, cells, roles, row)
        _check_system(table, cells, roles, config, systems, row)
        if items is None:
            item = _make_item(table, cells, roles, audit, groups, row)
            before = made.setdefault(item.id, (item, row))
            if (before[0].group, before[0].chat, before[0].clusters) != (item.group, item.chat, item.clusters):
                raise table.error(
                    f"The item '{item.id}' has another group, prompt or unit than in row {before[1]}.",
                    row,
                    do="Give different items different ids.",
                )
        else:
            pair = (_cell(cells, roles, "stem"), _cell(cells, roles, "name"))
            key = _cell(cells, roles, "item_id") or by_units.get(pair, "")
            if key not in items:
                raise table.error(
                    f"The item '{key}' is not one of the {len(items)} items of this audit.",
                    row,
                    do="Give item_id, or stem and name, as the items have them.",
                )
            item = items[key]
            made.setdefault(item.id, (item, row))
        response = _response(table, cells, roles, config, item.id, row)
        unique = (config, item.id, response.repetition)
        if first.setdefault(unique, row) != row:
            raise table.error(
                f"Rows {first[unique]} and {row} are about the same response "
                f"(config {config}, item {item.id}, repetition {response.repetition}).",
                row,
                do="Remove one, or map the column that tells them apart (config or repetition).",
            )
        responses.append(response)
    return [item for item, _ in made.values()], responses


def _cell(cells: Mapping[str, str | None], roles: Mapping[str, str], role: str) -> str:
    return clean_key(cells[roles[role]] or "") if role in roles else ""


def _config(table: Table, cells: Mapping[str, str | None], roles: Mapping[str, str], row: int) -> str:
    if "config" in roles:
        return required_cell(table, cells, roles, "config", row)
    parts = [clean_key(cells[name] or "") for name in ("model", "config") if name in cells]
    return " | ".join(filter(None, parts)) or "responses"


def _check_system(
    table: Table,
    cells: Mapping[str, str | None],
    roles: Mapping[str, str],
    config: str,
    systems: dict[str, tuple[str, int]],
    row: int,
) -> None:
    if "system_prompt" not in roles:
        return
    system = cells[roles["system_prompt"]] or ""
    before, first = systems.setdefault(config, (system, row))
    if before != system:
        raise table.error(
            f"The configuration '{config}' has another system prompt than in row {first}.",
            row,
            do="Runs with different system prompts are different configurations: say so in the config column.",
        )


def _make_item(
    table: Table,
    cells: Mapping[str, str | None],
    roles: Mapping[str, str],
    audit: str,
    groups: GroupOfName,
    row: int,
) -> Item:
    group = required_cell(table, cells, roles, "group", row)
    prompt = cells[roles["prompt"]] or "" if "prompt" in roles else ""
    clusters = {role: required_cell(table, cells, roles, role, row) for role in ("name", "stem") if role in roles}
    if "stem" not in clusters and prompt:
        clusters["stem"] = f"P{xxh3_64_hexdigest(surrogate_free(prompt).encode())[:8]}"
    if "name" in clusters:
        groups.check(clusters["name"], group, row)
    if "item_id" in roles:
        key = required_cell(table, cells, roles, "item_id", row)
    elif "stem" in clusters:
        key = item_id(audit, clusters["stem"], clusters.get("name", group))
    else:
        raise table.error(
            "Nothing says which item a response belongs to.",
            do="Map item_id, or stem and name, or prompt: --map item_id=COLUMN.",
        )
    system = cells[roles["system_prompt"]] or "" if "system_prompt" in roles else ""
    return Item(
        id=key,
        audit=audit,
        chat=build_chat(prompt, None) if prompt else (),
        group=group,
        stratum=_cell(cells, roles, "stratum"),
        clusters=clusters,
        attributes={k: v for k, v in other_columns(cells, roles).items() if k not in ("model", "config")}
        | ({"system_prompt_digest": xxh3_64_hexdigest(surrogate_free(system).encode())} if system else {}),
    )


def _response(
    table: Table, cells: Mapping[str, str | None], roles: Mapping[str, str], config: str, item: str, row: int
) -> Response:
    def raw(role: str) -> str:
        return (cells[roles[role]] or "") if role in roles else ""

    text, error = raw("response"), raw("error")
    stated = raw("finish_reason").strip().casefold()
    if stated:
        if stated not in FINISH_REASONS:
            raise table.error(
                f"The finish reason '{raw('finish_reason')}' is not known.",
                row,
                do=f"Known: {', '.join(FINISH_REASONS)}.",
            )
        finish = FINISH_REASONS[stated]
    else:
        finish = "stop" if (text.strip() or raw("provider_refusal")) and not error else "error"
    if finish == "error" and not error:
        error = "the source says error" if stated else "empty response without a finish reason"
    repetition = _cell(cells, roles, "repetition") or "0"
    number = whole_number(repetition, "The repetition", file=table.origin, row=row)
    return Response(
        config,
        item,
        number,
        text,
        finish,
        reasoning=raw("reasoning"),
        provider_refusal=raw("provider_refusal"),
        error=error,
    )
