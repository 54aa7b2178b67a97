"""Pairs of your own: a table with a harmful and a comparison text a row (section 4.8 of the reward specification)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evenhand.datasets.table import Table, as_table, resolve
from evenhand.errors import BadInput
from evenhand.records import Pair

__all__ = ["PairTable", "differing_runs", "mark_repeats", "read_pairs"]

_REQUIRED = ("harmful", "comparison", "group")
_OPTIONAL = (
    "pair_id", "cluster_id", "context", "context_comparison", "comparison_group", "theme", "source", "licence", "template",
    "referent", "kind", "pair_set",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PairTable:
    """The pairs of a file, its name, and what a reader should know of them."""

    pairs: tuple[Pair, ...]
    origin: str
    notes: tuple[str, ...] = ()


def differing_runs(first: str, second: str) -> int:
    """In how many runs of words two texts differ: 1 for a minimal pair. Capitals and punctuation count."""
    from difflib import SequenceMatcher

    a, b = first.split(), second.split()
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    end = next((i for i, (x, y) in enumerate(zip(a[::-1], b[::-1], strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[: len(a) - end], b[: len(b) - end]
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return sum(tag != "equal" for tag, *_ in matcher.get_opcodes())


def mark_repeats(pairs: list[Pair]) -> tuple[list[Pair], int]:
    """Pairs with ``attributes["duplicate_of"]`` where context, group and both texts repeat an earlier pair; how many do."""
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


def read_pairs(source: Any, mapping: Mapping[str, str] | None = None) -> PairTable:
    """Read pairs from a csv, jsonl or parquet file, or a frame.

    Required columns: harmful, comparison, group. The texts go on from ``context`` where there is one; texts that repeat their
    context at the start lose it there. Without ``cluster_id`` each row is its own cluster, and a note says so.

    Raises BadInput, naming the row, for a missing or equal text, a missing group, two contexts in one pair (the reward's
    normalising constant would not cancel), an unknown kind and a repeated id.
    """
    table = as_table(source)
    roles = resolve(table, mapping, required=_REQUIRED, optional=_OPTIONAL)
    pairs: list[Pair] = []
    seen: dict[str, int] = {}
    for row, cells in enumerate(table.frame.iter_rows(named=True), start=1):
        pair = _pair(table, {role: cells[column] or "" for role, column in roles.items()}, row)
        if pair.id in seen:
            raise BadInput(
                f"The pair id '{pair.id}' stands in row {seen[pair.id]} already.", file=table.origin, row=row
            )
        seen[pair.id] = row
        pairs.append(pair)
    if not pairs:
        raise BadInput("The file holds no pair.", file=table.origin)
    pairs, repeats = mark_repeats(pairs)
    wide = sum(not pair.minimal for pair in pairs)
    told = {
        "Rows have no cluster_id: each pair is its own cluster, as if pairs were independent.": "cluster_id"
        not in roles,
        f"{wide} pairs differ in more than one run of words and stay out of reward summaries.": wide,
        f"{repeats} pairs repeat an earlier one and stay out of reward summaries.": repeats,
        "There are no neutral pairs: a stage that makes a group's name likelier looks like a harm.": not any(
            pair.kind == "neutral" for pair in pairs
        ),
    }
    notes = [text for text, held in told.items() if held]
    return PairTable(tuple(pairs), str(table.origin), tuple(notes))


def _pair(table: Table, cells: Mapping[str, str], row: int) -> Pair:
    def wrong(what: str, do: str = "") -> BadInput:
        return BadInput(what, file=table.origin, row=row, do=do)

    context, harmful, comparison = (cells.get(role, "") for role in ("context", "harmful", "comparison"))
    other = cells.get("context_comparison", "")
    if other and other != context:
        raise wrong(
            "The two texts have different contexts, so their rewards cannot be compared: the normalising constant does not cancel.",
            "Give both members the same context.",
        )
    if context.strip() and harmful.startswith(context) and comparison.startswith(context):
        harmful, comparison = harmful[len(context) :], comparison[len(context) :]
    bare = context.rstrip()
    gap = context[len(bare) :] or (" " if bare and not harmful[:1].isspace() else "")
    if gap and not harmful[:1].isspace() and not comparison[:1].isspace():
        harmful, comparison = gap + harmful, gap + comparison
    if not harmful.strip() or not comparison.strip():
        raise wrong("The harmful or the comparison text is empty.")
    if harmful == comparison:
        raise wrong("The harmful and the comparison text are the same.")
    group, kind = cells.get("group", "").strip(), cells.get("kind", "").strip() or "harm"
    if not group:
        raise wrong("The group is missing.")
    if kind not in ("harm", "neutral"):
        raise wrong(f"'{kind}' is no kind of pair.", "Write harm or neutral.")
    key = cells.get("pair_id", "").strip() or f"row-{row}"
    own = cells.get("cluster_id", "").strip()
    return Pair(
        id=key,
        cluster=f"{group}/{own or key}",
        context=bare,
        harmful=harmful,
        comparison=comparison,
        group=group,
        comparison_group=cells.get("comparison_group", "").strip(),
        theme=cells.get("theme", ""),
        template=cells.get("template", ""),
        referent=cells.get("referent", ""),
        kind="neutral" if kind == "neutral" else "harm",
        pair_set=cells.get("pair_set", "").strip() or "own",
        minimal=differing_runs(bare + harmful, bare + comparison) == 1,
        attributes={role: cells[role] for role in ("source", "licence") if cells.get(role)},
    )
