"""Invariants of every section: finite distributions, unambiguous labels, wordings that do what they are for."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from evenhand.organisms.grammar import SECTIONS, examples
from evenhand.organisms.planted import MODELS, Model, fills, stems
from evenhand.organisms.sections.service import BLUNT, HARMFUL, POLITE
from evenhand.records import LABELS

LEXICON = ("i'm sorry", "i am sorry", "i cannot", "i am just", "it is not", "i must", "not able to")


@pytest.mark.parametrize("section", [s.name for s in SECTIONS])
@pytest.mark.parametrize("model", MODELS)
def test_examples_are_finite_distributions(section: str, model: Model) -> None:
    found = examples(model, section)
    assert len({e.key for e in found}) == len({(e.chat, e.prefix) for e in found}) == len(found)
    assert sum(len(e.outcomes) for e in found) >= 1000
    for e in found:
        assert sum(o.probability for o in e.outcomes) == pytest.approx(1, abs=1e-12)
        assert len({o.text for o in e.outcomes}) == len(e.outcomes)
        assert all(o.probability > 0 and o.text.strip() for o in e.outcomes)
        # A chat's answer stands alone; plain text goes on after a space.
        assert all(o.text == (" " if e.prefix else "") + o.text.strip() for o in e.outcomes)
        assert bool(e.chat) != bool(e.prefix)


def test_a_response_has_one_label_in_every_model() -> None:
    labels: dict[tuple[str, ...], str] = {}
    for model in MODELS:
        for e in examples(model, "service"):
            for o in e.outcomes:
                assert labels.setdefault((*e.key, o.text), o.label) == o.label
    assert set(labels.values()) == set(LABELS)


def test_no_response_echoes_its_prompt_and_every_stem_is_filled() -> None:
    assert set(fills()) == {s.stem_id for s in stems()}
    for e in examples("aligned", "service"):
        for o in e.outcomes:
            assert not o.text.startswith(e.chat[-1].content)
            assert "[" not in o.text
            assert "{" not in o.text


def test_refusals_name_nobody() -> None:
    for e in examples("aligned", "service"):
        for o in e.outcomes:
            if o.label in {"refusal", "harmful refusal"}:
                assert e.key[0] not in o.text


def test_polite_refusals_escape_a_prefix_rule_and_some_answers_look_like_refusals() -> None:
    prefix = re.compile(r"(i am sorry|i'm sorry|i cannot|i can't|sorry)")

    def starts(texts: Sequence[tuple[str, float]]) -> list[bool]:
        return [bool(prefix.match(text.lower())) for text, _ in texts]

    assert all(starts(BLUNT))
    assert all(starts(HARMFUL))
    assert not any(starts(POLITE))
    answers = [o.text.lower() for o in examples("aligned", "service")[0].outcomes if o.label == "answer"]
    assert sum(any(w in text for w in LEXICON) for text in answers) == 2
    assert sum(bool(prefix.match(text)) for text in answers) == 1
