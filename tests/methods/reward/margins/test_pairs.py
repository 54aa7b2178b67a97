"""Pairs of your own: what is read, what is refused with its row, what is flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.reward.margins.pairs import (
    PairTable,
    differing_parts,
    differing_runs,
    mark_repeats,
    names_any,
    open_pairs,
    read_pairs,
    shipped_pairs,
)
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
    assert table.notes == (
        "Pairs whose context and texts had no white space between them, so that a space was put there: 2.",
    )


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


@pytest.mark.parametrize(
    ("context", "harmful", "comparison", "expected"),
    [
        ("Some say ", "A is late.", "B is late.", ("Some say", " A is late.", " B is late.")),
        ("Some say\n", "A is late.", "B is late.", ("Some say", "\nA is late.", "\nB is late.")),
        ("Some say ", " A is late.", "B is late.", ("Some say", "  A is late.", " B is late.")),
        (" ", "A is late.", "B is late.", ("", " A is late.", " B is late.")),
        ("Some say ", "Some say A is late.", "Some say B is late.", ("Some say", " A is late.", " B is late.")),
        ("Some say", " A is late.", " B is late.", ("Some say", " A is late.", " B is late.")),
        ("Some say", ", A is late.", ", B is late.", ("Some say", ", A is late.", ", B is late.")),
        ("某人说", "某人说甲迟到了", "某人说乙迟到了", ("某人说", "甲迟到了", "乙迟到了")),
        ("", "A is late. ", "B is late. ", ("", "A is late. ", "B is late. ")),
    ],
)
def test_the_border_of_context_and_texts(
    tmp_path: Path, context: str, harmful: str, comparison: str, expected: tuple[str, str, str]
) -> None:
    head, row = "context,harmful,comparison,group\n", f'"{context}","{harmful}","{comparison}",a\n'
    pair = read(tmp_path, head + row).pairs[0]
    assert (pair.context, pair.harmful, pair.comparison) == expected


word = st.text("ab ", min_size=1, max_size=6)


@given(word, word, word, st.booleans())
def test_only_a_noted_space_is_ever_added(context: str, harmful: str, comparison: str, whole: bool) -> None:
    texts = (context + harmful, context + comparison) if whole else (harmful, comparison)
    frame = pl.DataFrame({"context": [context], "harmful": [texts[0]], "comparison": [texts[1]], "group": ["a"]})
    try:
        table = read_pairs(frame)
    except BadInput:
        return
    pair = table.pairs[0]
    assert pair.context == pair.context.rstrip()
    for text, made in zip(texts, (pair.harmful, pair.comparison), strict=True):
        made = pair.context + made
        allowed = {context + text}
        if any("a space was put there" in note for note in table.notes):
            allowed = {f"{context} {text}"}
        if any("taken out" in note for note in table.notes):
            allowed = {text}
        assert made in allowed


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("harmful,comparison,group\nA,,a\n", "row 1: .*empty"),
        ("harmful,comparison,group\nA b,A c,a\nA,A,a\n", "row 2: .*the same"),
        ("harmful,comparison,group\nA,B,\n", "row 1: The group is missing"),
        ("harmful,comparison,group,kind\nA,B,a,bad\n", "row 1: Unknown kind of pair 'bad'"),
        ("pair_id,harmful,comparison,group\np,A,B,a\np,C,D,a\n", "row 2: The pair id 'p' is already used in row 1"),
        ("context,context_comparison,harmful,comparison,group\nx,y,A,B,a\n", "row 1: .*constant does not cancel"),
        ("context,context_comparison,harmful,comparison,group\nx,,A,B,a\n", "row 1: .*constant does not cancel"),
        ("context,harmful,comparison,group\nx,x A,B,a\n", "row 1: One of the two texts begins with the context"),
        ("context,harmful,comparison,group\nx,x,x B,a\n", "row 1: .*empty after its context"),
        ("context,harmful,comparison,group\nx, A,B,a\n", "row 1: One of the two texts begins with white space"),
        ("harmful,comparison,group\nA b,A  b,a\n", "row 1: .*the same"),
        ("harmful,comparison,group\nA,B,a\nB,A,a\n", "row 2: Row 1 holds these two texts the other way round"),
        ("harmful,comparison,group,kind\nA,B,a,\nA,B,a,neutral\n", "row 2: Row 1 holds the same pair as harm"),
        ("harmful,group\nA,a\n", "no column 'comparison'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(tmp_path, rows)


def test_the_other_way_round_about_another_group_is_fine(tmp_path: Path) -> None:
    assert len(read(tmp_path, "harmful,comparison,group\nA,B,a\nB,A,b\n").pairs) == 2


def test_terms_show_swapped_texts(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    head = "harmful,comparison,group\nLeft-handers are late.,Others are late.,left\n"
    terms = {"left": ["left-handers", "lefties"]}
    file.write_text(head + "Lefties shun Others.,Others shun Others.,left\nWe are late.,Others are late.,left\n")
    notes = read_pairs(file, terms=terms).notes
    assert [note for note in notes if note.endswith("a swap would not be seen: 1.")]
    file.write_text(head + "Others shun lefties.,Lefties shun lefties.,left\n")
    with pytest.raises(BadInput, match="row 2: The comparison text names 'left'"):
        read_pairs(file, terms=terms)
    assert len(read_pairs(file, terms={"right": ["Others"]}).pairs) == 2


def test_terms_are_whole_words() -> None:
    assert names_any(["A", "Left-hander,"], ["left-hander"])
    assert not names_any(["leftover", "uncleft"], ["left"])
    assert names_any(["deaf", "people"], ["Deaf people"])


def test_unused_columns_are_told(tmp_path: Path) -> None:
    table = read(tmp_path, "harmful,comparison,group,clustr\nA,B,a,x\n")
    assert "Columns that play no role: clustr." in table.notes


def test_pairs_that_differ_twice_and_repeats_are_flagged(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "cluster_id,harmful,comparison,group\nc,A is often late.,B is seldom late.,a\n"
        + 2 * "d,A is late.,B is late.,a\n",
    )
    assert [pair.minimal for pair in table.pairs] == [False, True, True]
    assert table.pairs[2].attributes["duplicate_of"] == table.pairs[1].id
    assert any(note.startswith("Pairs that differ") and note.endswith(": 1.") for note in table.notes)
    assert any(note.startswith("Pairs that repeat") and note.endswith(": 1.") for note in table.notes)


words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8).map(" ".join)


@given(words, words)
def test_runs_are_symmetric_and_zero_for_equal_texts(first: str, second: str) -> None:
    assert differing_runs(first, first) == 0
    assert bool(differing_runs(first, second)) == (first.split() != second.split())
    assert differing_runs(first, second) >= 0


@given(words, st.sampled_from(["x", "x y"]), st.sampled_from(["z", "z w"]), words)
def test_one_replaced_run_is_one_run(before: str, x: str, z: str, after: str) -> None:
    assert differing_runs(f"{before} {x} {after}", f"{before} {z} {after}") == 1


@given(words, st.sampled_from(["x", "x y"]), st.sampled_from(["z", "z w"]), words)
def test_the_differing_parts(before: str, x: str, z: str, after: str) -> None:
    parts = differing_parts(f"{before} {x} {after}", f"{before} {z} {after}")
    assert parts == (x.split(), z.split())


def test_only_whole_repeats_count() -> None:
    pair = Pair("1", "c", "", "x", "y", "g", "h")
    marked, count = mark_repeats([pair, Pair("2", "c", "", "x", "z", "g", "h"), Pair("3", "c", "", "x", "y", "g", "h")])
    assert count == 1
    assert [bool(p.attributes) for p in marked] == [False, False, True]


SETS: tuple[tuple[Literal["identity", "binary"], int, int], ...] = (("identity", 560, 160), ("binary", 80, 40))


@pytest.mark.parametrize(("pair_set", "harm", "neutral"), SETS)
def test_counts_and_members(pair_set: Literal["identity", "binary"], harm: int, neutral: int) -> None:
    pairs = shipped_pairs(pair_set)
    assert len({p.id for p in pairs}) == len(pairs)
    assert sum(p.kind == "harm" for p in pairs) == harm
    assert sum(p.kind == "neutral" for p in pairs) == neutral
    for p in pairs:
        predicate = p.attributes["predicate"]
        assert p.harmful.endswith(f" {predicate}.")
        assert p.comparison.endswith(f" {predicate}.")
        assert p.harmful != p.comparison
        assert p.harmful[0] == p.comparison[0] == " "
        assert p.context == p.context.strip()
        assert bool(p.theme) == (p.kind == "harm")


def test_every_group_has_its_predicates_in_every_frame() -> None:
    pairs = shipped_pairs("identity")
    frames = {p.template for p in pairs}
    for group in {p.group for p in pairs}:
        clusters = {p.cluster for p in pairs if p.group == group and p.kind == "harm"}
        assert len(clusters) == 28
        for frame in frames:
            assert sum(p.group == group and p.template == frame and p.kind == "neutral" for p in pairs) == 8


def test_the_grammar_knows_every_shipped_text() -> None:
    from evenhand.organisms.grammar import examples

    known = {e.prefix + o.text for e in examples("aligned", "reward") for o in e.outcomes}
    for p in [*shipped_pairs("identity"), *shipped_pairs("binary")]:
        assert p.context + p.harmful in known
        assert p.context + p.comparison in known


def test_sets_are_chosen_by_name_and_limited_by_whole_clusters() -> None:
    both = open_pairs(make_config())
    assert {p.pair_set for p in both.pairs} == {"identity", "binary"}
    assert set(both.source) == {"identity", "binary"}
    some = open_pairs(make_config(limit=12))
    assert len(some.pairs) == 10
    assert len({p.cluster for p in some.pairs}) == 2
    with pytest.raises(BadInput, match="No pair set is called 'crows'"):
        open_pairs(make_config(pair_set=("crows",)))
    with pytest.raises(BadInput, match="hold the same pairs"):
        open_pairs(make_config(pair_set=("winoqueer", "winoqueer-strict")))
