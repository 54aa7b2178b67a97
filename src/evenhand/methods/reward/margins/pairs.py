"""The pairs that a reward audit scores: the shipped sets, WinoQueer, or a table with a harmful and a comparison text in each row.

The shipped pairs are hearsay about gender-diverse people and about women and men, with neutral controls. They were written for
Evenhand and are mild on purpose; the themes are those of the code book in docs/implicit_reward.md. They show what a stage of
alignment favours on such sentences, and are not a survey of what people suffer: for that, bring statements from the affected
community (docs/implicit_reward.md, "Your own pairs").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from evenhand.config import AuditConfig
from evenhand.datasets.base import item_id
from evenhand.datasets.shipped import shipped_table
from evenhand.datasets.table import Table, as_table, resolve
from evenhand.errors import BadInput
from evenhand.methods.reward.margins.config import RewardSettings
from evenhand.records import Pair
from evenhand.registry import PAIR_SETS

_REQUIRED = ("harmful", "comparison", "group")
_OPTIONAL = (
    "pair_id", "cluster_id", "context", "context_comparison", "comparison_group", "theme", "source", "licence", "template",
    "referent", "kind", "pair_set",
)  # fmt: skip
_NO_SPACE_BEFORE = tuple(".,;:!?)]}'’”")
_SPACED, _REPEATED, _NO_TERM = "spaced", "repeated", "no term"
_ADJUSTED = {
    _SPACED: "Pairs whose context and texts had no white space between them, so that a space was put there: {}.",
    _REPEATED: "Pairs whose texts both began with their context, which was taken out of them: {}.",
    _NO_TERM: "Pairs that name none of the terms given for their group, so that a swap would not be seen: {}.",
}


@dataclass(frozen=True, slots=True)
class PairTable:
    """The pairs of a file, its name, and notes for the reader."""

    pairs: tuple[Pair, ...]
    origin: str
    notes: tuple[str, ...] = ()


def differing_parts(first: str, second: str) -> tuple[list[str], list[str]]:
    """The words of two texts without those that both begin and end with. Capitals and punctuation count."""
    a, b = first.split(), second.split()
    start = _equal(a, b)
    a, b = a[start:], b[start:]
    end = _equal(a[::-1], b[::-1])
    return a[: len(a) - end], b[: len(b) - end]


def _equal(a: Sequence[str], b: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(a, b, strict=False)))


def differing_runs(first: str, second: str) -> int:
    """Number of runs of words in which two texts differ: 1 for a minimal pair. Capitals and punctuation count."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(None, *differing_parts(first, second), autojunk=False)
    return sum(tag != "equal" for tag, *_ in matcher.get_opcodes())


def names_any(words: Sequence[str], terms: Sequence[str]) -> bool:
    """Whether a run of words holds one of the terms as a whole word or phrase, whatever the case."""
    text = " ".join(words)
    return any(re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE) for term in terms)


def mark_repeats(pairs: list[Pair]) -> tuple[list[Pair], int]:
    """The pairs, those that repeat an earlier one with ``attributes["duplicate_of"]``, and the number of repeats."""
    first: dict[tuple[str, ...], str] = {}
    marked, repeats = [], 0
    for pair in pairs:
        key = (pair.context, pair.harmful, pair.comparison, pair.group)
        original = first.setdefault(key, pair.id)
        if original != pair.id:
            repeats += 1
            pair = replace(pair, attributes={**pair.attributes, "duplicate_of": original})
        marked.append(pair)
    return marked, repeats


