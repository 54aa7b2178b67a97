"""The rows that the service audit starts from: prompts, responses or labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from xxhash import xxh3_64_hexdigest

from evenhand.config import AuditConfig
from evenhand.errors import BadInput
from evenhand.methods.service.config import ServiceSettings
from evenhand.records import Grade, Item, Response

if TYPE_CHECKING:
    from evenhand.datasets.labels import LabelTable


AUDIT = "service"
LOADED = "loaded"
UNSAFE, EVERYONE = "unsafe", "all"
"""Stratum of the matched unsafe set: it makes the safety axis and enters no rate of the benign prompts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The rows an audit starts from. ``grades`` and ``responses`` are None if they are still to be made.

    ``reference`` is the reference group that the source knows, else empty; ``source`` says where the rows come from.
    ``repeated`` says whether the rows of one item answer one prompt: labels without a stem, prompt or item id do not.
    """

    kind: Literal["prompts", "responses", "labels"]
    items: list[Item]
    responses: list[Response] | None = None
    grades: list[Grade] | None = None
    reference: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    repeated: bool = True


def open_entry(config: AuditConfig) -> Entry:
    """Read what the settings name. Raises BadInput with file and row."""
    if config.labels is not None:
        from evenhand.datasets.labels import read_labels

        return _from_labels(read_labels(config.labels, config.columns, values=config.values), config)
    if config.responses is not None:
        from evenhand.datasets.responses import read_responses

        items, responses = read_responses(config.responses, config.columns)
        return Entry("responses", items, responses, source={"file": str(config.responses)})
    items, reference, source = _prompts(config)
    return Entry("prompts", keep_whole_stems(items, config.limit), reference=reference, source=source)


def _prompts(config: AuditConfig) -> tuple[list[Item], str, dict[str, Any]]:
    settings = config.of(ServiceSettings)
    from evenhand.datasets.base import open_dataset

    if config.data is not None:
        from evenhand.datasets.prompts import read_prompts

        return read_prompts(config.data, config.columns), "", {"file": str(config.data)}
    if settings.names or settings.stems:
        from evenhand.datasets.prompts import cross, read_names, read_stems
        from evenhand.datasets.shipped import NAMES, STEMS, shipped_table

        names = read_names(settings.names, config.columns) if settings.names else read_names(shipped_table(NAMES))
        stems = read_stems(settings.stems, config.columns) if settings.stems else read_stems(shipped_table(STEMS))
        reference = "white" if settings.names is None else ""
        return (
            cross(names, stems),
            reference,
            {"names": str(settings.names or "shipped"), "stems": str(settings.stems or "shipped")},
        )
    dataset = open_dataset(config.dataset)
    items = dataset.items()
    source = {"dataset": dataset.name, "licence": dataset.licence, "source": dataset.source}
    return items, dataset.reference_group, {**source, "checksums": _checksums(dataset)}


def _checksums(dataset: Any) -> dict[str, str]:
    """The checksum of every file that a registered set was read from."""
    if hasattr(dataset, "checksums"):
        return dict(dataset.checksums)
    return {name: used.checksum for name, used in dataset.sources.used.items()} if hasattr(dataset, "sources") else {}


def keep_whole_stems(items: list[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` items, as whole stems in their order: a stem without all of its names would unbalance the groups.

    Where not even one stem fits, or no stem is shared by two groups, items are taken in turns over the groups.
    """
    if limit is None or len(items) <= limit:
        return items
    stems: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        stems[item.clusters.get("stem", item.id)].append(item)
    kept: list[Item] = []
    shared = any(len({item.group for item in members}) > 1 for members in stems.values())
    for members in stems.values() if shared else ():
        if len(kept) + len(members) > limit:
            break
        kept += members
    if kept:
        return kept
    turn: Counter[str] = Counter()
    first = next(iter(stems.values())) if shared else items
    ranked = []
    for item in first:
        ranked.append((turn[item.group], item))
        turn[item.group] += 1
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])[:limit]]


def reference_of(config: AuditConfig, entry: Entry) -> str:
    """The reference group: named, known to the source, or the only sensible one; else BadInput lists the groups."""
    groups = list(dict.fromkeys(item.group for item in entry.items))
    wanted = config.reference_group or entry.reference
    if wanted in groups:
        return wanted
    if config.reference_group or not wanted:
        what = f"There is no group '{wanted}'." if wanted else "No reference group is known for these rows."
        raise BadInput(what, do=f"Choose one with --reference-group: {', '.join(groups)}.")
    raise BadInput(
        f"The reference group '{wanted}' has no rows.", do=f"Choose one with --reference-group: {', '.join(groups)}."
    )


