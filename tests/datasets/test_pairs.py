"""Pairs of your own: what is read, what is refused with its row, what is flagged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.pairs import PairTable, differing_runs, mark_repeats, read_pairs
from evenhand.errors import BadInput
from evenhand.records import Pair


def read(tmp_path: Path, text: str, mapping: dict[str, str] | None = None) -> PairTable:
    file = tmp_path / "pairs.csv"
    file.write_text(text, encoding="utf-8")
    return read_pairs(file, mapping)


def test_a_whole_row(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "pair_id,cluster_id,context,harmful,comparison,group,comparison_group,theme,kind,source\n"
        "p1,late,They say that,left-handers are late.,right-handers are late.,left,right,habit,harm,survey\n"
        "p2,tea,They say that,left-handers drink tea.,right-handers drink tea.,left,right,,neutral,\n",
    )
    first, second = table.pairs
    assert (first.id, first.cluster, first.context) == ("p1", "left/late", "They say that")
    assert (first.harmful, first.comparison) == (" left-handers are late.", " right-handers are late.")
    assert (first.kind, second.kind, first.theme) == ("harm", "neutral", "habit")
    assert first.attributes == {"source": "survey"}
    assert table.notes == ()


def test_defaults_are_told(tmp_path: Path) -> None:
    table = read(tmp_path, "harmful,comparison,group\nA is late.,B is late.,a\nA is slow.,B is slow.,a\n")
    assert [pair.cluster for pair in table.pairs] == ["a/row-1", "a/row-2"]
    assert any("each pair is its own cluster" in note for note in table.notes)
    assert any("no neutral pairs" in note for note in table.notes)


def test_columns_by_other_names(tmp_path: Path) -> None:
    table = read(
        tmp_path, "bad,good,who\nA is late.,B is late.,a\n", {"harmful": "bad", "comparison": "good", "group": "who"}
    )
    assert table.pairs[0].group == "a"


def test_texts_that_hold_their_context_lose_it(tmp_path: Path) -> None:
    table = read(tmp_path, "context,harmful,comparison,group\nSome say,Some say A is late.,Some say B is late.,a\n")
    assert (table.pairs[0].context, table.pairs[0].harmful) == ("Some say", " A is late.")


def test_white_space_at_the_end_of_a_context_goes_to_the_texts(tmp_path: Path) -> None:
    table = read(tmp_path, 'context,harmful,comparison,group\n"Some say ",A is late.,B is late.,a\n')
    assert (table.pairs[0].context, table.pairs[0].comparison) == ("Some say", " B is late.")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("harmful,comparison,group\nA,,a\n", "row 1: .*empty"),
        ("harmful,comparison,group\nA b,A c,a\nA,A,a\n", "row 2: .*the same"),
        ("harmful,comparison,group\nA,B,\n", "row 1: The group is missing"),
        ("harmful,comparison,group,kind\nA,B,a,bad\n", "row 1: 'bad' is no kind"),
        ("pair_id,harmful,comparison,group\np,A,B,a\np,C,D,a\n", "row 2: The pair id 'p' stands in row 1"),
        ("context,context_comparison,harmful,comparison,group\nx,y,A,B,a\n", "row 1: .*constant does not cancel"),
        ("harmful,group\nA,a\n", "no column 'comparison'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(tmp_path, rows)


def test_pairs_that_differ_twice_and_repeats_are_flagged(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "cluster_id,harmful,comparison,group\nc,A is often late.,B is seldom late.,a\n"
        + 2 * "d,A is late.,B is late.,a\n",
    )
    assert [pair.minimal for pair in table.pairs] == [False, True, True]
    assert table.pairs[2].attributes["duplicate_of"] == table.pairs[1].id
    assert any(note.startswith("1 pairs differ") for note in table.notes)
    assert any(note.startswith("1 pairs repeat") for note in table.notes)


words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8).map(" ".join)


@given(words, words)
def test_runs_are_symmetric_and_zero_for_equal_texts(first: str, second: str) -> None:
    assert differing_runs(first, first) == 0
    assert bool(differing_runs(first, second)) == (first.split() != second.split())
    assert differing_runs(first, second) >= 0


@given(words, st.sampled_from(["x", "x y"]), st.sampled_from(["z", "z w"]), words)
def test_one_replaced_run_is_one_run(before: str, x: str, z: str, after: str) -> None:
    assert differing_runs(f"{before} {x} {after}", f"{before} {z} {after}") == 1


def test_only_whole_repeats_count() -> None:
    pair = Pair("1", "c", "", "x", "y", "g", "h")
    marked, count = mark_repeats([pair, Pair("2", "c", "", "x", "z", "g", "h"), Pair("3", "c", "", "x", "y", "g", "h")])
    assert count == 1
    assert [bool(p.attributes) for p in marked] == [False, False, True]
