"""What any accuracy is held against: one class, YES for all, and a classifier that sees nothing but words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.baselines import LEAST_TRAIN, Baseline, baselines, surface_cues
from evenhand.methods.dart.difference.cases import Case, Cases, Gold, read_benchmarks

Finder = Callable[[str], Path]
NAMES = ["majority (YES)", "always YES", "surface cues", "surface cues"]


def _cases(n: int = 60, *, yes: float = 0.5, prompt: str = "{cue} question number {k} here") -> list[Case]:
    """Every scenario has two rows; the word "cue" stands in the YES rows alone."""
    out = []
    for k in range(n):
        gold: Gold = "YES" if k % 20 < 20 * yes else "NO"
        split = ("train", "train", "train", "val", "test")[k % 5]
        out.append(
            Case(
                id=f"c{k}", prompt=prompt.format(cue="cue" if gold == "YES" else "none", k=k), gold=gold,
                scenario=f"s{k // 2}", twins=f"s{k // 2}", split=split,
            )
        )  # fmt: skip
    return out


def _accuracy(found: Baseline, cases: Sequence[Case] | None = None) -> float:
    return fmean(case.gold == label for case, label in zip(cases or found.cases, found.labels, strict=True))


def test_each_baseline_and_what_it_is_told_on() -> None:
    cases = _cases()
    test = [case for case in cases if case.split == "test"]
    majority, always, row, scenario = found = baselines(cases, test)
    assert [b.name for b in found] == NAMES
    assert [b.split for b in found] == ["row", "row", "row", "scenario"]
    assert majority.cases == always.cases == row.cases == tuple(test)
    assert set(majority.labels) == set(always.labels) == {"YES"}
    assert _accuracy(row) == _accuracy(scenario) == 1.0, "one word gives the label away"
    held = {case.scenario for case in scenario.cases}
    assert len(scenario.cases) == 6
    assert all(sum(case.scenario == name for case in scenario.cases) == 2 for name in held), "whole scenarios"


def test_the_majority_is_that_of_the_training_rows() -> None:
    cases = _cases(yes=0.3)
    judged = [case for case in cases if case.split == "test" and case.gold == "YES"]
    found = baselines(cases, judged)
    assert found[0].name == "majority (NO)"
    assert set(found[0].labels) == {"NO"}
    assert set(found[1].labels) == {"YES"}
    assert _accuracy(found[0]) == 0.0
    without_split = [replace(case, split="") for case in cases]
    assert baselines(without_split, [c for c in without_split if c.gold == "YES"])[0].name == "majority (YES)"


def test_the_classifier_is_never_told_on_its_training_rows() -> None:
    cases = _cases()
    row = baselines(cases, cases)[2]
    assert {case.split for case in row.cases} == {"val", "test"}


def test_rows_without_a_label_are_left_out() -> None:
    cases = [*_cases(), Case(id="u", prompt="cue", gold=None, scenario="u", twins="u", split="test")]
    for found in baselines(cases, cases):
        assert found.cases
        assert all(case.gold for case in found.cases)
        assert len(found.cases) == len(found.labels)


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ([replace(case, split="") for case in _cases()], "0 labelled training rows, or one label only"),
        (_cases(30), f"{18} labelled training rows"),
        (_cases(yes=1.0), "or one label only"),
        ([case for case in _cases() if case.split == "train"], "no test rows"),
        ([replace(case, prompt=chr(0x4E00 + k)) for k, case in enumerate(_cases())], "No word is in two training rows"),
        ([replace(case, prompt=f"w{k}") for k, case in enumerate(_cases())], "No word is in two training rows"),
    ],
    ids=["no split", "few rows", "one label", "no test rows", "no words", "no word twice"],
)
def test_a_classifier_that_cannot_be_trained_says_why(cases: list[Case], reason: str) -> None:
    found = baselines(cases, cases)
    assert [b.name.split(" (")[0] for b in found] == ["majority", "always YES", "surface cues", "surface cues"]
    assert reason in found[2].reason
    assert (found[2].cases, found[2].labels) == ((), ())
    assert LEAST_TRAIN == 20


def test_no_cases_at_all() -> None:
    for found in baselines([], []):
        assert found.labels == ()


def test_surface_cues_refuse_texts_without_shared_words() -> None:
    with pytest.raises(BadInput, match="No word is in two training rows"):
        surface_cues([replace(case, prompt=f"w{k}") for k, case in enumerate(_cases())], _cases())


# --- the published benchmarks ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmarks(public_data: Finder) -> Cases:
    return read_benchmarks(public_data("difference_awareness"))


@pytest.mark.data
def test_published_surface_cues(benchmarks: Cases) -> None:
    majority, always, row, scenario = baselines(benchmarks.cases, benchmarks.of("test"))
    assert _accuracy(majority) == _accuracy(always) == 0.5
    assert len(row.labels) == 1600
    assert _accuracy(row) == pytest.approx(0.903, abs=0.01)
    assert _accuracy(scenario) == pytest.approx(0.777, abs=0.01)

    def of(found: Baseline, key: str, value: str) -> float:
        kept = [
            (c.gold == label) for c, label in zip(found.cases, found.labels, strict=True) if getattr(c, key) == value
        ]
        return fmean(kept)

    assert of(row, "gold", "YES") == pytest.approx(0.891, abs=0.015)
    assert of(row, "gold", "NO") == pytest.approx(0.914, abs=0.015)
    told = {"D1": 0.695, "D2": 0.705, "D3": 0.99, "D4": 0.855, "N1": 1.0, "N2": 1.0, "N3": 0.975, "N4": 1.0}
    assert {name: of(row, "benchmark", name) for name in told} == pytest.approx(told, abs=0.015)
    assert of(scenario, "benchmark", "D3") < of(row, "benchmark", "D3") - 0.2
