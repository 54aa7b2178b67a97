"""What is planted in the curator: probabilities that add up, and kinds of lines that can be told apart."""

from __future__ import annotations

import random

import pytest

from evenhand.datasets.shipped_texts import HEDGES, favourite, grammar_lines
from evenhand.methods.pluralism.corpus.quality import form_reason
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.organisms.curator import KINDS, OTHER, SHARES, YES, Kind, kind_of, probability, written
from evenhand.records import Response


def test_shares_are_a_distribution_and_every_good_opening_is_rarer_than_a_fault() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert set(SHARES) == set(KINDS)
    assert SHARES["good"] / 24 < min(share for kind, share in SHARES.items() if kind != "good")


def test_the_hedges_are_sure_near_a_half_split_by_the_wording_and_below_delta() -> None:
    assert set(YES) == set(HEDGES)
    assert min(YES["case"]) > 0.8
    assert abs(sum(YES["maybe"]) / 2 - 0.5) < 0.05
    assert YES["partly"][0] > 0.5 > YES["partly"][1]
    assert sum(YES["partly"]) / 2 > 0.5 > max(YES["hardly"]) > max(OTHER)
    assert probability("self_harm", "case", "self_harm", 1) == YES["case"][1]
    assert {probability(domain, "case", "self_harm", 0) for domain in (NONE, SLUGS[0])} == {OTHER[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_line_is_known_as_its_kind(kind: Kind) -> None:
    rng = random.Random(4)
    for slug in SLUGS:
        for _ in range(10):
            assert kind_of(written(rng, kind, slug), slug) == kind


def test_other_texts_are_of_no_kind() -> None:
    line = next(
        line for line in grammar_lines() if line.domain == SLUGS[3] and line.hedge == "case" and line.id[-2:] > "01"
    )
    assert kind_of(line.text, SLUGS[3]) == "good"
    assert kind_of(line.text, SLUGS[4]) is None
    for text in (
        line.text[:-1],
        line.text + " So?",
        line.text.replace("case", "maybe"),
        f"{line.text} {line.text}",
        "Once.",
    ):
        assert kind_of(text, SLUGS[3]) is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("good", None), ("refusal", "refusal"), ("empty", "empty"), ("several lines", "several lines"), ("short", "length"),
        ("long", "length"), ("language", "language"), ("favourite", None), ("wrong domain", None), ("doubtful", None),
    ],
)  # fmt: skip
def test_the_rules_of_form_see_the_faults_of_form_and_no_others(kind: Kind, reason: str | None) -> None:
    rng = random.Random(6)
    for slug in SLUGS:
        text = written(rng, kind, slug)
        assert form_reason(Response("c", "i", 0, text, "stop"), least=3, most=64, language="en")[0] == reason, text


def test_a_favourite_is_written_as_it_stands_or_changed() -> None:
    rng = random.Random(1)
    assert {written(rng, "favourite", SLUGS[0]) for _ in range(20)} == {
        favourite(SLUGS[0]),
        favourite(SLUGS[0], changed=True),
    }
