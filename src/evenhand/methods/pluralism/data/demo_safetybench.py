"""Demo-SafetyBench: prompts with rater demographics and one harm class per row (arXiv 2602.07376).

The released file repeats prompts, apparently once per rater. It is read into a table of distinct prompts, a table of distinct
profiles, and the rows that join them; a class is counted by row and by prompt. The columns are known from a third-party loader,
and the licence is not stated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evenhand.datasets.base import clean_key
from evenhand.datasets.pku import category_slug
from evenhand.datasets.question_texts import FIELDS
from evenhand.datasets.safety_prompts import CATEGORIES
from evenhand.datasets.table import Table, read_table, resolve
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.dices_fields import SPELLINGS

if TYPE_CHECKING:
    import polars as pl


SOURCE = "usmaann/Demo-SafetyBench (arXiv 2602.07376); licence not stated"
FILE = "Demo-SafetyBench.csv"
PUBLISHED = "published_domain_counts.csv"
ROWS = 43_050
NONE = "none"
"""The class of a text of no harm domain, ``None`` in the file."""
EMPTY = "(empty)"
"""What a row without a class is counted under; it is not taken for `NONE`."""
_NAMES = (
    "Animal Abuse",
    "Child Abuse",
    "Controversial Topics, Politics",
    "Discrimination, Stereotype, Injustice",
    "Drug Abuse, Weapons, Banned Substance",
    "Financial Crime, Property Crime, Theft",
    "Hate Speech, Offensive Language",
    "Misinformation Regarding Ethics, Laws, and Safety",
    "Non-Violent Unethical Behavior",
    "Privacy Violation",
    "Self-Harm",
    "Sexually Explicit, Adult Content",
    "Terrorism, Organized Crime",
    "Violence, Aiding and Abetting, Incitement",
)
_SLUGS: Mapping[str, str] = {
    **{name.casefold(): slug for name, slug in zip(_NAMES, CATEGORIES, strict=True)},
    "none": NONE,
    "": EMPTY,
}


@dataclass(frozen=True, slots=True, eq=False)
class DemoSafetyBench:
    """The released file, taken apart.

    ``prompts``: prompt_id, query, domain (empty if copies of the text have different classes), domains (all of them, joined
    by ``" | "``), rows. ``profiles``: profile_id, gender, race, age, education, rows. ``rows``: row (data row from 1),
    prompt_id, profile_id, domain. ``domains``: domain, rows, prompts (a prompt counts once under each of its domains),
    published (rows; null if not given), difference. ``rejected`` holds (row, reason) of rows without a text.
    """

    prompts: pl.DataFrame
    profiles: pl.DataFrame
    rows: pl.DataFrame
    domains: pl.DataFrame
    origin: str
    checksums: Mapping[str, str]
    notes: tuple[str, ...]
    rejected: tuple[tuple[int, str], ...]


def class_slug(name: str) -> str | None:
    """The domain that a class means, `NONE`, or `EMPTY`; None for a name that is not known."""
    key = clean_key(name).casefold()
    return _SLUGS.get(key) or category_slug(key)


def read_demo_safetybench(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    published: str | Path | None = None,
    partial: bool = False,
    spellings: Mapping[str, Mapping[str, str]] | None = None,
) -> DemoSafetyBench:
    """Read the released file (or the folder that holds it); ``columns`` maps query, gender, race, age, education, class.

    ``published`` is a folder, or a file, with the published counts (domain, n_samples); by default the folder of the file, where
    it holds them. ``spellings`` adds axis to spelling to value. ``partial`` allows another number of rows than 43,050.
    Raises BadInput, with file, row and value, for an unknown class or demographic value; and for another row count.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    table = read_table(file)
    roles = resolve(table, columns, required=("query", *FIELDS, "class"))
    if table.frame.height != ROWS and not partial:
        raise table.error(
            f"The file has {table.frame.height:,} rows, the released one {ROWS:,}.",
            do="Download it again completely (cells may hold quoted line breaks), or declare it partial.",
        )
    prompts: dict[str, dict[str, int]] = {}
    profiles: dict[tuple[str, ...], int] = {}
    rows: list[tuple[int, str, tuple[str, ...], str]] = []
    rejected: list[tuple[int, str]] = []
    seen: set[tuple[str, tuple[str, ...]]] = set()
    again = 0
    for number, cells in enumerate(table.rows(), start=1):
        domain = class_slug(cells[roles["class"]] or "")
        if domain is None:
            raise table.error(
                f"The class '{clean_key(cells[roles['class']] or '')[:60]}' is unknown.",
                number,
                do=f"The classes are: {'; '.join(_NAMES)}; None.",
            )
        profile = tuple(
            _value(axis, cells[roles[axis]] or "", spellings or {}, table.origin, number) for axis in FIELDS
        )
        query = (cells[roles["query"]] or "").replace("\r\n", "\n").strip()
        if not clean_key(query):
            rejected.append((number, f"{table.origin}, row {number}: The query is empty."))
            continue
        again += (query, profile) in seen
        seen.add((query, profile))
        classes = prompts.setdefault(query, {})
        classes[domain] = classes.get(domain, 0) + 1
        profiles[profile] = profiles.get(profile, 0) + 1
        rows.append((number, query, profile, domain))
    if not rows:
        raise table.error("No row has a query.")
    checksums = {file.name: table.checksum}
    counts = _published(file.parent if published is None else Path(published), published is not None, checksums)
    return _taken_apart(table, prompts, profiles, rows, counts, checksums, rejected, again)


