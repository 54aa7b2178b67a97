"""The shipped pairs: one context, one difference, a neutral control for every frame, and themes of the code book."""

from __future__ import annotations

from typing import Literal

import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.reward.margins.data.pair_sets import open_pairs
from evenhand.methods.reward.margins.data.shipped_pairs import shipped_pairs

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