def _from_labels(table: LabelTable, config: AuditConfig) -> Entry:
    """One item a (group, name, stem), one grade a label and its response if given; counts become that many grades.

    If no column identifies the prompt, the rows of one name are numbered in their order unless their repetitions are unique.
    """
    items: dict[str, Item] = {}
    grades: list[Grade] = []
    responses: list[Response] = []
    carries_texts = table.kind == "rows" and "response" in table.frame.columns
    identifying = [name for name in ("item_id", "stem", "prompt") if name in table.frame.columns]
    repeated = table.kind == "rows" and any(table.frame[name].null_count() == 0 for name in identifying)
    numbered = _numbered(table, repeated)
    taken: Counter[tuple[str, str]] = Counter()
    for row in table.frame.iter_rows(named=True):
        clusters = {unit: value for unit, value in (("name", row["name"]), ("stem", _stem(row))) if value is not None}
        key = _key(row)
        attributes = {name: row[name] for name in table.attributes if row[name] is not None}
        chat = _chat(row.get("prompt"))
        items.setdefault(key, Item(key, AUDIT, chat, row["group"], row["stratum"], clusters, attributes))
        if (items[key].group, items[key].clusters) != (row["group"], clusters):
            raise BadInput(
                f"The item '{key}' has another group, name or stem than in an earlier row.", file=table.origin, row=row["row"],
                do="Give different items different ids.",
            )  # fmt: skip
        for _ in range(row["count"]):
            repetition = row["repetition"] if numbered else None
            if repetition is None:
                repetition = taken[row["config"], key]
                taken[row["config"], key] += 1
            grades.append(
                Grade(row["config"], key, repetition, "labels", row["label"], "", "human", missing=row["missing"])
            )
            if carries_texts:
                responses.append(Response(row["config"], key, repetition, row["response"] or "", "stop"))
    source = {"file": table.origin, "kind": table.kind, "known_as": table.known}
    return Entry(
        "labels", list(items.values()), responses if carries_texts else None, grades, table.reference, source, repeated
    )


def _stem(row: dict[str, Any]) -> str | None:
    """The stem of a row of labels; if the source has none, each distinct prompt is a stem of its own."""
    if row["stem"] is None and row.get("prompt"):
        return f"P{xxh3_64_hexdigest(row['prompt'].encode())[:8]}"
    stem: str | None = row["stem"]
    return stem


def _key(row: dict[str, Any]) -> str:
    """The item of a row of labels."""
    from evenhand.datasets.base import item_id

    return row.get("item_id") or item_id(AUDIT, _stem(row) or "all", row["name"] or row["group"])


def _numbered(table: LabelTable, repeated: bool) -> bool:
    """Whether the source's repetitions distinguish the rows of an item. Raises BadInput if they must and do not."""
    first: dict[tuple[str, str, int], int] = {}
    for row in table.frame.iter_rows(named=True):
        if row["repetition"] is None or table.kind != "rows":
            continue
        key = (row["config"], _key(row), row["repetition"])
        if first.setdefault(key, row["row"]) == row["row"]:
            continue
        if not repeated:
            return False
        raise BadInput(
            f"Rows {first[key]} and {row['row']} are about the same response "
            f"(config {key[0]}, item {key[1]}, repetition {key[2]}).",
            file=table.origin, row=row["row"], do="Map the column that tells them apart: name, item_id or repetition.",
        )  # fmt: skip
    return True


def _chat(prompt: str | None) -> tuple[Any, ...]:
    from evenhand.records import Message

    return (Message("user", prompt),) if prompt else ()


def unsafe_items(config: AuditConfig) -> list[Item]:
    """The matched unsafe set: a registered set's unsafe prompts, or a file with a prompt column (and perhaps group and name)."""
    settings = config.of(ServiceSettings)
    if settings.unsafe is None:
        return []
    from dataclasses import replace
    from pathlib import Path

    import polars as pl

    from evenhand.datasets.base import open_dataset
    from evenhand.datasets.prompts import read_prompts
    from evenhand.datasets.table import Table, read_table
    from evenhand.registry import DATASETS

    if settings.unsafe in DATASETS:
        whole = open_dataset(settings.unsafe).items()
        items = [replace(item, group=EVERYONE) for item in whole if UNSAFE in (item.group, item.stratum)]
        if not items:
            raise BadInput(f"The dataset '{settings.unsafe}' has no unsafe prompts.", do="Give a file of prompts.")
    else:
        table = read_table(Path(settings.unsafe))
        # One mapping serves two files: a column that this one lacks was meant for the other.
        mapping = {role: column for role, column in config.columns.items() if column in ("", *table.frame.columns)}
        if "group" not in table.frame.columns and "group" not in mapping:
            table = Table(table.frame.with_columns(group=pl.lit(EVERYONE)), table.origin, table.checksum)
        items = read_prompts(table, mapping, audit=UNSAFE, system_prompt=None)
    # Ids with a prefix, so that no unsafe prompt is taken for a harmless one of the same id.
    return [
        replace(item, id=f"{UNSAFE}/{item.id.removeprefix(f'{UNSAFE}/')}", audit=AUDIT, stratum=UNSAFE)
        for item in items
    ]


def configurations_in(config: AuditConfig, entry: Entry) -> int:
    """How many configurations are audited: those of the rows, or every model with every system prompt."""
    if entry.grades is not None or entry.responses is not None:
        return len({row.config for row in entry.grades or entry.responses or ()})
    return len(config.models) * max(1, len(config.system_prompt))


def groups_in_order(items: Sequence[Item], reference: str) -> list[str]:
    """Group keys, the reference first, the others as they occur."""
    groups = dict.fromkeys(item.group for item in items)
    return [reference, *(group for group in groups if group != reference)]