def read_pairs(
    source: Any, mapping: Mapping[str, str] | None = None, *, terms: Mapping[str, Sequence[str]] | None = None
) -> PairTable:
    """Read pairs from a csv, jsonl or parquet file, or a frame.

    Required columns: harmful, comparison, group. The texts continue ``context`` if there is one. White space at its end moves
    to both texts; if there is none, a space is inserted, unless a text begins with white space or punctuation. Texts that both
    begin with their context lose it there and are otherwise kept as they are. Without ``cluster_id`` each row is its own
    cluster; without ``pair_id`` the id is the row number. ``terms`` are words that name each group, by which swapped texts are
    recognised. The notes state what was inserted or removed, and what could not be checked.

    Raises BadInput, naming the row, for a missing text, texts that differ in nothing but white space, a missing group, two
    contexts in one pair (the reward's normalising constant would not cancel), a context or white space at the start of one
    text only, swapped texts, a row that contradicts an earlier one, an unknown kind and a repeated id.
    """
    table = as_table(source)
    roles = resolve(table, mapping, required=_REQUIRED, optional=_OPTIONAL)
    pairs: list[Pair] = []
    seen: dict[str, int] = {}
    adjusted: Counter[str] = Counter()
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        pair = _pair(table, {role: cells[column] or "" for role, column in roles.items()}, row, adjusted)
        if pair.id in seen:
            raise table.error(f"The pair id '{pair.id}' is already used in row {seen[pair.id]}.", row)
        seen[pair.id] = row
        named = (terms or {}).get(pair.group, ())
        if named and not _checked_sides(table, pair, named, row):
            adjusted[_NO_TERM] += 1
        pairs.append(pair)
    _check_contradictions(table, pairs)
    pairs, repeats = mark_repeats(pairs)
    return PairTable(tuple(pairs), str(table.origin), _notes(table, roles, pairs, repeats, adjusted))


def _notes(
    table: Table, roles: Mapping[str, str], pairs: Sequence[Pair], repeats: int, adjusted: Mapping[str, int]
) -> tuple[str, ...]:
    wide = sum(not pair.minimal for pair in pairs)
    unused = [column for column in table.frame.columns if column not in roles.values()]
    notes = {
        "Rows have no cluster_id: each pair is its own cluster, as if pairs were independent.": "cluster_id"
        not in roles,
        f"Pairs that differ in more than one run of words and stay out of reward summaries: {wide}.": wide,
        f"Pairs that repeat an earlier one and stay out of reward summaries: {repeats}.": repeats,
        "There are no neutral pairs: a stage that makes a group's name likelier looks like a harm.": not any(
            pair.kind == "neutral" for pair in pairs
        ),
        f"Columns that play no role: {', '.join(unused)}.": unused,
        **{text.format(adjusted[key]): adjusted[key] for key, text in _ADJUSTED.items()},
    }
    return tuple(text for text, applies in notes.items() if applies)


def _checked_sides(table: Table, pair: Pair, terms: Sequence[str], row: int) -> bool:
    """Whether the harmful text's own words name the group. Raises BadInput where only the comparison's do."""
    mine, theirs = (
        names_any(part, terms) for part in differing_parts(pair.context + pair.harmful, pair.context + pair.comparison)
    )
    if theirs and not mine:
        raise table.error(
            f"The comparison text names '{pair.group}' and the harmful text does not: the two may be swapped.", row
        )
    return mine


def _check_contradictions(table: Table, pairs: Sequence[Pair]) -> None:
    first: dict[tuple[str, ...], tuple[int, str]] = {}
    for row, pair in enumerate(pairs, start=1):
        reverse = first.get((pair.context, pair.comparison, pair.harmful, pair.group))
        if reverse:
            raise table.error(f"Row {reverse[0]} holds these two texts the other way round, about the same group.", row)
        earlier, kind = first.setdefault((pair.context, pair.harmful, pair.comparison, pair.group), (row, pair.kind))
        if kind != pair.kind:
            raise table.error(f"Row {earlier} holds the same pair as {kind}.", row)


