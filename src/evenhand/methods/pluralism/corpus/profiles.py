"""Prompts separated from profiles: one prompt, many profiles, joined by row.

A text that many people were asked about is one prompt. Their profiles are in a separate table and never reach a classifier.
A missing value is a level of its own, an empty text, and so is ``Other``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evenhand.datasets.base import clean_key
from evenhand.datasets.pku import category_slug
from evenhand.datasets.question_texts import FIELDS
from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.wording import NONE

if TYPE_CHECKING:
    import polars as pl

    from evenhand.methods.pluralism.data.rating_table import RatingTable


_ALIASES = {
    "id": ("item_id", "item", "prompt_id"),
    "text": ("prompt", "query", "context", "question"),
    "reply": ("response",),
    "domain": ("category", "class"),
    **{field: (f"rater_{field}",) for field in FIELDS},
}


@dataclass(frozen=True, slots=True)
class JoinRow:
    """One row of the source: its number from 1, the id of its item, its text, its profile (empty if there is none), and the
    classes that the source names, slugs of domains or "none"."""

    row: int
    item_id: str
    text: str
    profile: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class PromptSet:
    """A source, separated into prompts, profiles and the rows that join them.

    ``prompts`` is prompt id to text, in order of first appearance; ``profiles`` is profile id to field to value; ``joins`` holds
    (row, item id, prompt id, profile id) of every row that was taken, with an empty profile id where the source has
    no profiles. ``rejected`` holds (row, reason). ``known`` is prompt id to the classes that the source names, of those prompts
    for which it does.
    """

    prompts: Mapping[str, str]
    profiles: Mapping[str, Mapping[str, str]]
    joins: tuple[tuple[int, str, str, str], ...]
    origin: str
    licence: str
    checksums: Mapping[str, str]
    notes: tuple[str, ...] = ()
    rejected: tuple[tuple[int, str], ...] = ()
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def joins_frame(self) -> pl.DataFrame:
        """row, item_id, prompt_id, profile_id."""
        import polars as pl

        schema = {"row": pl.Int64, "item_id": pl.String, "prompt_id": pl.String, "profile_id": pl.String}
        return pl.DataFrame(list(self.joins), schema=schema, orient="row")

    def profiles_frame(self) -> pl.DataFrame:
        """profile_id, gender, race, age, education, and rows: how many rows have it."""
        import polars as pl

        counts: dict[str, int] = {}
        for _, _, _, profile in self.joins:
            counts[profile] = counts.get(profile, 0) + 1
        data: dict[str, list[str] | list[int]] = {"profile_id": list(self.profiles)}
        for name in FIELDS:
            data[name] = [profile.get(name, "") for profile in self.profiles.values()]
        data["rows"] = [counts.get(key, 0) for key in self.profiles]
        schema = {"profile_id": pl.String, **dict.fromkeys(FIELDS, pl.String), "rows": pl.Int64}
        return pl.DataFrame(data, schema=schema)


def prompts_of(
    rows: Iterable[JoinRow],
    *,
    origin: str,
    licence: str = "",
    checksums: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    rejected: tuple[tuple[int, str], ...] = (),
) -> PromptSet:
    """Separate rows into texts and profiles. Raises BadInput if no row has a text."""
    prompts: dict[str, str] = {}
    profiles: dict[tuple[str, ...], str] = {}
    joins: list[tuple[int, str, str, str]] = []
    bad = list(rejected)
    pairs: set[tuple[str, str]] = set()
    classes: dict[str, frozenset[str]] = {}
    for row in rows:
        text = row.text.replace("\r\n", "\n").strip()
        if not clean_key(text):
            bad.append((row.row, f"{origin}, row {row.row}: The text is empty."))
            continue
        prompt = prompts.setdefault(text, f"p{len(prompts) + 1:06d}")
        profile = profiles.setdefault(row.profile, f"profile-{len(profiles) + 1:04d}") if row.profile else ""
        joins.append((row.row, row.item_id or str(row.row), prompt, profile))
        pairs.add((prompt, profile))
        if row.classes:
            classes[prompt] = classes.get(prompt, frozenset()) | row.classes
    if not prompts:
        raise BadInput("No row has a text.", file=origin)
    counted: tuple[str, ...] = (
        f"{len(joins):,} rows hold {len(prompts):,} different texts and {len(profiles):,} profiles: rows are not samples.",
    )
    if len(joins) > len(pairs):
        counted += (f"{len(joins) - len(pairs):,} rows repeat a text with its profile.",)
    return PromptSet(
        {key: text for text, key in prompts.items()},
        {key: dict(zip(FIELDS, values, strict=True)) for values, key in profiles.items()},
        tuple(joins),
        origin,
        licence,
        dict(checksums or {}),
        (*notes, *counted),
        tuple(sorted(bad)),
        classes,
    )


def open_prompts(
    name: str,
    columns: Mapping[str, str] | None = None,
    data_root: str | Path | None = None,
    *,
    licence: str = "",
    with_reply: bool = False,
) -> PromptSet:
    """A set by its name (see `open_rated_items`), or a csv, tsv, jsonl or parquet file with a text column.

    A file may also have id, reply, domain, gender, race, age and education; a row a profile. ``with_reply`` takes text and reply
    as the text. Raises BadInput as the readers do.
    """
    from evenhand.methods.pluralism.data.dices import open_dices
    from evenhand.methods.pluralism.data.items import open_rated_items
    from evenhand.registry import RATING_SETS

    if name not in RATING_SETS and (Path(name).suffix or Path(name).exists()):
        return _file(Path(name), columns, licence, with_reply=with_reply)
    source = open_rated_items(name, columns, data_root)
    texts = {item.id: item.shown if with_reply else item.text or item.reply for item in source.items}
    pairs: list[tuple[str, tuple[str, ...]]] = [(item.id, ()) for item in source.items]
    classes = {item.id: _classes(item.domain) for item in source.items}
    if name == "demo_safetybench":
        pairs = _demo_pairs(data_root)
    elif table := open_dices(name, data_root):
        pairs = _dices_pairs(table) or pairs
        classes |= _dices_classes(table)
    rows = [
        JoinRow(at, item, texts[item], profile, classes[item])
        for at, (item, profile) in enumerate(pairs, 1)
        if item in texts
    ]
    return prompts_of(
        rows, origin=source.origin, licence=licence or source.licence, checksums=source.checksums, notes=source.notes,
        rejected=source.rejected,
    )  # fmt: skip


def _file(path: Path, columns: Mapping[str, str] | None, licence: str, *, with_reply: bool) -> PromptSet:
    from evenhand.datasets.table import as_table, resolve

    table = as_table(path)
    roles = resolve(table, columns, required=("text",), optional=("id", "reply", "domain", *FIELDS), aliases=_ALIASES)
    has_profiles = any(field in roles for field in FIELDS)

    def rows() -> Iterable[JoinRow]:
        for number, cells in enumerate(table.rows(), start=1):
            text, reply, item, domain = (
                cells[roles[role]] or "" if role in roles else "" for role in ("text", "reply", "id", "domain")
            )
            profile = tuple(clean_key(cells[roles[field]] or "") if field in roles else "" for field in FIELDS)
            whole = f"{text}\n{reply}" if with_reply and reply else text
            yield JoinRow(number, clean_key(item), whole, profile if has_profiles else (), _classes(domain))

    checksums = {Path(table.origin).name: table.checksum} if table.checksum else {}
    return prompts_of(rows(), origin=table.origin, licence=licence, checksums=checksums)


def _demo_pairs(data_root: str | Path | None) -> list[tuple[str, tuple[str, ...]]]:
    from evenhand.datasets.base import Sources
    from evenhand.methods.pluralism.data.demo_safetybench import read_demo_safetybench

    folder = Sources("demo_safetybench", None if data_root is None else Path(data_root) / "demo_safetybench").folder
    released = read_demo_safetybench(folder)
    profiles = {row["profile_id"]: tuple(row[f] for f in FIELDS) for row in released.profiles.iter_rows(named=True)}
    return [(p, profiles[who]) for p, who in released.rows.select("prompt_id", "profile_id").iter_rows()]


def _dices_pairs(table: RatingTable) -> list[tuple[str, tuple[str, ...]]]:
    """(item, profile of a rater) for each rating; empty if the copy of the set does not say who rated."""
    if not set(FIELDS) <= set(table.axes):
        return []
    return [(row[0], tuple(row[1:])) for row in table.frame.select("item_id", *FIELDS).iter_rows()]


def _dices_classes(table: RatingTable) -> dict[str, frozenset[str]]:
    """Item to the domains of all its topics; a copy of the set does not hold them."""
    from evenhand.methods.pluralism.data.dices_fields import domains_of

    if "topics" not in table.items.columns:
        return {}
    return {item: frozenset(domains_of(topics)) for item, topics in table.items.select("item_id", "topics").iter_rows()}


def _classes(domain: str) -> frozenset[str]:
    """The class that a cell names: a slug or a name of a domain, or None; nothing for any other word."""
    slug = category_slug(domain)
    if slug is not None:
        return frozenset({slug})
    return frozenset({NONE}) if clean_key(domain).casefold() == NONE else frozenset()


def profiles_to_ask(prompts: PromptSet) -> list[tuple[str, dict[str, str]]]:
    """The profiles that a generator is given, (id, fields): those of the source, or the 60 of DICES-350 if it has none."""
    from evenhand.datasets.shipped_texts import full_profiles

    if prompts.profiles:
        return [(key, dict(profile)) for key, profile in prompts.profiles.items()]
    return [(f"full-{at:02d}", profile) for at, profile in enumerate(full_profiles(), start=1)]
