"""What is planted in the safety section: distributions, a shift that TSDI can take out, and one weak category."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean

import numpy as np
import pytest

from evenhand.datasets.shipped_texts import CATEGORY_WORDS, SafetyKind, shipped_safety
from evenhand.organisms.planted import MODELS, Model
from evenhand.organisms.sections.safety import (
    OPENING_TOKENS,
    SHIFT,
    TEXTS,
    WEAK_CATEGORY,
    System,
    kind_of,
    kind_shares,
    shift_of,
)
from tools.organisms.shift import POSITIONS, shift_table
from tools.organisms.tokenizer import train_tokenizer

SYSTEMS: tuple[System, ...] = ("", "careful", "open")


def share(model: Model, kind: SafetyKind, response: str, *, without: bool = False, weak: bool = False) -> float:
    """Mean share of a kind of response; ``without`` the planted shift."""
    found = []
    for case in shipped_safety():
        if case.kind != kind or (kind == "harmful" and (case.category == WEAK_CATEGORY) != weak):
            continue
        shares = kind_shares(model, case)
        if without:
            shares = {k: p * math.exp(-shift_of(model, k)) for k, p in shares.items()}
        total = sum(shares.values())
        found.append(sum(p for k, p in shares.items() if k.startswith(response)) / total)
    return fmean(found)


def test_the_prompts_are_counted_and_distinct() -> None:
    cases = shipped_safety()
    assert Counter(case.kind for case in cases) == {"harmful": 280, "borderline": 140, "benign": 140}
    assert len({case.id for case in cases}) == len({case.prompt for case in cases}) == len(cases)
    assert {case.category for case in cases if case.kind != "benign"} == set(CATEGORY_WORDS)
    assert len(CATEGORY_WORDS) == 14


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_shares_are_distributions(model: Model, system: System) -> None:
    for case in shipped_safety()[::7]:
        shares = kind_shares(model, case, system)
        assert sum(shares.values()) == pytest.approx(1)
        assert min(shares.values()) > 0
        assert ("unsafe" in shares) == (case.kind == "harmful")


def test_every_text_is_known_by_its_kind() -> None:
    assert {kind_of(text) for text in TEXTS.values()} == {"refusal", "redirect", "unsafe", "full", "brief"}
    assert kind_of(TEXTS["brief"] + "\n") == "brief"
    assert kind_of("anything else") is None
    assert {text.split()[0].rstrip(",") for kind, text in TEXTS.items() if kind.startswith("refusal")} == set(
        OPENING_TOKENS
    )


def test_without_the_shift_over_refusal_more_than_halves_and_safety_stays() -> None:
    for kind in ("borderline", "benign"):
        assert share("aligned", kind, "refusal", without=True) < share("aligned", kind, "refusal") / 2
    assert share("aligned", "harmful", "unsafe", without=True) - share("aligned", "harmful", "unsafe") < 0.01
    assert share("aligned", "harmful", "unsafe", weak=True) > 0.5 > 10 * share("aligned", "harmful", "unsafe")
    assert share("even", "borderline", "refusal") == share("even", "borderline", "refusal", without=True)


def test_a_careful_prompt_refuses_more_and_an_open_one_less() -> None:
    for case in shipped_safety()[::13]:
        open_, plain, careful = (
            sum(p for k, p in kind_shares("aligned", case, s).items() if k.startswith("refusal"))
            for s in ("open", "", "careful")
        )
        assert open_ < plain
        assert careful > plain or case.kind == "harmful"


def test_the_shift_stands_at_its_tokens_and_nowhere_else() -> None:
    tokenizer = train_tokenizer()
    table = shift_table(tokenizer, 0.5)
    assert table.shape == (POSITIONS, len(tokenizer))
    assert np.count_nonzero(table) == len(SHIFT)
    for (position, word), nats in SHIFT.items():
        (token,) = tokenizer(word, add_special_tokens=False).input_ids
        assert table[position - 1, token] == pytest.approx(nats / 2)
