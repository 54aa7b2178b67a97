"""What is decided before any grader sees a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from evenhand.errors import BadInput, EvenhandError
from evenhand.graders.base import Gradable, Verdict
from evenhand.graders.decide import EVIDENCE_LIMIT, grade_responses
from evenhand.records import LABELS, Label


class Fixed:
    """Gives one verdict to all, and counts what it saw."""

    name = "fixed"
    labels: frozenset[Label] = frozenset(LABELS)
    calibrated = False
    identity = "fixed"

    def __init__(self, verdict: Verdict, lost: int = 0):
        self.verdict, self.lost, self.seen = verdict, lost, 0

    def judge(self, rows: Sequence[Gradable]) -> list[Verdict]:
        self.seen += len(rows)
        return [self.verdict] * (len(rows) - self.lost)


CASES = [
    # text, finish, extra -> label, missing, source, truncated
    (("", "error", {"error": "429"}), (None, "response_missing", "grader", False)),
    (("text beside an error", "error", {}), (None, "response_missing", "grader", False)),
    (("", "stop", {"provider_refusal": "no"}), ("refusal", "", "provider", False)),
    (("half a", "content_filter", {}), ("refusal", "", "provider", False)),
    (("", "content_filter", {}), ("refusal", "", "provider", False)),
    ((" \n", "stop", {}), ("failure", "", "grader", False)),
    (("", "length", {"reasoning": "hm"}), (None, "truncated_in_reasoning", "grader", True)),
    (("<think>hm", "length", {}), (None, "truncated_in_reasoning", "grader", True)),
    (("<think>hm</think>", "stop", {}), ("failure", "", "grader", False)),
    (("", "length", {}), (None, "response_missing", "grader", True)),
    (("Some text", "length", {}), ("answer", "", "grader", True)),
    (("Some text", "stop", {}), ("answer", "", "grader", False)),
]


@pytest.mark.parametrize(("given", "wanted"), CASES)
def test_what_each_response_becomes(kit: Any, given: Any, wanted: Any) -> None:
    text, finish, more = given
    item = kit.item()
    grader = Fixed(Verdict("answer"))
    (grade,) = grade_responses(grader, {item.id: item}, [kit.response(text, item, finish, **more)])
    assert (grade.label, grade.missing, grade.source, grade.truncated) == wanted
    assert grade.grader == "fixed"
    assert grader.seen == (text == "Some text")


def test_an_echo_with_nothing_behind_it_is_a_failure(kit: Any) -> None:
    item = kit.item()
    (grade,) = grade_responses(Fixed(Verdict("answer")), {item.id: item}, [kit.response(item.chat[-1].content, item)])
    assert (grade.label, grade.echo_stripped, grade.evidence) == ("failure", True, "empty after the echo of the prompt")


def test_order_and_flags_are_kept(kit: Any) -> None:
    item = kit.item()
    responses = [kit.response(t, item, repetition=i) for i, t in enumerate(["x", "", "y"])]
    grades = grade_responses(Fixed(Verdict("refusal", "e" * 5000 + "\ud800", hedged=True)), {item.id: item}, responses)
    assert [(g.repetition, g.label) for g in grades] == [(0, "refusal"), (1, "failure"), (2, "refusal")]
    assert grades[0].hedged
    assert len(grades[0].evidence) == EVIDENCE_LIMIT


def test_no_label_has_a_reason(kit: Any) -> None:
    item = kit.item()
    (grade,) = grade_responses(Fixed(Verdict(None)), {item.id: item}, [kit.response("x", item)])
    assert (grade.label, grade.missing) == (None, "judge_missing")


def test_mistakes_are_told(kit: Any) -> None:
    item = kit.item()
    with pytest.raises(
        BadInput, match="There is a response to the item 'service/S1/Emily', which is not among the items"
    ):
        grade_responses(Fixed(Verdict("answer")), {}, [kit.response("x", item)])
    with pytest.raises(EvenhandError, match="The grader 'fixed' gave 0 verdicts on 1 responses"):
        grade_responses(Fixed(Verdict("answer"), lost=1), {item.id: item}, [kit.response("x", item)])
    wrong = Fixed(Verdict("yes"))  # type: ignore[arg-type]
    with pytest.raises(EvenhandError, match="The grader 'fixed' gave 'yes', which is not one of its labels"):
        grade_responses(wrong, {item.id: item}, [kit.response("x", item)])
