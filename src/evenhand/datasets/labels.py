"""Entry at labels: one row per labelled response, or one row per name with label counts, as a typed table."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from evenhand.datasets.base import clean_key
from evenhand.datasets.prompts import STEM_ALIASES, GroupOfName
from evenhand.datasets.table import Table, as_table, attribute_name, resolve, whole_number
from evenhand.errors import BadInput
from evenhand.records import LABELS, Label

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class KnownHeader:
    """A header (the columns that must be there), the roles of its columns, and its reference group.

    ``not_groups`` are columns that look like the group but are not; ``derived`` are attributes
    computed from a column, and ``hidden`` the columns that they replace.
    """

    name: str
    columns: frozenset[str]
    mapping: Mapping[str, str]
    reference: str
    not_groups: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    derived: tuple[tuple[str, str, Callable[[str | None], str | None]], ...] = ()


def gender_of_list(type_name: str | None) -> str | None:
    """The gender that a llama2_qos name list is coded with: ``muslim_women_names`` -> ``woman``; None where it is not
    coded.
    """
    parts = (type_name or "").split("_")
    return "woman" if "women" in parts else "man" if "men" in parts else None


def relative_frequency(published: str | None) -> str | None:
    """``rare`` for the release's ``least``, as in the shipped sets."""
    return "rare" if published == "least" else published


_GENDER = (("gender", "type_name", gender_of_list),)
_TARGETS = frozenset({"target_stereotype", "ethnicity"})

KNOWN_HEADERS: tuple[KnownHeader, ...] = (
    KnownHeader(
        "llama2_qos counts by name",
        frozenset({"model", "name", "type_name", "identity", "name_frequency", "n"}),
        {"config": "model", "group": "identity", "name": "name", "n": "n"},
        "white",
        hidden=frozenset({"name_frequency"}),
        derived=(*_GENDER, ("frequency", "name_frequency", relative_frequency)),
    ),
    KnownHeader(
        "llama2_qos counts by template and name list",
        frozenset({"model", "template_id", "target_stereotype", "type_name", "identity", "n"}),
        {"config": "model", "group": "identity", "stem": "template_id", "n": "n"},
        "white",
        not_groups=_TARGETS,
        derived=_GENDER,
    ),
    KnownHeader(
        "llama2_qos sample",
        frozenset(
            {
                "model",
                "template_id",
                "target_stereotype",
                "type_name",
                "identity",
                "name",
                "name_frequency",
                "gen",
                "label",
            }
        ),
        {
            "config": "model",
            "group": "identity",
            "name": "name",
            "stem": "template_id",
            "repetition": "gen",
            "label": "label",
        },
        "white",
        not_groups=_TARGETS,
        hidden=frozenset({"name_frequency"}),
        derived=(*_GENDER, ("frequency", "name_frequency", relative_frequency)),
    ),
    KnownHeader(
        # The annotated files of the release itself: "label 1".."label 3" are generations, not annotators.
        "llama2_qos annotated source",
        frozenset({"model", "og_prompt", "ethnicity", "type_name", "identity", "name", "common", "variable", "label"}),
        {
            "config": "model",
            "group": "identity",
            "name": "name",
            "stem": "og_prompt",
            "repetition": "variable",
            "label": "label",
        },
        "white",
        not_groups=_TARGETS,
        hidden=frozenset({"common"}),
        derived=(*_GENDER, ("frequency", "common", relative_frequency)),
    ),
)


def known_header(columns: Collection[str]) -> KnownHeader | None:
    """The known source whose columns are all there; None for any other table."""
    return next((header for header in KNOWN_HEADERS if header.columns <= set(columns)), None)