def _pair(table: Table, cells: Mapping[str, str], row: int, adjusted: Counter[str]) -> Pair:
    def wrong(what: str, do: str = "") -> BadInput:
        return table.error(what, row, do=do)

    context, harmful, comparison = (cells.get(role, "") for role in ("context", "harmful", "comparison"))
    if cells.get("context_comparison", context) != context:
        raise wrong(
            "The two texts have different contexts, so their rewards cannot be compared: the normalising constant does not cancel.",
            "Give both members the same context.",
        )
    if not harmful.strip() or not comparison.strip():
        raise wrong("The harmful or the comparison text is empty.")
    if harmful.split() == comparison.split():
        raise wrong("The harmful and the comparison text are the same.")
    if context:
        problem, harmful, comparison = _continued(context, harmful, comparison, adjusted)
        if problem:
            raise wrong(problem, "Write both texts in the same way.")
    group, kind = cells.get("group", "").strip(), cells.get("kind", "").strip() or "harm"
    if not group:
        raise wrong("The group is missing.")
    if kind not in ("harm", "neutral"):
        raise wrong(f"Unknown kind of pair '{kind}'.", "Write harm or neutral.")
    key = cells.get("pair_id", "").strip() or f"row-{row}"
    cluster = cells.get("cluster_id", "").strip()
    return Pair(
        id=key,
        cluster=f"{group}/{cluster or key}",
        context=context.rstrip(),
        harmful=harmful,
        comparison=comparison,
        group=group,
        comparison_group=cells.get("comparison_group", "").strip(),
        theme=cells.get("theme", ""),
        template=cells.get("template", ""),
        referent=cells.get("referent", ""),
        kind="neutral" if kind == "neutral" else "harm",
        pair_set=cells.get("pair_set", "").strip() or "own",
        minimal=differing_runs(context.rstrip() + harmful, context.rstrip() + comparison) == 1,
        attributes={role: cells[role] for role in ("source", "licence") if cells.get(role)},
    )


def _continued(context: str, harmful: str, comparison: str, adjusted: Counter[str]) -> tuple[str, str, str]:
    """What is wrong (or an empty text), and both texts as they continue the context without white space at its end."""
    bare = context.rstrip()
    gap = context[len(bare) :]
    texts = harmful, comparison
    if not bare:
        return "", gap + harmful, gap + comparison
    if all(text.startswith(context) for text in texts):
        rests = [text[len(context) :] for text in texts]
        if not all(rest.strip() for rest in rests):
            return "The harmful or the comparison text is empty after its context.", *texts
        adjusted[_REPEATED] += 1
        return "", gap + rests[0], gap + rests[1]
    if any(re.match(rf"{re.escape(bare)}(?!\w)", text) for text in texts):
        return "One of the two texts begins with the context and the other does not.", *texts
    if gap:
        return "", gap + harmful, gap + comparison
    spaced = [text[0].isspace() for text in texts]
    if any(spaced) != all(spaced):
        return "One of the two texts begins with white space and the other does not.", *texts
    if any(spaced) or any(text.startswith(_NO_SPACE_BEFORE) for text in texts):
        return "", *texts
    adjusted[_SPACED] += 1
    return "", " " + harmful, " " + comparison


_FILES = ("pair_frames.csv", "pair_groups.csv", "pair_predicates.csv")


def _table(name: str) -> Table:
    return shipped_table(Path(__file__).parents[3] / "datasets" / "shipped" / name)


def _rows(name: str) -> list[dict[str, str]]:
    return [{key: value or "" for key, value in row.items()} for row in _table(name).frame.iter_rows(named=True)]


def pair_files() -> dict[str, str]:
    """xxh128 of the files, for the manifest."""
    return {name: _table(name).checksum for name in _FILES}


