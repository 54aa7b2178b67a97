"""Items to be rated: the shipped placeholders, DICES conversations, prompts of Demo-SafetyBench, or a file of your own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from evenhand.datasets.base import clean_key
from evenhand.datasets.pku import category_slug
from evenhand.datasets.table import as_table, resolve
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.rating_table import NumberScale, RatingTable, plain_ids
from evenhand.registry import RATING_SETS

_ALIASES = {
    "id": ("item_id", "item", "prompt_id"),
    "text": ("prompt", "query", "context", "question"),
    "reply": ("response",),
    "domain": ("category", "class"),
    "gold": ("safety_gold", "expert"),
}


@dataclass(frozen=True, slots=True)
class RatedItem:
    """A text to be rated, or a conversation whose ``reply`` is rated.

    ``domain`` is a harm domain (a BeaverTails slug where it is one), empty if unknown; ``gold`` is what an expert calls it, 1
    unsafe, 0 safe, None unknown. ``id`` is that of its source, so that ratings by people and by a model meet.
    """

    id: str
    text: str
    reply: str = ""
    domain: str = ""
    gold: float | None = None

    @property
    def shown(self) -> str:
        """What a rater is shown: the text, and below it the reply where there is one."""
        return f"{self.text}\n{self.reply}" if self.reply else self.text


@dataclass(frozen=True, slots=True)
class RatedItems:
    """Items with where they come from; ``rejected`` holds (data row from 1, reason with file and row)."""

    name: str
    items: tuple[RatedItem, ...]
    origin: str
    licence: str
    checksums: Mapping[str, str]
    notes: tuple[str, ...] = ()
    rejected: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RatedItem]:
        return iter(self.items)


def open_rated_items(
    name: str, columns: Mapping[str, str] | None = None, data_root: str | Path | None = None
) -> RatedItems:
    """A registered rating set by its name (``dices`` is the 350 set), or your own csv, tsv, jsonl or parquet file.

    ``columns`` applies only to files. ``data_root`` is the folder of the public sets (default: EVENHAND_DATA).
    Raises BadInput for an unknown name, a set that is not there, columns for a named set, and as its reader does.
    """
    if name not in RATING_SETS:
        if not Path(name).suffix and not Path(name).exists():
            raise BadInput(
                f"Unknown rating set '{name}'.",
                do=f"Known: {', '.join(RATING_SETS.names)}, or the path of a csv, tsv, jsonl or parquet file.",
            )
        return read_rated_items(Path(name), columns)
    if columns:
        raise BadInput(f"The set '{name}' takes no column names.", do="Map columns only of your own file.")
    opened: RatedItems = RATING_SETS.get(name)(data_root)
    return replace(opened, name=name)


def dices_350(data_root: str | Path | None = None) -> RatedItems:
    """The conversations of DICES-350."""
    from evenhand.methods.pluralism.data.dices import LICENCE, open_350

    return items_of_table(open_350(data_root), licence=LICENCE)


def dices_990(data_root: str | Path | None = None) -> RatedItems:
    """The conversations of DICES-990."""
    from evenhand.methods.pluralism.data.dices import LICENCE, open_990

    return items_of_table(open_990(data_root), licence=LICENCE)


def shipped_items(data_root: str | Path | None = None) -> RatedItems:
    """140 placeholder texts in 14 domains; the harmless and the grave ones have an expert label by their wording."""
    from evenhand.datasets.shipped_texts import GRADES, shipped_texts

    gold = {GRADES[0]: 0.0, GRADES[1]: 0.0, GRADES[3]: 1.0, GRADES[4]: 1.0}
    items = tuple(RatedItem(t.id, t.text, "", t.domain, gold.get(t.grade)) for t in shipped_texts())
    return _placeholders("shipped", "shipped_ratings", items)


def grammar_items(data_root: str | Path | None = None) -> RatedItems:
    """310 placeholder prompts of `shipped_lines`: many of some domains, few of others, none of one."""
    from evenhand.datasets.shipped_texts import grammar_lines

    items = tuple(RatedItem(line.id, line.text, "", line.domain) for line in grammar_lines())
    return _placeholders("grammar", "shipped_lines", items)


def _placeholders(name: str, source: str, items: tuple[RatedItem, ...]) -> RatedItems:
    from xxhash import xxh3_128_hexdigest

    whole = "\n".join("\t".join((item.id, item.domain, item.text)) for item in items)
    return RatedItems(
        name,
        items,
        "written for Evenhand",
        "Apache-2.0",
        {source: f"xxh128:{xxh3_128_hexdigest(whole.encode())}"},
        ("The texts are placeholders: they test the instrument on the organisms, and say nothing of a real model.",),
    )


def items_of_table(table: RatingTable, *, name: str = "", licence: str = "") -> RatedItems:
    """The items of a table of ratings, with its notes; those without a text are excluded.

    Raises BadInput if no item has a text.
    """
    columns = {column: table.items[column].to_list() for column in table.items.columns}
    size = table.items.height
    empty: list[str] = [""] * size
    gold: list[float | None] = columns.get("gold", [None] * size)
    made = [
        RatedItem(*values)
        for values in zip(
            columns["item_id"],
            columns["text"],
            columns.get("reply", empty),
            columns.get("domain", empty),
            gold,
            strict=True,
        )
    ]
    items = tuple(item for item in made if item.text or item.reply)
    if not items:
        raise BadInput("No item has a text to rate.", file=table.origin, do="Add a column of texts.")
    lost = len(made) - len(items)
    notes = (*table.notes, *((f"{lost} items have no text and cannot be rated by a model.",) if lost else ()))
    return RatedItems(
        name or Path(table.origin).name, items, table.origin, licence, table.checksums, notes, table.rejected
    )


def read_rated_items(source: str | Path, columns: Mapping[str, str] | None = None) -> RatedItems:
    """A file with a text column, and perhaps id, reply, domain and gold (safe or unsafe, 0 or 1).

    Without an id column the row number is the id. Set aside: an empty text, an id that stood before, an expert label that is
    neither. Raises BadInput for missing columns, rounded ids, and if no row can be used.
    """
    table = as_table(source)
    roles = resolve(table, columns, required=("text",), optional=("id", "reply", "domain", "gold"), aliases=_ALIASES)
    cells = {role: [cell or "" for cell in table.frame[column].to_list()] for role, column in roles.items()}
    size = table.frame.height
    width = max(4, len(str(size)))
    ids = (
        plain_ids(cells["id"], table.origin, roles["id"])
        if "id" in roles
        else [f"row-{row:0{width}d}" for row in range(1, size + 1)]
    )
    reader = NumberScale.with_words(None, None)
    items: dict[str, RatedItem] = {}
    where: dict[str, int] = {}
    rejected: list[tuple[int, str]] = []
    texts: dict[tuple[str, str], str] = {}
    again = 0
    for at, key in enumerate(ids):
        text, reply, domain, label = (
            cells[role][at].replace("\r\n", "\n").strip() if role in cells else ""
            for role in ("text", "reply", "domain", "gold")
        )
        gold, why = reader.read(label) if clean_key(label) else (None, "")
        if why or gold not in (None, 0.0, 1.0):
            why = f"The expert label '{clean_key(label)[:40]}' is neither safe nor unsafe."
        elif not clean_key(text):
            why = f"The cell '{roles['text']}' is empty."
        elif not key:
            why = f"The cell '{roles['id']}' is empty."
        elif key in items:
            why = f"The id '{key[:40]}' of row {where[key]} is repeated here."
        if why:
            rejected.append((at + 1, f"{table.origin}, row {at + 1}: {why}"))
            continue
        again += texts.setdefault((text, reply), key) != key
        where[key] = at + 1
        items[key] = RatedItem(key, text, reply, category_slug(domain) or clean_key(domain), gold)
    if not items:
        raise table.error(f"No row can be used; the first: {rejected[0][1]}")
    notes = (f"{again} items have the text and reply of an earlier one.",) if again else ()
    name = Path(table.origin).name
    checksums = {name: table.checksum} if table.checksum else {}
    return RatedItems(name, tuple(items.values()), table.origin, "", checksums, notes, tuple(rejected))


def demo_safetybench(data_root: str | Path | None = None) -> RatedItems:
    """Different prompts of the released file; one whose copies have different classes has no domain."""
    from evenhand.datasets.base import Sources
    from evenhand.methods.pluralism.data.demo_safetybench import EMPTY, NONE, SOURCE, read_demo_safetybench

    name = "demo_safetybench"
    released = read_demo_safetybench(Sources(name, None if data_root is None else Path(data_root) / name).folder)
    items = tuple(
        RatedItem(key, query, "", "" if domain == EMPTY else domain)
        for key, query, domain in released.prompts.select("prompt_id", "query", "domain").iter_rows()
    )
    notes = (
        *released.notes,
        f"The domain '{NONE}' is a class of the file. People rated the replies to such prompts, which it does not hold.",
    )
    return RatedItems("demo_safetybench", items, SOURCE, "not stated", released.checksums, notes, released.rejected)
