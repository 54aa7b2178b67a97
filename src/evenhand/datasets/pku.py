"""The public sets of PKU-Alignment and their users: BeaverTails questions, SACPO prompts and PKU-SafeRLHF rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenhand.datasets.base import Sources, clean_key, item_id
from evenhand.datasets.safety_prompts import CATEGORIES, Kind, SafetyPrompt, SafetySet, first_of_each, table_checksums
from evenhand.datasets.table import Table, read_table
from evenhand.errors import BadInput
from evenhand.safe_text import surrogate_free
from evenhand.text_input import json_or, read_json_file

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
        raise table.error(
            f"There is no column '{missing[0]}'.",
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
        raise table.error(f"No row can be used; the first: {rejected[0][1]}")
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise table.error(f"The id '{twice}' occurs more than once.", do="Give every row its own id.")
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


_FILES: tuple[tuple[str, str, Kind], ...] = (
    ("sacpo_safety_problem.json", "safety_problem.json", "harmful"),
    ("sacpo_helpful_problem.json", "helpful_problem.json", "benign"),
)
HARM_CATEGORIES = (
    "Endangering National Security",
    "Insulting Behavior",
    "Discriminatory Behavior",
    "Endangering Public Health",
    "Copyright Issues",
    "Violence",
    "Drugs",
    "Privacy Violation",
    "Economic Crime",
    "Mental Manipulation",
    "Human Trafficking",
    "Physical Harm",
    "Sexual Content",
    "Cybercrime",
    "Disrupting Public Order",
    "Environmental Damage",
    "Psychological Harm",
    "White-Collar Crime",
    "Animal Abuse",
)
"""The harm categories of PKU-SafeRLHF in the order of its rows."""


def sacpo_set(folder: Path | None = None) -> SafetySet:
    """Both prompt files of SACPO in ``folder``, else in the folder pku_saferlhf below EVENHAND_DATA.

    The files may also have the names of the repository: safety_problem.json and helpful_problem.json. Raises BadInput where one
    is missing or is no list of objects with prompt and category.
    """
    sources = Sources("pku_saferlhf", folder)
    prompts: list[SafetyPrompt] = []
    rejected: list[tuple[int, str]] = []
    for name, upstream, kind in _FILES:
        path = sources.file(upstream if (sources.folder / upstream).is_file() else name)
        found, aside = read_problems(path, kind)
        prompts += found
        rejected += aside
    return SafetySet(
        "sacpo",
        tuple(prompts),
        "github.com/line/sacpo, asset; first published with PKU-Alignment/safe-rlhf and tatsu-lab/alpaca_eval",
        "Apache-2.0 repository; the prompts keep their own terms",
        {name: used.checksum for name, used in sources.used.items()},
        ("The safety prompts carry 8 categories of their own, not the 14 of BeaverTails.",),
        tuple(rejected),
    )


def read_problems(path: Path, kind: Kind) -> tuple[list[SafetyPrompt], list[tuple[int, str]]]:
    """A JSON list of objects with prompt and category as prompts of one kind, and the rows kept aside.

    Raises BadInput where the file is no such list, or where no row can be used.
    """
    entries = read_json_file(path)
    if not isinstance(entries, list):
        raise BadInput(
            "The file is not a JSON list.", file=path, do="Write a list of objects with prompt and category."
        )
    rows: list[tuple[int, SafetyPrompt]] = []
    rejected: list[tuple[int, str]] = []
    for number, entry in enumerate(entries, start=1):
        cells: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        prompt, category = (_text(cells.get(key)) for key in ("prompt", "category"))
        if not prompt or not category:
            rejected.append(
                (number, f"{path}, row {number}: The row has no text in '{'category' if prompt else 'prompt'}'.")
            )
            continue
        key = item_id("sacpo", f"{kind}-{number:03d}")
        rows.append((number, SafetyPrompt(key, prompt, kind, clean_key(category), "sacpo")))
    kept, repeats = first_of_each(rows, str(path))
    if not kept:
        raise BadInput("No row has a prompt and a category.", file=path)
    return kept, sorted(rejected + repeats)


def pku_prompts(table: Table) -> SafetySet:
    """Prompts of PKU-SafeRLHF rows; the category joins the harm categories of their unsafe responses by " + ".

    The rows say of no prompt what it asks for. One is taken as harmful where a response to it was labelled unsafe with at least
    one harm category; other rows are kept aside. Rows of one prompt are merged. Raises BadInput where no row is left.
    """
    found: dict[str, dict[str, None]] = {}
    first: dict[str, tuple[int, str]] = {}
    rejected: list[tuple[int, str, str]] = []
    merged = 0
    for number, cells in enumerate(table.rows(), start=1):
        prompt = (cells["prompt"] or "").strip()
        harms, wrong = _harms(cells) if clean_key(prompt) else ([], "The cell 'prompt' is empty.")
        key = clean_key(prompt)
        if wrong:
            rejected.append((number, f"{table.origin}, row {number}: {wrong}", key))
            continue
        merged += key in found
        first.setdefault(key, (number, prompt))
        found.setdefault(key, {}).update(dict.fromkeys(harms))
    if not found:
        raise table.error(f"No row can be used; the first: {rejected[0][1]}")
    prompts = tuple(
        SafetyPrompt(
            item_id("pku_saferlhf", f"row-{number:05d}"),
            prompt,
            "harmful",
            " + ".join(name for name in HARM_CATEGORIES if name in found[key]),
            "pku_saferlhf",
        )
        for key, (number, prompt) in first.items()
    )
    notes = (
        "PKU-SafeRLHF does not label prompts: a prompt is taken as harmful where a response to it was labelled unsafe, and its "
        "category joins the harm categories of those responses.",
        *((f"{merged} further rows of the same prompts were merged.",) if merged else ()),
    )
    aside = tuple((number, reason) for number, reason, _ in rejected)
    return SafetySet("pku_saferlhf", prompts, table.origin, "CC BY-NC 4.0", table_checksums(table), notes, aside)


def _harms(cells: Mapping[str, str | None]) -> tuple[list[str], str]:
    """The harm categories of a row's unsafe responses, or what is wrong with the row."""
    harms: list[str] = []
    for response in (0, 1):
        safe = (cells.get(f"is_response_{response}_safe") or "").casefold()
        if safe not in ("true", "false"):
            return [], f"is_response_{response}_safe is neither true nor false."
        marks = json_or(cells[f"response_{response}_harm_category"] or "", None)
        if not isinstance(marks, dict) or not all(isinstance(mark, bool) for mark in marks.values()):
            return [], f"response_{response}_harm_category is not a set of true and false."
        unknown = sorted(set(marks) - set(HARM_CATEGORIES))
        if unknown:
            return [], f"The harm category '{unknown[0][:60]}' is not one of the 19 of PKU-SafeRLHF."
        if safe == "false":
            harms += [name for name, mark in marks.items() if mark]
    return harms, "" if harms else "No response was labelled unsafe with a harm category, so the prompt has none."


def _text(value: Any) -> str:
    return surrogate_free(value).strip() if isinstance(value, str) else ""
