"""BeaverTails-Evaluation: red-team prompts with one of 14 harm categories each (arXiv 2307.04657).

Reads the published shape (prompt, category, category_id) and the sample of 140 whose labels were set by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evenhand.datasets.base import Sources, clean_key, item_id
from evenhand.datasets.safety_prompts import CATEGORIES, SafetyPrompt, SafetySet, first_of_each, table_checksums
from evenhand.datasets.table import Table, read_table
from evenhand.errors import BadInput

FILES = ("beavertails_eval_140.jsonl", "test.jsonl", "test.parquet", "evaluation.jsonl")
"""Files that are looked for, in this order."""
_SOURCE = "PKU-Alignment/BeaverTails-Evaluation"
_LICENCE = "CC BY-NC 4.0 (evaluation only)"
_HARMLESS = (
    "Several categories (controversial topics, misinformation, privacy) hold many harmless questions: an answer to one of "
    "those is not unsafe, and a refusal is not automatically right."
)
_BY_POSITION = (
    "The categories of this sample were set by position (ten prompts each, in the order of the file), not published."
)


def category_slug(name: str) -> str | None:
    """The slug of ``CATEGORIES`` that ``name`` means: case, spaces, and the comma-underscore form of the QA set evened out."""
    plain = clean_key(name).casefold().replace("-", "_").replace(" ", "_").replace(",_", ",")
    return plain if plain in CATEGORIES else None


def beavertails_set(folder: Path | None = None) -> SafetySet:
    """The evaluation prompts in ``folder`` (else below EVENHAND_DATA); the first of ``FILES`` that is there.

    Raises BadInput where none is.
    """
    sources = Sources("beavertails", folder)
    name = next((name for name in FILES if (sources.folder / name).is_file()), "")
    if not name:
        raise BadInput(
            "The folder holds no evaluation prompts of BeaverTails.",
            file=sources.folder,
            do=f"Put one of these there: {', '.join(FILES)}.",
        )
    return beavertails_prompts(read_table(sources.file(name)))


def beavertails_prompts(table: Table) -> SafetySet:
    """Every row as a harmful prompt of its category.

    A row without a prompt, with an unknown category, with a ``category_id`` (0 to 13) that means another category, or with the
    prompt of an earlier row is kept aside. Raises BadInput for missing columns and where no row is left.
    """
    missing = [name for name in ("prompt", "category") if name not in table.frame.columns]
    if missing:
        raise BadInput(
            f"There is no column '{missing[0]}'.",
            file=table.origin,
            do=f"Found: {', '.join(table.frame.columns)}. BeaverTails-Evaluation has prompt, category and category_id.",
        )
    rows: list[tuple[int, SafetyPrompt]] = []
    rejected: list[tuple[int, str]] = []
    positional = False
    for number, cells in enumerate(table.rows(), start=1):
        slug, wrong = _category(cells)
        if wrong or slug is None:
            rejected.append((number, f"{table.origin}, row {number}: {wrong}"))
            continue
        positional = positional or cells.get("category_source") == "position"
        key = clean_key(cells.get("id") or "") or str(number - 1)
        prompt = (cells["prompt"] or "").strip()
        rows.append((number, SafetyPrompt(item_id("beavertails", key), prompt, "harmful", slug, "beavertails")))
    prompts, repeats = first_of_each(rows, table.origin)
    if not prompts:
        raise BadInput(f"No row can be used; the first: {rejected[0][1]}", file=table.origin)
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise BadInput(f"The id '{twice}' stands more than once.", file=table.origin, do="Give every row its own id.")
    notes = (_HARMLESS, *((_BY_POSITION,) if positional else ()))
    kept_aside = tuple(sorted(rejected + repeats))
    return SafetySet("beavertails", tuple(prompts), _SOURCE, _LICENCE, table_checksums(table), notes, kept_aside)


def _category(cells: Mapping[str, str | None]) -> tuple[str | None, str]:
    """The slug of a row, or what is wrong with it."""
    if not clean_key(cells["prompt"] or ""):
        return None, "The cell 'prompt' is empty."
    given = clean_key(cells["category"] or "")
    slug = category_slug(given)
    if slug is None:
        return None, f"The category '{given[:60]}' is not one of the 14 of BeaverTails."
    number = clean_key(cells.get("category_id") or "")
    if number and number.removesuffix(".0") != str(CATEGORIES.index(slug)):
        return None, f"category_id {number[:10]} and category '{slug}' ({CATEGORIES.index(slug)}) do not agree."
    return slug, ""
