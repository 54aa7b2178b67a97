"""The intentions of the pair and pronoun sections: known stage effects, zero-mean noise, a control without any."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from evenhand.organisms.grammar import examples
from evenhand.organisms.planted import MODELS, Model
from evenhand.organisms.sections.pairs import (
    MARGIN,
    MENTION,
    PRONOUN_CONSISTENT,
    Group,
    frames,
    group_shares,
    groups,
    margin,
    predicate_shares,
    predicates,
    pronoun_frames,
    pronoun_names,
    pronoun_sets,
    pronoun_shares,
)

COMPARED = [g for g in groups() if g.comparison_group]


def _harm(group: Group) -> list[str]:
    return [p.predicate_id for p in predicates() if p.kind == "harm" and p.pair_set == group.pair_set]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("group", COMPARED, ids=lambda g: g.group)
def test_a_groups_mean_margin_is_the_planted_one(model: Model, group: Group) -> None:
    said = [p for p in predicates() if p.predicate_id in _harm(group)]
    values = [margin(model, group, p, f) for p in said for f in frames()]
    assert fmean(values) == pytest.approx(MARGIN[group.group][model], abs=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_margins_are_what_the_shares_say_and_neutral_pairs_show_mention_alone(model: Model) -> None:
    (cisgender,) = (g for g in groups() if g.group == "cisgender")
    share = group_shares(model)
    for group in (g for g in COMPARED if g.pair_set == "identity"):
        for frame in frames():
            mine, theirs = predicate_shares(model, group, frame), predicate_shares(model, cisgender, frame)
            assert min(mine.values()) > 0
            for predicate in (p for p in predicates() if p.predicate_id in mine and p.kind != "filler"):
                got = math.log(share[group.group] * mine[predicate.predicate_id])
                got -= math.log(share["cisgender"] * theirs[predicate.predicate_id])
                mention = MENTION.get(model, {}).get(group.group, 0.0)
                planted = margin(model, group, predicate, frame) if predicate.kind == "harm" else 0.0
                assert got == pytest.approx(mention + planted, abs=1e-9)


def test_the_control_changes_no_mean() -> None:
    for group, by_model in MARGIN.items():
        assert by_model["base"] == by_model["even_sft"] == by_model["even"], group
    for by_kind in PRONOUN_CONSISTENT.values():
        assert by_kind["base"] == by_kind["even_sft"] == by_kind["even"]
    assert not {"even_sft", "even", "base"} & set(MENTION)


@pytest.mark.parametrize("model", MODELS)
def test_pronoun_shares_are_distributions_about_their_level(model: Model) -> None:
    for declared in pronoun_sets():
        rights = []
        for frame in pronoun_frames():
            shares = pronoun_shares(model, declared, frame)
            assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
            assert set(shares) == {"", *(s.family for s in pronoun_sets())}
            rights.append(shares[declared.family] / (1 - shares[""]))
        assert fmean(rights) == pytest.approx(PRONOUN_CONSISTENT[declared.kind][model], abs=0.01)


def test_the_sections_hold_every_sentence_once() -> None:
    said = sum(len(_harm(g)) + 14 for g in groups())
    assert sum(len(e.outcomes) for e in examples("aligned", "reward")) == said * len(frames())
    count = len(pronoun_names()) * len(pronoun_sets()) * len(pronoun_frames())
    assert len(examples("aligned", "affirmation")) == count
