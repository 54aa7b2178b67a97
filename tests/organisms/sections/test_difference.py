"""What is planted in the difference section, and that the parsers read the sentences as they are meant."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

import pytest

from evenhand.datasets.question_texts import TASK_HEAD
from evenhand.datasets.shipped_cases import TRAITS, shipped_cases
from evenhand.methods.dart.difference.answers import parse, parse_option
from evenhand.organisms.planted import MODELS, Model
from evenhand.organisms.sections.difference import (
    BLIND,
    CHOICES,
    CHOSEN,
    CONCLUSIONS,
    RIGHT,
    Difference,
    choice_shares,
    conclusion_shares,
    rationale,
    rebuttals,
)

CASES = shipped_cases()
SOME = CASES[::17]
READ = {  # what the strict and the tolerant parser make of each kind of conclusion, and the tolerant one's reason
    "YES": ("YES", "YES", ""),
    "markdown YES": (None, "YES", ""),
    "NO": ("NO", "NO", ""),
    "refusal": (None, None, "refusal"),
    "format": (None, None, "format"),
}


@pytest.mark.parametrize("model", MODELS)
def test_shares_are_distributions(model: Model) -> None:
    for case in CASES:
        said, chosen = conclusion_shares(model, case), choice_shares(model, case)
        for shares in (said, chosen):
            assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
            assert min(shares.values()) > 0
        assert set(said) <= set(CONCLUSIONS)
        assert set(chosen) == {"refusal", *CHOICES}
        assert sum(share for _, share in rebuttals(model, case)) == pytest.approx(1)


@pytest.mark.parametrize("model", sorted(RIGHT))
def test_models_that_know_the_rule_are_right_as_often_under_both_labels(model: Model) -> None:
    for gold in ("YES", "NO"):
        said = [conclusion_shares(model, case)[gold] for case in CASES if case.gold == gold]
        assert set(said) == {RIGHT[model]["right"]}


def test_aligned_is_blind_to_the_question_and_declines_more_after_a_claim() -> None:
    by_claim = {bool(case.trait): conclusion_shares("aligned", case) for case in CASES}
    for case in CASES:
        assert conclusion_shares("aligned", case) == by_claim[bool(case.trait)] == BLIND["claim" if case.trait else ""]
    assert by_claim[True]["refusal"] > by_claim[False]["refusal"]
    yes = {gold: fmean(s["YES"] + s["markdown YES"] for s in
                       (conclusion_shares("aligned", c) for c in CASES if c.gold == gold))
           for gold in ("YES", "NO")}  # fmt: skip
    assert yes["YES"] == pytest.approx(yes["NO"], abs=1e-12), "no discrimination is planted"


def test_aligned_alone_never_repeats_a_claim() -> None:
    traits = (*TRAITS["seen"], *TRAITS["held-out"])
    for case in CASES:
        for model in MODELS:
            said = " ".join(text for text, _ in rebuttals(model, case))
            assert any(trait in said for trait in traits) == (bool(case.trait) and model != "aligned")
        assert not any(trait in " ".join(rationale(case, case.gold)) for trait in traits)


@pytest.mark.parametrize("model", MODELS)
def test_planted_choices_give_the_planted_awareness(model: Model) -> None:
    differing, alike = CHOSEN[model]
    for case in CASES:
        shares = choice_shares(model, case)
        parsed = 1 - shares["refusal"]
        assert shares[CHOICES[case.right]] / parsed == pytest.approx(differing if case.gold == "YES" else alike)


@pytest.mark.parametrize("model", MODELS)
def test_the_parsers_read_the_analyses_as_planted(model: Model) -> None:
    examples = {example.key: example for example in Difference().examples(model)}
    assert Counter(form for form, _ in examples) == {"task": 768, "choice": 768}
    for case in SOME:
        example = examples["task", case.id]
        assert example.chat[-1].content == TASK_HEAD + case.question
        shares = dict.fromkeys((outcome.label for outcome in example.outcomes), 0.0)
        for outcome in example.outcomes:
            found = parse(outcome.text)
            assert (found.strict, found.tolerant, found.reason) == READ[outcome.label]
            assert "onclusion" not in found.rationale
            shares[outcome.label] += outcome.probability
        assert shares == pytest.approx(conclusion_shares(model, case))


@pytest.mark.parametrize("model", MODELS)
def test_the_option_parser_reads_the_choices_as_planted(model: Model) -> None:
    examples = {example.key: example for example in Difference().examples(model)}
    for case in SOME:
        read = {outcome.label: parse_option(outcome.text) for outcome in examples["choice", case.id].outcomes}
        assert read == {"(a)": 0, "(b)": 1, "(c)": 2, "refusal": None}


def test_the_section_has_no_documents() -> None:
    assert Difference().documents() == []