COLUMNS = ("config", "group", "name", "stem", "stratum", "repetition", "label", "missing", "count", "row")
MISSING = frozenset({"judge_missing", "response_missing", "truncated_in_reasoning", "label_missing"})
_LABELS: dict[str, Label] = {label: label for label in LABELS}
_ROLES = ("config", "name", "stem", "stratum", "repetition", "item_id", "prompt", "response")
_ALIASES = {**STEM_ALIASES, "repetition": ("rep", "gen")}
_REPETITION = re.compile(r"(?:(?:label|rep|repetition|gen) )?(\d+)(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Labels as a frame with the columns ``COLUMNS``, then ``item_id``, ``prompt``, ``response`` where given, then
    attributes.

    ``label`` is one of the six, or null with the reason in ``missing``; ``count`` is how many responses a row stands
    for (1 for kind ``rows``); ``name``, ``stem`` and ``repetition`` are null where the source does not tell; ``row``
    is the source row. ``reference`` is the reference group of a known source, else empty; ``known`` names that
    source.
    """

    frame: pl.DataFrame
    origin: str
    kind: Literal["rows", "counts"]
    attributes: tuple[str, ...] = ()
    reference: str = ""
    known: str = ""
    checksum: str = ""

    @property
    def clusters(self) -> tuple[str, ...]:
        """The randomised units that the source tells: of ``name`` and ``stem``, those without nulls."""
        return tuple(unit for unit in ("name", "stem") if self.frame[unit].null_count() == 0)


def normalise_label(text: str) -> Label | None:
    """The label that ``text`` means once case, spaces and underscores are evened out; None if it means none of the
    six.
    """
    return _LABELS.get(" ".join(text.casefold().replace("_", " ").split()))


def read_labels(
    source: Any, mapping: Mapping[str, str] | None = None, *, values: Mapping[str, str] | None = None
) -> LabelTable:
    """Read labels from a path or frame.

    Long rows need a ``label`` column; a count table needs columns named after the labels, and ``n``, which must be
    their sum. Roles for ``mapping``: label, n, group, and optionally config, name, stem, stratum, repetition,
    item_id, prompt, response. ``config`` is else taken from ``model``, or from both where a table has both.
    ``values`` translates further label words, for example ``{"1": "refusal", "0": "answer"}``; nothing is translated
    that is not named there. The tables of the llama2_qos release are recognised by their header. Raises BadInput,
    with the row, for an unknown label, an n that is not the sum, a duplicate key, a name under two groups.
    """
    table = as_table(source)
    known = known_header(table.frame.columns)
    mapping = _with_known(table, mapping, known)
    counted = {column: label for column in table.frame.columns if (label := normalise_label(column)) is not None}
    optional = tuple(role for role in _ROLES if role in mapping or role != "config")
    if mapping.get("label") or "label" in table.frame.columns:
        kind: Literal["rows", "counts"] = "rows"
        roles = resolve(table, mapping, required=("label", "group"), optional=optional, aliases=_ALIASES)
    elif len(counted) > 1 or "n" in mapping:
        kind = "counts"
        roles = resolve(table, mapping, required=("group", "n"), optional=optional, aliases=_ALIASES)
    else:
        raise table.error(
            "There is neither a label column nor a set of count columns.",
            do=(
                f"Found: {', '.join(table.frame.columns)}. Name the label column with --map label=COLUMN, "
                f"or give count columns named {', '.join(LABELS)}, and n."
            ),
        )
    columns = _key_columns(table, roles)
    size = table.frame.height
    carried = _carried(table, roles)
    taken = {*roles.values(), *(("model", "config") if "config" not in roles else ())}
    taken |= set(counted) if kind == "counts" else set()
    taken |= known.hidden if known else frozenset()
    unused = {role for role, column in mapping.items() if not column}
    attributes = {
        attribute_name(name) if name in unused else name: _clean(table.frame[name])
        for name in table.frame.columns
        if name not in taken
    }
    attributes |= {
        name: [derive(value) for value in _clean(table.frame[column])]
        for name, column, derive in (known.derived if known else ())
    }
    clash = sorted(set(attributes) & {*COLUMNS, *carried})
    if clash:
        raise table.error(
            f"These columns play no role here but bear the name of one: {', '.join(clash)}.",
            do="Map them, or rename them.",
        )
    if kind == "rows":
        labels, missing = _labels(table, roles["label"], values or {})
        columns |= {"label": labels, "missing": missing, "count": [1] * size, "row": list(range(1, size + 1))}
        _reject_duplicates(table, columns, carried.get("item_id"))
        frame = _frame(columns, {**carried, **attributes})
    else:
        _reject_duplicates(table, {**columns, **attributes}, carried.get("item_id"))
        frame = _frame(*_explode(table, roles["n"], counted, columns, {**carried, **attributes}))
    return LabelTable(
        frame,
        table.origin,
        kind,
        tuple(attributes),
        reference=known.reference if known else "",
        known=known.name if known else "",
        checksum=table.checksum,
    )


def _carried(table: Table, roles: Mapping[str, str]) -> dict[str, list[Any]]:
    return {role: table.frame[roles[role]].to_list() for role in ("item_id", "prompt", "response") if role in roles}


def _with_known(table: Table, mapping: Mapping[str, str] | None, known: KnownHeader | None) -> dict[str, str]:
    given = dict(mapping or {})
    if known is None:
        return given
    if given.get("group") in known.not_groups:
        raise table.error(
            f"The column '{given['group']}' holds whom the stem's stereotype is about, not the group of the name.",
            do=f"Use --map group={known.mapping['group']}.",
        )
    return {**known.mapping, **given}


def _clean(column: pl.Series) -> list[str | None]:
    """The cells as keys (NFC, single spaces), empty ones as None; each distinct value is worked on once."""
    keys = {value: (clean_key(value) or None) if value is not None else None for value in column.unique().to_list()}
    return [keys[value] for value in column.to_list()]


def _key_columns(table: Table, roles: Mapping[str, str]) -> dict[str, list[Any]]:
    """config, group, name, stem, stratum and repetition, checked row by row."""
    size = table.frame.height
    columns: dict[str, list[Any]] = {}
    if "config" in roles:
        columns["config"] = _clean(table.frame[roles["config"]])
    else:
        both = [_clean(table.frame[name]) for name in ("model", "config") if name in table.frame.columns]
        columns["config"] = (
            [" | ".join(filter(None, parts)) or None for parts in zip(*both, strict=True)]
            if both
            else ["labels"] * size
        )
    for role in ("group", "name", "stem"):
        columns[role] = _clean(table.frame[roles[role]]) if role in roles else [None] * size
    columns["stratum"] = [s or "" for s in _clean(table.frame[roles["stratum"]])] if "stratum" in roles else [""] * size
    for role in ("config", "group", *(r for r in ("name", "stem") if r in roles)):
        if None in columns[role]:
            row = columns[role].index(None) + 1
            raise table.error(f"The column '{roles.get(role, role)}' ({role}) is empty.", row)
    groups = GroupOfName(table.origin)
    if "name" in roles:
        for row, (name, group) in enumerate(zip(columns["name"], columns["group"], strict=True), start=1):
            groups.check(name, group, row)
    repetitions: list[int | None] = [None] * size
    if "repetition" in roles:
        for row, value in enumerate(_clean(table.frame[roles["repetition"]]), start=1):
            match = _REPETITION.fullmatch((value or "").casefold())
            cell = match[1] if match else value or ""
            repetitions[row - 1] = whole_number(cell, "The repetition", file=table.origin, row=row)
    columns["repetition"] = repetitions
    return columns


def _labels(table: Table, column: str, values: Mapping[str, str]) -> tuple[list[Label | None], list[str]]:
    translated: dict[str, Label] = {}
    for word, meaning in values.items():
        label = normalise_label(meaning)
        if label is None:
            raise BadInput(f"'{word}' cannot mean '{meaning}'.", do=f"The labels are: {', '.join(LABELS)}.")
        translated[" ".join(word.casefold().split())] = label
    labels: list[Label | None] = []
    missing: list[str] = []
    for row, cell in enumerate(table.frame[column].to_list(), start=1):
        text = " ".join((cell or "").casefold().split())
        label = translated.get(text) or normalise_label(text)
        reason = "" if label else "label_missing" if not text else text.replace(" ", "_")
        if label is None and reason not in MISSING:
            raise table.error(f"The label '{cell}' is not known.", row, do=f"The labels are: {', '.join(LABELS)}.")
        labels.append(label)
        missing.append(reason)
    return labels, missing


def _reject_duplicates(table: Table, columns: Mapping[str, list[Any]], ids: list[Any] | None) -> None:
    """One row per (config, item_id, repetition), or per (config, stem, name, repetition) where stem and name are
    known.
    """
    names = [name for name in columns if name not in ("label", "missing", "count", "row")]
    if "row" in columns:  # long rows: the key of a response
        if ids is None and (None in columns["name"] or None in columns["stem"]):
            return
        names = ["config", "repetition"] if ids is not None else ["config", "stem", "name", "repetition"]
    elif None not in columns["name"]:
        names = ["config", "stem", "name"]
    keys: Iterable[tuple[Any, ...]] = zip(
        *(columns[name] for name in names), *([ids] if ids is not None else []), strict=True
    )
    first: dict[tuple[Any, ...], int] = {}
    for row, key in enumerate(keys, start=1):
        if first.setdefault(key, row) != row:
            named = ", ".join(f"{n} {v}" for n, v in zip([*names, "item"], key, strict=False) if v is not None)
            raise table.error(
                f"Rows {first[key]} and {row} are about the same thing ({named}).",
                row,
                do="Remove one, or map the column that tells them apart (config or repetition).",
            )


def _explode(
    table: Table,
    n_column: str,
    counted: Mapping[str, Label],
    columns: Mapping[str, list[Any]],
    extra: Mapping[str, list[Any]],
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Count rows as one row per label that occurs; n must be the sum of the counts."""
    if not counted:
        raise table.error("No column is named after a label.", do=f"The labels are: {', '.join(LABELS)}.")
    if len(set(counted.values())) < len(counted):
        raise table.error(f"Two columns mean the same label: {', '.join(counted)}.")
    cells = {column: table.frame[column].to_list() for column in (*counted, n_column)}
    kept: list[int] = []
    labels: list[Label] = []
    counts: list[int] = []
    for index in range(table.frame.height):
        numbers = {column: _count(table, column, cells[column][index], index + 1) for column in cells}
        n = numbers.pop(n_column)
        if n != sum(numbers.values()) or n == 0:
            raise table.error(
                f"The counts add up to {sum(numbers.values())}, n says {n}.",
                index + 1,
                do="Every response needs one label: n is the sum of the label columns, and at least 1.",
            )
        for column, number in numbers.items():
            if number:
                kept.append(index)
                labels.append(counted[column])
                counts.append(number)
    keys = {name: [values[i] for i in kept] for name, values in columns.items()}
    keys |= {
        "label": cast(list[Any], labels),
        "missing": [""] * len(kept),
        "count": counts,
        "row": [i + 1 for i in kept],
    }
    return keys, {name: [values[i] for i in kept] for name, values in extra.items()}


def _count(table: Table, column: str, cell: str | None, row: int) -> int:
    return whole_number(cell or "", "The count", file=table.origin, row=row, column=column)


def _frame(columns: Mapping[str, list[Any]], extra: Mapping[str, list[Any]]) -> pl.DataFrame:
    import polars as pl

    whole = {"repetition", "count", "row"}
    schema = {name: pl.Int64 if name in whole else pl.String for name in COLUMNS} | dict.fromkeys(extra, pl.String)
    return pl.DataFrame({**{name: columns[name] for name in COLUMNS}, **extra}, schema=schema)