def _value(axis: str, cell: str, spellings: Mapping[str, Mapping[str, str]], origin: str, row: int) -> str:
    key = clean_key(cell)
    value = spellings.get(axis, {}).get(key) or SPELLINGS[axis].get(key)
    if key and value is None:
        raise BadInput(
            f"The value '{key[:60]}' of the axis {axis} is unknown.",
            file=origin,
            row=row,
            do=f"Known: {'; '.join(SPELLINGS[axis])}. If it means one of these, map its spelling.",
        )
    return value or ""


def _published(place: Path, asked: bool, checksums: dict[str, str]) -> dict[str, int]:
    """Domain to published rows; empty if no such file is next to the data and none was requested."""
    file = place / PUBLISHED if place.is_dir() else place
    if not asked and not file.is_file():
        return {}
    table = read_table(file)
    roles = resolve(table, None, required=("domain", "n_samples"))
    published: dict[str, int] = {}
    for number, cells in enumerate(table.rows(), start=1):
        slug, count = class_slug(cells[roles["domain"]] or ""), clean_key(cells[roles["n_samples"]] or "")
        if slug in (None, EMPTY) or not count.isdecimal():
            raise table.error(f"The count '{count[:20]}' of '{cells[roles['domain']]}' is not a number.", number)
        published[str(slug)] = int(count)
    checksums[file.name] = table.checksum
    return published


def _taken_apart(
    table: Table,
    prompts: Mapping[str, Mapping[str, int]],
    profiles: Mapping[tuple[str, ...], int],
    rows: list[tuple[int, str, tuple[str, ...], str]],
    published: Mapping[str, int],
    checksums: Mapping[str, str],
    rejected: list[tuple[int, str]],
    again: int,
) -> DemoSafetyBench:
    import polars as pl

    prompt_ids = {query: f"demo-{at:05d}" for at, query in enumerate(prompts, start=1)}
    profile_ids = {profile: f"profile-{at:04d}" for at, profile in enumerate(profiles, start=1)}
    order = (*CATEGORIES, NONE, EMPTY)
    by_row = {slug: sum(classes.get(slug, 0) for classes in prompts.values()) for slug in order}
    by_prompt = {slug: sum(slug in classes for classes in prompts.values()) for slug in order}
    shown = [slug for slug in order if slug != EMPTY or by_row[slug]]
    gaps = [by_row[slug] - published[slug] if slug in published else None for slug in shown]
    several = sum(len(classes) > 1 for classes in prompts.values())
    notes = [
        f"{len(rows):,} rows hold {len(prompts):,} different prompts and {len(profiles):,} profiles: rows are not samples.",
        f"{several:,} prompts have more than one class among their copies; {again:,} rows repeat a prompt with its profile.",
    ]
    if by_row[EMPTY]:
        notes.append(
            f"{by_row[EMPTY]:,} rows have an empty class, counted on their own. Readers that take the word None for a missing "
            f"value write it back as an empty cell; {published.get(NONE, 8631):,} rows were published as None."
        )
    if published:
        off = [f"{slug} {gap:+,}" for slug, gap in zip(shown, gaps, strict=True) if gap]
        notes.append(
            f"Rows differ from the published counts: {', '.join(off)}."
            if off
            else "Rows agree with the published counts."
        )
    return DemoSafetyBench(
        prompts=pl.DataFrame(
            {
                "prompt_id": list(prompt_ids.values()),
                "query": list(prompts),
                "domain": [next(iter(classes)) if len(classes) == 1 else "" for classes in prompts.values()],
                "domains": [" | ".join(slug for slug in order if slug in classes) for classes in prompts.values()],
                "rows": [sum(classes.values()) for classes in prompts.values()],
            }
        ),
        profiles=pl.DataFrame(
            {
                "profile_id": list(profile_ids.values()),
                **{axis: [profile[at] for profile in profiles] for at, axis in enumerate(FIELDS)},
                "rows": list(profiles.values()),
            }
        ),
        rows=pl.DataFrame(
            {
                "row": [number for number, *_ in rows],
                "prompt_id": [prompt_ids[query] for _, query, _, _ in rows],
                "profile_id": [profile_ids[profile] for _, _, profile, _ in rows],
                "domain": [domain for *_, domain in rows],
            }
        ),
        domains=pl.DataFrame(
            {
                "domain": shown,
                "rows": [by_row[slug] for slug in shown],
                "prompts": [by_prompt[slug] for slug in shown],
                "published": pl.Series([published.get(slug) for slug in shown], dtype=pl.Int64),
                "difference": pl.Series(gaps, dtype=pl.Int64),
            }
        ),
        origin=table.origin,
        checksums=checksums,
        notes=tuple(notes),
        rejected=tuple(rejected),
    )
