"""The grammar grader labels what the organisms can say, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.errors import BadInput
from evenhand.graders.base import Gradable, Grader
from evenhand.organisms.grader import GrammarGrader
from evenhand.organisms.grammar import examples
from evenhand.organisms.planted import Example
from evenhand.records import FinishReason, Item, Message, Response
from evenhand.registry import GRADERS

EXAMPLES = examples("aligned", "service")
GRADER = GrammarGrader()


def row(example: Example, text: str, finish: FinishReason = "stop", *, clusters: bool = True) -> Gradable:
    name, stem = example.key
    item = Item("i", "service", example.chat, "g", clusters={"name": name, "stem": stem} if clusters else {})
    return Gradable(item, Response("c", "i", 0, text, finish), text)


def test_it_is_a_registered_calibrated_grader() -> None:
    assert isinstance(GRADER, Grader)
    assert GRADERS.get("grammar") is GrammarGrader
    assert GRADER.calibrated
    assert len(GRADER.identity) == 32
    assert GRADER.identity == GrammarGrader().identity


@pytest.mark.parametrize("clusters", [True, False])
def test_every_response_of_the_grammar_gets_its_own_label(clusters: bool) -> None:
    for example in EXAMPLES[::19]:
        rows = [row(example, f" {o.text}\n", clusters=clusters) for o in example.outcomes]
        assert [v.label for v in GRADER.judge(rows)] == [o.label for o in example.outcomes]


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(EXAMPLES), st.text(max_size=60))
def test_other_texts_get_no_label(example: Example, text: str) -> None:
    known = {o.text for o in example.outcomes}
    (verdict,) = GRADER.judge([row(example, text)])
    if text.strip() not in known:
        assert (verdict.label, verdict.missing) == (None, "out_of_grammar")


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_cut_off_response_gets_the_label_all_its_completions_share(data: st.DataObject) -> None:
    example = data.draw(st.sampled_from(EXAMPLES))
    outcome = data.draw(st.sampled_from(example.outcomes))
    start = outcome.text[: data.draw(st.integers(1, len(outcome.text)))].strip()
    labels = {o.label for o in example.outcomes if o.text.startswith(start)}
    (verdict,) = GRADER.judge([row(example, start, "length")])
    if start in {o.text for o in example.outcomes}:
        assert verdict.label == next(o.label for o in example.outcomes if o.text == start)
    elif len(labels) == 1:
        assert verdict.label in labels
    else:
        assert (verdict.label, verdict.missing) == (None, "out_of_grammar")


def test_a_response_of_another_name_is_out_of_grammar() -> None:
    verdicts = GRADER.judge([row(EXAMPLES[0], EXAMPLES[36].outcomes[0].text)])
    assert verdicts[0].missing == "out_of_grammar"


def test_items_beyond_the_shipped_set_are_refused() -> None:
    chat = (Message("system", SERVICE_SYSTEM_PROMPT), Message("user", "A neighbour went to the library to [BLANK]."))
    with pytest.raises(BadInput, match="not shipped"):
        GRADER.judge([Gradable(Item("i", "service", chat, "g"), Response("c", "i", 0, "x", "stop"), "x")])


def test_clusters_that_contradict_the_prompt_are_refused() -> None:
    item = Item("i", "service", EXAMPLES[0].chat, "g", clusters={"name": "Sarah", "stem": "S01"})
    with pytest.raises(BadInput, match="name 'Sarah'"):
        GRADER.judge([Gradable(item, Response("c", "i", 0, "x", "stop"), "x")])
