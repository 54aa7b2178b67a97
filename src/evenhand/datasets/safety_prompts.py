"""Prompts of the safety audit: what each asks for (harmful, borderline or benign), and in which category.

`open_safety_set` reads the shipped prompts, three public sets, or a file of your own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from evenhand.datasets.base import clean_key, item_id
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.errors import BadInput
from evenhand.registry import SAFETY_SETS

Kind = Literal["harmful", "borderline", "benign"]
KINDS: tuple[Kind, ...] = ("harmful", "borderline", "benign")

CATEGORY_NAMES: Mapping[str, str] = {
    "animal_abuse": "Animal abuse",
    "child_abuse": "Child abuse",
    "controversial_topics,politics": "Controversial topics, politics",
    "discrimination,stereotype,injustice": "Discrimination, stereotype, injustice",
    "drug_abuse,weapons,banned_substance": "Drugs, weapons, banned substances",
    "financial_crime,property_crime,theft": "Financial and property crime, theft",
    "hate_speech,offensive_language": "Hate speech, offensive language",
    "misinformation_regarding_ethics,laws_and_safety": "Misinformation on ethics, laws, safety",
    "non_violent_unethical_behavior": "Non-violent unethical behaviour",
    "privacy_violation": "Privacy violation",
    "self_harm": "Self-harm",
    "sexually_explicit,adult_content": "Sexually explicit, adult content",
    "terrorism,organized_crime": "Terrorism, organised crime",
    "violence,aiding_and_abetting,incitement": "Violence, aiding and abetting, incitement",
}
"""The 14 BeaverTails categories (arXiv 2307.04657) in their published order, with the names that pages show."""
CATEGORIES: tuple[str, ...] = tuple(CATEGORY_NAMES)

_ALIASES = {"prompt": ("question", "query", "instruction"), "category": ("type", "topic")}
_PKU = frozenset({"prompt", "response_0_harm_category", "response_1_harm_category"})


@dataclass(frozen=True, slots=True)
class SafetyPrompt:
    """One prompt. ``kind`` is what it asks for; ``category`` is a slug or name of its source; ``system`` goes before it."""

    id: str
    prompt: str
    kind: Kind
    category: str
    source: str
    system: str = ""


@dataclass(frozen=True)
class SafetySet:
    """Prompts with where they come from.

    ``checksums`` is file to ``xxh128:...``. ``notes`` are what a reader of the numbers must know. ``rejected`` holds
    (data row from 1, reason) of rows that were kept aside; every reason names file and row.
    """

    name: str
    prompts: tuple[SafetyPrompt, ...]
    origin: str
    licence: str
    checksums: Mapping[str, str]
    notes: tuple[str, ...]
    rejected: tuple[tuple[int, str], ...] = ()

    def of_kind(self, kind: Kind) -> tuple[SafetyPrompt, ...]:
        """The prompts of one kind, in order."""
        return tuple(prompt for prompt in self.prompts if prompt.kind == kind)

    def counts(self) -> dict[str, int]:
        """Prompts of each kind, categories of the harmful ones, rows kept aside."""
        kinds = Counter(prompt.kind for prompt in self.prompts)
        return {
            **{kind: kinds[kind] for kind in KINDS},
            "categories": len({prompt.category for prompt in self.of_kind("harmful")}),
            "rejected": len(self.rejected),
        }


def category_name(slug: str) -> str:
    """The name of a category as pages show it; an unknown slug has its underscores as spaces and a capital."""
    plain = " ".join(slug.replace("_", " ").split())
    return CATEGORY_NAMES.get(slug) or plain[:1].upper() + plain[1:]


def open_safety_set(name: str, columns: Mapping[str, str] | None = None, data_root: Path | None = None) -> SafetySet:
    """A registered safety set by its name, or the path of a csv, tsv, jsonl or parquet file.

    ``columns`` is role to column and belongs to files alone: prompt, category, kind, id, system. ``data_root`` is the folder
    that holds the public sets; without it EVENHAND_DATA names it.
    Raises BadInput for an unknown name, a public set that is not there, columns given for a named set, and for what
    `read_safety_prompts` refuses.
    """
    if name in SAFETY_SETS:
        if columns:
            raise BadInput(f"The set '{name}' takes no column names.", do="Map columns of a file of your own alone.")
        opened: SafetySet = SAFETY_SETS.get(name)(data_root)
        return opened
    if not Path(name).suffix and not Path(name).exists():
        raise BadInput(
            f"There is no set of safety prompts called '{name}'.",
            do=f"Known: {', '.join(SAFETY_SETS.names)}, or the path of a csv, tsv, jsonl or parquet file.",
        )
    return read_safety_prompts(Path(name), columns)


def set_folder(data_root: Path | None, name: str) -> Path | None:
    """The folder ``name`` below ``data_root``; None (EVENHAND_DATA decides) where there is no root."""
    return None if data_root is None else Path(data_root) / name


def read_safety_prompts(path: Path, columns: Mapping[str, str] | None = None) -> SafetySet:
    """A file with the columns prompt and category, and perhaps kind, id and system; without a kind every row is harmful.

    Rows of the PKU-SafeRLHF schema (no category of a prompt, but harm categories of two responses) are known by their columns.
    A row without a prompt or category, or with an unknown kind, is kept aside in ``rejected``. Raises BadInput, with both rows,
    for a prompt of one kind and for an id that occur twice; and where no row can be used.
    """
    table = read_table(path)
    if not columns and "category" not in table.frame.columns and set(table.frame.columns) >= _PKU:
        from evenhand.datasets.pku import pku_prompts

        return pku_prompts(table)
    roles = resolve(
        table, columns, required=("prompt", "category"), optional=("kind", "id", "system"), aliases=_ALIASES
    )
    prompts: list[SafetyPrompt] = []
    rejected: list[tuple[int, str]] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(table.rows(), start=1):
        cells = {role: row[column] or "" for role, column in roles.items()}
        wrong = _wrong(cells)
        if wrong:
            rejected.append((number, f"{table.origin}, row {number}: {wrong}"))
            continue
        kind = cast(Kind, clean_key(cells.get("kind", "harmful")).casefold())
        given = clean_key(cells.get("id", ""))
        for what, key in (("prompt", (clean_key(cells["prompt"]), kind)), ("id", (given,))):
            if key != ("",) and seen.setdefault((what, *key), number) != number:
                raise table.error(
                    f"The {what} of row {seen[(what, *key)]} is repeated here.", number, do="Keep one of the two rows."
                )
        prompts.append(
            SafetyPrompt(
                item_id("safety", given or f"row-{number:04d}"),
                cells["prompt"].strip(),
                kind,
                clean_key(cells["category"]),
                path.name,
                cells.get("system", "").strip(),
            )
        )
    if not prompts:
        raise table.error(f"No row can be used; the first: {rejected[0][1]}")
    notes = () if "kind" in roles else ("The file names no kinds: every prompt is taken as harmful.",)
    return SafetySet(
        path.name, tuple(prompts), table.origin, "as its owner says", {path.name: table.checksum}, notes, tuple(rejected)
    )  # fmt: skip


def _wrong(cells: Mapping[str, str]) -> str:
    """What keeps a row from being used; empty where nothing does."""
    for role in ("prompt", "category"):
        if not clean_key(cells[role]):
            return f"The cell '{role}' is empty."
    if "kind" in cells and clean_key(cells["kind"]).casefold() not in KINDS:
        return f"The kind '{clean_key(cells['kind'])[:40]}' is not one of {', '.join(KINDS)}."
    return ""


def first_of_each(
    rows: Iterable[tuple[int, SafetyPrompt]], origin: str
) -> tuple[list[SafetyPrompt], list[tuple[int, str]]]:
    """The first row of each (prompt, kind) of a public set, and the repeats as (row, reason), which name both rows."""
    kept: list[SafetyPrompt] = []
    repeats: list[tuple[int, str]] = []
    seen: dict[tuple[str, Kind], int] = {}
    for number, prompt in rows:
        first = seen.setdefault((clean_key(prompt.prompt), prompt.kind), number)
        if first == number:
            kept.append(prompt)
        else:
            repeats.append((number, f"{origin}, row {number}: The prompt of row {first} is repeated here."))
    return kept, repeats


def beavertails(data_root: Path | None = None) -> SafetySet:
    """The evaluation prompts of BeaverTails, below the folder of public sets."""
    from evenhand.datasets.pku import beavertails_set

    return beavertails_set(set_folder(data_root, "beavertails"))


def sacpo(data_root: Path | None = None) -> SafetySet:
    """The prompts that SACPO is judged by, below the folder of public sets."""
    from evenhand.datasets.pku import sacpo_set

    return sacpo_set(set_folder(data_root, "pku_saferlhf"))


def shipped(data_root: Path | None = None) -> SafetySet:
    """The shipped placeholder requests."""
    from xxhash import xxh3_128_hexdigest

    from evenhand.datasets.shipped_texts import shipped_safety

    cases = shipped_safety()
    prompts = tuple(
        SafetyPrompt(item_id("safety", case.id), case.prompt, case.kind, case.category, "shipped") for case in cases
    )
    whole = "\n".join("\t".join((p.id, p.kind, p.category, p.prompt)) for p in prompts)
    return SafetySet(
        "shipped",
        prompts,
        "written for Evenhand",
        "Apache-2.0",
        {"shipped_safety": f"xxh128:{xxh3_128_hexdigest(whole.encode())}"},
        (
            "The requests name placeholders: they test the instrument on the organisms, and say nothing of a real model.",
        ),
    )


def xstest(data_root: Path | None = None) -> SafetySet:
    """XSTest: its safe prompts as borderline ones, its unsafe ones as harmful."""
    from evenhand.datasets.xstest import XSTest

    data = XSTest(set_folder(data_root, "xstest"))
    prompts = tuple(
        SafetyPrompt(
            item.id,
            item.chat[-1].content,
            "harmful" if item.group == "unsafe" else "borderline",
            item.stratum or "",
            "xstest",
        )
        for item in data.items()
    )
    return SafetySet(
        "xstest",
        prompts,
        data.source,
        data.licence,
        {name: used.checksum for name, used in data.sources.used.items()},
        (
            "The safe prompts of XSTest look unsafe on purpose: they are borderline here, a probe of over-refusal.",
            "Categories are the types of XSTest, not those of BeaverTails.",
        ),
    )


def table_checksums(table: Table) -> dict[str, str]:
    """File name to checksum of one table."""
    return {Path(table.origin).name: table.checksum}
