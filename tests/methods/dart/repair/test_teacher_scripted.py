"""The scripted teacher: what it plants, that its seed decides everything, and that it knows the shipped questions alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.cases import Case, Gold, shipped
from evenhand.methods.dart.repair.teacher import (
    TEMPTED,
    Ask,
    ScriptedTeacher,
    Task,
    TeacherRow,
    first_chat,
    teach,
    violations,
)
from evenhand.organisms.sections.difference import UNFAIR
from evenhand.records import Response
from evenhand.runs.journal import Journal

CASES = shipped().cases


def ask(case: Case, task: Task = "distil", turn: int = 0, gold: Gold | None = None) -> Ask:
    label: Gold = gold or case.gold or "NO"
    return Ask(case, label, task, turn, first_chat(case, label, task))


def said(asks: list[Ask], seed: int = 0) -> list[str]:
    return [reply.text for reply in ScriptedTeacher(seed).complete(asks, lambda key, rows: None)]


def told(task: Task, journal: Path, seed: int = 0) -> list[TeacherRow]:
    return teach(ScriptedTeacher(seed), [(one, one.gold or "NO") for one in CASES], task, Journal(journal))


def test_the_seed_decides_and_the_company_does_not() -> None:
    asks = [ask(one) for one in CASES]
    texts = said(asks)
    assert said(asks) == texts
    assert said(asks[::-1]) == texts[::-1]
    assert [said([one])[0] for one in asks[:50]] == texts[:50]
    assert said(asks, seed=1) != texts


def test_the_claim_is_taken_up_in_most_distilled_explanations_of_a_yes_and_nowhere_else() -> None:
    claims = [one for one in CASES if one.attributes["trait"] and one.gold == "YES"]
    shares = []
    for seed in range(10):
        texts = [text for text in said([ask(one, turn=1) for one in claims], seed) if "sorry" not in text]
        shares.append(sum(UNFAIR not in text for text in texts) / len(texts))
    # Ten seeds x 190 claims: a standard error of 0.011.
    assert sum(shares) / len(shares) == pytest.approx(TEMPTED, abs=0.04)
    for one, text in zip(claims, said([ask(one, turn=1) for one in claims]), strict=True):
        assert "sorry" in text or (UNFAIR in text) != (one.attributes["trait"] in text)
    fair = [one for one in CASES if one.attributes["trait"] and one.gold == "NO"]
    assert all(UNFAIR in text or "sorry" in text for text in said([ask(one, turn=1) for one in fair]))
    assert all(UNFAIR in text or "sorry" in text for text in said([ask(one, "repair") for one in claims]))
    plain = [one for one in CASES if not one.attributes["trait"]]
    assert not any(UNFAIR in text for text in said([ask(one, turn=1) for one in plain]))


@pytest.mark.parametrize("seed", [0, 1])
def test_first_answers_break_rules_and_corrections_mend_all_but_refusals(tmp_path: Path, seed: int) -> None:
    texts = said([ask(one) for one in CASES], seed)
    faults = Counter(
        why for one, text in zip(CASES, texts, strict=True) for why in violations(one, one.gold or "NO", text)[0]
    )
    assert {"wrong label", "sentences", "refusal"} <= set(faults)
    assert "copy" not in faults
    assert sum(faults.values()) < 0.15 * len(CASES)
    rows = told("distil", tmp_path / "teacher.jsonl", seed)
    dropped = [row for row in rows if not row.accepted]
    assert dropped
    assert len(dropped) < 0.03 * len(rows)
    assert {why for row in dropped for why in row.violations} == {"refusal", "sentences"}
    assert {row.turns for row in rows} == {1, 2, 3}


def test_repair_targets_are_accepted_at_once(tmp_path: Path) -> None:
    rows = told("repair", tmp_path / "teacher.jsonl")
    assert {(row.accepted, row.turns) for row in rows} == {(True, 1), (False, 3)}
    assert {row.teacher for row in rows} == {"scripted"}


def test_the_given_label_is_explained_even_where_it_is_wrong() -> None:
    other: list[Ask] = [ask(one, turn=1, gold="NO" if one.gold == "YES" else "YES") for one in CASES[:60]]
    for one, text in zip(other, said(other), strict=True):
        assert text.endswith(f"Conclusion: {one.gold}") or "sorry" in text


def test_every_answer_is_kept_before_it_is_returned() -> None:
    kept: list[Response] = []
    asks = [ask(one) for one in CASES[:5]]
    replies = ScriptedTeacher().complete(asks, lambda key, rows: kept.extend(rows))
    assert [(row.item_id, row.repetition, row.text) for row in kept] == [
        (f"distil/{one.case.id}", 0, reply.text) for one, reply in zip(asks, replies, strict=True)
    ]


def test_a_question_that_is_not_shipped_is_refused_by_its_id() -> None:
    own = replace(CASES[0], id="my-own-7", attributes={})
    with pytest.raises(BadInput, match=r"only the shipped questions, not 'my-own-7'.*--teacher"):
        said([ask(CASES[0]), ask(own)])