def shipped_pairs(pair_set: Literal["identity", "binary"]) -> list[Pair]:
    """Every group of a set x every predicate x every frame, against the set's comparison group.

    The randomised unit (``cluster``) is the predicate within its group; the frame is the ``template``.
    """
    groups = [row for row in _rows("pair_groups.csv") if row["pair_set"] == pair_set]
    phrase = {row["group"]: row["phrase"] for row in groups}
    predicates = [
        row for row in _rows("pair_predicates.csv") if row["pair_set"] in (pair_set, "both") and row["kind"] != "filler"
    ]
    return [
        Pair(
            id=item_id(pair_set, row["group"], predicate["predicate_id"], frame["frame_id"]),
            cluster=f"{row['group']}/{predicate['predicate_id']}",
            context=frame["text"],
            harmful=f" {phrase[row['group']]} {predicate['text']}.",
            comparison=f" {phrase[row['comparison_group']]} {predicate['text']}.",
            group=row["group"],
            comparison_group=row["comparison_group"],
            theme=predicate["theme"],
            template=frame["frame_id"],
            referent=phrase[row["group"]],
            kind="neutral" if predicate["kind"] == "neutral" else "harm",
            pair_set=pair_set,
            attributes={"predicate": predicate["text"]},
        )
        for row in groups
        if row["comparison_group"]
        for predicate in predicates
        for frame in _rows("pair_frames.csv")
    ]


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs, their source (for the manifest), and notes for the reader."""

    pairs: list[Pair]
    source: dict[str, Any]
    notes: tuple[str, ...] = ()


def identity() -> PairSet:
    """The shipped pairs about gender-diverse people."""
    return PairSet(shipped_pairs("identity"), {"shipped": pair_files()})


def binary() -> PairSet:
    """The shipped pairs about women and men."""
    return PairSet(shipped_pairs("binary"), {"shipped": pair_files()})


def _winoqueer(subset: Literal["all", "strict", "broad"]) -> PairSet:
    from evenhand.methods.reward.margins.winoqueer import WinoQueer

    data = WinoQueer()
    pairs = data.pairs(subset)
    files = {name: file.checksum for name, file in data.sources.used.items()}
    return PairSet(pairs, {"winoqueer": files, "subset": subset}, tuple(data.notes))


def winoqueer() -> PairSet:
    """All of WinoQueer."""
    return _winoqueer("all")


def winoqueer_strict() -> PairSet:
    """WinoQueer: Transgender and NB against Cisgender and Cis."""
    return _winoqueer("strict")


def winoqueer_broad() -> PairSet:
    """WinoQueer: every pair against Cisgender or Cis."""
    return _winoqueer("broad")


def open_pairs(config: AuditConfig) -> PairSet:
    """The pairs that the settings ask for. Raises BadInput for a set or file that cannot be used."""
    if config.data is not None:
        table = read_pairs(config.data, config.columns)
        return PairSet(list(table.pairs), {"file": table.origin}, table.notes)
    names = list(dict.fromkeys(config.of(RewardSettings).pair_set))
    subsets = [name for name in names if name.startswith("winoqueer")]
    if len(subsets) > 1:
        raise BadInput(
            f"{' and '.join(subsets)} hold the same pairs.",
            do="Name one: findings of the whole set include its subsets.",
        )
    parts = [PAIR_SETS.get(name)() for name in names]
    pairs = [pair for part in parts for pair in part.pairs]
    if config.limit is not None:
        pairs = _limited(pairs, config.limit)
    return PairSet(
        pairs,
        {name: part.source for name, part in zip(names, parts, strict=True)},
        tuple(note for part in parts for note in part.notes),
    )


def _limited(pairs: list[Pair], limit: int) -> list[Pair]:
    """Whole clusters until the limit is reached, the groups in turn."""
    by_cluster: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in pairs:
        by_cluster.setdefault((pair.pair_set, pair.group, pair.cluster), []).append(pair)
    turn: Counter[tuple[str, str]] = Counter()
    ranked = []
    for (pair_set, group, _), part in by_cluster.items():
        ranked.append((turn[pair_set, group], part))
        turn[pair_set, group] += 1
    kept: list[Pair] = []
    for _, part in sorted(ranked, key=lambda entry: entry[0]):
        if kept and len(kept) + len(part) > limit:
            break
        kept += part
    return kept
