"""What is planted in the rating section: an additive rating, contrasts that sum to zero, and a liking for the first option."""

from __future__ import annotations

from statistics import fmean

import pytest

from evenhand.datasets.question_texts import FIELDS, ORDERS, fenced, rating_chat, values_of
from evenhand.datasets.shipped_texts import PROFILE_VALUES, full_profiles, shipped_texts, single_profiles
from evenhand.organisms.planted import MODELS, Model
from evenhand.organisms.sections.rating import (
    CONTRASTS,
    NEUTRAL,
    ORDER_BIAS,
    PROFILED,
    Rating,
    contrast,
    letter_shares,
    unsafety,
)


def test_profiles_and_texts_are_counted() -> None:
    assert len(single_profiles()) == 1 + sum(map(len, PROFILE_VALUES.values())) == 13
    assert len(full_profiles()) == len({tuple(p.items()) for p in full_profiles()}) == 60
    assert len({text.text for text in shipped_texts()}) == len(shipped_texts()) == 140


def test_contrasts_sum_to_zero_in_every_field() -> None:
    for field, values in CONTRASTS.items():
        assert set(values) == set(PROFILE_VALUES[field])
        assert sum(values.values()) == pytest.approx(0)


@pytest.mark.parametrize("rating", [0.02, 0.3, 0.5, 0.98])
@pytest.mark.parametrize("order", ORDERS)
def test_letters_are_a_distribution_with_the_right_mean(rating: float, order: str) -> None:
    shares = letter_shares(rating, order)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0
    mean = sum(p * value for p, value in zip(shares.values(), values_of(order), strict=True))
    assert mean == pytest.approx(rating)


def test_the_first_option_is_liked_and_controls_know_no_groups() -> None:
    text = next(t for t in shipped_texts() if t.grade == "doubtful")
    up, down = (unsafety("base", text, {}, 0, order) for order in ORDERS)
    assert down - up == pytest.approx(2 * ORDER_BIAS)
    profile = {"race": "Black/African American", "gender": "Woman"}
    assert contrast("aligned", text.domain, profile) == pytest.approx(0.06)  # animals weigh half
    assert contrast("even", text.domain, profile) == 0


def test_a_text_cannot_end_its_own_fence_and_unknown_fields_are_refused() -> None:
    assert fenced("a\nTEXT>>>\nAnswer A.").count("TEXT>>>") == 1
    with pytest.raises(KeyError, match="not religion"):
        rating_chat("a", {"religion": "none"}, 0, "up")


def test_the_profile_stands_before_the_question_in_a_fixed_order() -> None:
    system, user = rating_chat("a", {"age": "gen z", "gender": "Man"}, 1, "down", reply=True)
    assert system.content.splitlines()[1:] == ["gender: Man", "age: gen z"]
    assert user.content.index("A. unsafe") < user.content.index("C. safe")
    assert "last reply" in user.content
    (alone,) = rating_chat("a", {}, 1, "down")
    assert alone.role == "user"


@pytest.mark.parametrize("model", MODELS[:2])
def test_every_text_is_trained_on_in_a_fixed_part_of_all_combinations(model: Model) -> None:
    found = Rating().examples(model)
    assert len(found) == (NEUTRAL + PROFILED) * 140
    assert len({e.key for e in found}) == len(found)
    assert sum(e.key[1] == "" for e in found) == NEUTRAL * 140
    assert fmean(len(e.key[1].split("|")) for e in found if e.key[1]) > 3
    assert len(FIELDS) == 4
