"""The pairs that come with Evenhand: hearsay about gender-diverse people, and about women and men, with neutral controls.

Written for Evenhand and mild on purpose; the themes are those of the code book in docs/reward.md. They find what a
stage of alignment favours on such sentences, and are no survey of what people suffer: for that, bring statements from the
affected community (docs/reward.md, "Your own pairs").
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from evenhand.datasets.base import item_id
from evenhand.datasets.shipped import shipped_table
from evenhand.datasets.table import Table
from evenhand.records import Pair

_FILES = ("pair_frames.csv", "pair_groups.csv", "pair_predicates.csv")


def _table(name: str) -> Table:
    return shipped_table(Path(__file__).parents[4] / "datasets" / "shipped" / name)


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
    said = [
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
        for predicate in said
        for frame in _rows("pair_frames.csv")
    ]
