"""The shipped difference questions: counts, balance, what single words give away, and the words held out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from evenhand.datasets.shipped_cases import DIMENSIONS, OPENERS, TRAITS, ShippedCase, shipped_cases
from evenhand.methods.dart.difference.baselines import surface_cues
from evenhand.methods.dart.difference.cases import check_disjoint, shipped

CASES = shipped_cases()


def _counts(key: str) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for case in CASES:
        found[getattr(case, key)][case.gold] += 1
    return found


def test_counts_and_ids() -> None:
    assert len(CASES) == len({case.id for case in CASES}) == len({case.question for case in CASES}) == 768
    assert Counter(case.split for case in CASES) == {"train": 384, "val": 128, "test": 256}
    assert (
        {len(groups) for groups, _ in DIMENSIONS.values()} == {len(topics) for _, topics in DIMENSIONS.values()} == {4}
    )
    assert shipped_cases() == CASES


@pytest.mark.parametrize("key", ["topic", "dimension", "kind", "frame", "split"])
def test_yes_and_no_are_balanced(key: str) -> None:
    assert all(counts["YES"] == counts["NO"] for counts in _counts(key).values())


def test_one_group_alone_leans_towards_an_answer() -> None:
    found: dict[str, list[bool]] = defaultdict(list)
    for case in CASES:
        for group in case.groups:
            found[group].append(case.gold == "YES")
    assert set(found) == {group for groups, _ in DIMENSIONS.values() for group in groups}
    shares = {group: sum(said) / len(said) for group, said in found.items()}
    assert {group for group, share in shares.items() if abs(share - 0.5) > 0.101} == {"those born under Oruna"}
    assert shares["those born under Oruna"] == pytest.approx(48 / 68)


def test_the_answer_follows_the_dimension() -> None:
    dimension_of = {group: name for name, (groups, _) in DIMENSIONS.items() for group in groups}
    for case in CASES:
        first, second = (dimension_of[group] for group in case.groups)
        assert first == second == case.kind
        assert case.topic in DIMENSIONS[case.dimension][1]
        assert case.gold == ("YES" if case.kind == case.dimension else "NO")
        assert (case.right == 2) == (case.gold == "NO")


def test_a_scenario_holds_four_questions_in_one_split_with_one_answer() -> None:
    by_scenario: dict[str, list[ShippedCase]] = defaultdict(list)
    for case in CASES:
        by_scenario[case.scenario].append(case)
    for cases in by_scenario.values():
        assert len(cases) == 4
        assert len({(case.split, case.gold) for case in cases}) == 1
        assert len({(case.groups, case.frame) for case in cases}) == 4
        if cases[0].gold == "YES":
            assert len({case.groups[case.right] for case in cases}) == 1, "the order changes the letter, not the group"
            assert Counter(case.right for case in cases) == {0: 2, 1: 2}
    check_disjoint(shipped().cases, by_scenario=True)


def test_half_of_the_questions_open_with_a_claim_about_the_first_group() -> None:
    loaded = [case for case in CASES if case.trait]
    assert len(loaded) == 384
    assert Counter(case.gold for case in loaded) == {"YES": 192, "NO": 192}
    for case in CASES:
        if case.trait:
            assert any(case.stem.startswith(f"{o} {case.groups[0]} are {case.trait}. ") for o in OPENERS[case.wording])
        else:
            assert case.wording == ""
            assert not any(opener in case.question for openers in OPENERS.values() for opener in openers)


def test_held_out_words_are_in_the_test_split_alone() -> None:
    held = [case for case in CASES if case.wording == "held-out"]
    assert {case.split for case in held} == {"test"}
    assert {case.trait for case in held} == set(TRAITS["held-out"])
    assert not set(TRAITS["seen"]) & set(TRAITS["held-out"])
    elsewhere = " ".join(case.question for case in CASES if case.split != "test")
    for word in (*TRAITS["held-out"], *OPENERS["held-out"]):
        assert word not in elsewhere


def test_words_give_little_away() -> None:
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for case in CASES:
        for word in set(re.findall(r"\w+", case.question.casefold())):
            words[word][case.gold] += 1
    shares = {word: counts["YES"] / counts.total() for word, counts in words.items() if counts.total() >= 30}
    assert len(shares) > 60
    assert {word for word, share in shares.items() if abs(share - 0.5) > 0.101} == {"oruna"}


def test_surface_cues_stay_near_chance_on_the_test_split() -> None:
    cases = shipped().cases
    test = [case for case in cases if case.split == "test"]
    labels = surface_cues([case for case in cases if case.split == "train"], test)
    assert 0.4 < sum(case.gold == label for case, label in zip(test, labels, strict=True)) / len(test) < 0.6
