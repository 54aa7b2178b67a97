"""The teacher of DART: acceptance tests, correction turns, failures, and resuming without asking anything twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.datasets.question_texts import task_chat
from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, TextOnly, Verb
from evenhand.engines.planning import blocks
from evenhand.errors import EngineError
from evenhand.methods.dart.difference.cases import Case, Gold
from evenhand.methods.dart.repair import teacher
from evenhand.methods.dart.repair.teacher import (
    Ask,
    EngineTeacher,
    Reply,
    TeacherRow,
    first_chat,
    item_of,
    rows_frame,
    sentences,
    teach,
    violations,
)
from evenhand.records import Message, Response
from evenhand.runs.journal import Journal

PROMPT = "Some people say that tea should be served at noon to every guest of the house, and others do not agree."
GOOD = "The rule is the same for all. Nobody is treated otherwise."


def case(name: str, gold: Gold = "NO", benchmark: str = "D1") -> Case:
    return Case(name, f"{PROMPT} ({name})", gold, benchmark)


def wanted(*cases: Case) -> list[tuple[Case, Gold]]:
    return [(one, one.gold or "NO") for one in cases]


def good(gold: str) -> str:
    return f"{GOOD}\nConclusion: {gold}"


class ToyEngine(TextOnly):
    """Answers (case, turn) by a function, one request a batch, and remembers what it was asked."""

    spec = "toy/teacher"
    verbs: frozenset[Verb] = frozenset({"generate"})

    def __init__(self, answer: Callable[[str, int], str | BaseException | None]):
        self.answer = answer
        self.asked: list[Request] = []
        self.samplings: list[Sampling] = []

    def identity(self) -> Identity:
        return Identity(self.spec, "none")

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        return blocks(requests, 1)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        return Estimate(len(requests), 0, 0, True)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """None stands for a request that failed, an exception is raised."""
        self.samplings.append(sampling)
        for batch in batches:
            (request,) = batch.requests
            self.asked.append(request)
            text = self.answer(request.item_id.partition("/")[2], request.repetition)
            if isinstance(text, BaseException):
                raise text
            row = Response(config, request.item_id, request.repetition, text or "", "stop")
            if text is None:
                row = Response(config, request.item_id, request.repetition, "", "error", error="server down")
            yield batch, [row]

    def close(self) -> None:
        """Nothing to release."""

    def counts(self) -> Counter[tuple[str, int]]:
        """How often each (case, turn) was asked."""
        return Counter((request.item_id, request.repetition) for request in self.asked)


def by_turn(*answers: str | None) -> Callable[[str, int], str | BaseException | None]:
    """The same answers for every case, by turn."""
    return lambda _, turn: answers[turn]


def run(engine: ToyEngine, journal: Path, *cases: Case, **more: object) -> list[TeacherRow]:
    return teach(EngineTeacher(engine), wanted(*cases), "distil", Journal(journal), **more)  # type: ignore[arg-type]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "teacher.jsonl"


# acceptance tests


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two! Three?", 3),
        ("One... Two?!", 2),
        ("About 3.5 percent do. The others do not.", 2),
        ("Some foods, e.g. pork, are forbidden. Mr. and Mrs. Smith know it, i.e. they asked.", 2),
        ("Dr. Jones said so. St. Mary's did, too.", 2),
        ("See no. 5 of the list. It is short.", 2),
        ("They have tea, cake, etc. at noon. It is so.", 2),
        ("The answer is no. It is the same for all.", 2),
        ("They have tea, cake, etc. Nobody else does.", 2),
        ('They said "yes." Then they left.', 2),
        ("They said “yes.” Then they left.", 2),
        ("One line\nand its end.\n\nAnother.", 2),
        (" . . .", 3),
    ],
)
def test_sentences_are_counted_without_abbreviations(text: str, count: int) -> None:
    assert sentences(text) == count


@given(st.integers(0, 6), st.sampled_from(".!?"))
def test_plain_sentences_are_counted_exactly(count: int, end: str) -> None:
    assert sentences(" ".join([f"It is so{end}"] * count)) == count


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (good("NO"), []),
        (f"{GOOD} It is so. It is known.\nConclusion: NO", []),
        (good("YES"), ["wrong label"]),
        (f"{GOOD}\nConclusion: YES or NO", ["no conclusion"]),
        (GOOD, ["no conclusion"]),
        ("", ["no conclusion", "sentences"]),
        ("Conclusion: NO", ["sentences"]),
        ("It is so.\nConclusion: NO", ["sentences"]),
        (f"{GOOD} Three. Four. Five.\nConclusion: NO", ["sentences"]),
        ("I am sorry, but I cannot write this. It is harmful.", ["refusal"]),
        ("I’m sorry. I can’t help with that.\nConclusion: NO", ["refusal"]),
        ("As an AI, I do not judge. I won't do it.\nConclusion: NO", ["refusal"]),
        ("No, they are alike. It is not appropriate to tell them apart.\nConclusion: NO", []),
        (f"Here is a copy: {PROMPT[:60]}. It is so.\nConclusion: NO", ["copy"]),
        (f"Here is a copy: {PROMPT[:60]}.\nConclusion: YES", ["wrong label", "sentences", "copy"]),
    ],
)
def test_every_violation_is_named(text: str, found: list[str]) -> None:
    assert violations(case("x"), "NO", text)[0] == found


def test_the_training_text_is_the_explanation_with_one_conclusion_line() -> None:
    said = f"  {GOOD}\n\n**Conclusion:** NO\nI hope that helps.\nConclusion: NO"
    assert violations(case("x"), "NO", said) == ([], good("NO"))


@pytest.mark.parametrize(
    ("start", "length", "copied"),
    [(0, 40, True), (0, 39, False), (20, 40, True), (40, 40, True), (10, 40, False), (10, 50, True), (1, 58, False)],
)
def test_a_copy_is_forty_characters_from_every_twentieth_place(start: int, length: int, copied: bool) -> None:
    part = PROMPT[start : start + length]
    text = f"They said: {part}# and it is so. That is all.\nConclusion: NO"
    assert violations(case("x"), "NO", text)[0] == (["copy"] if copied else [])


def test_white_space_hides_no_copy() -> None:
    text = f"They said: {PROMPT[:41].replace(' ', '   ')}. That is\tall.\nConclusion: NO"
    assert violations(case("x"), "NO", text)[0] == ["copy"]
    spread = Case("x", PROMPT.replace(" ", " \n\t"), "NO")
    assert violations(spread, "NO", f"They said: {PROMPT[:40]}. That is all.\nConclusion: NO")[0] == ["copy"]


def test_a_prompt_shorter_than_a_copy_may_be_named() -> None:
    short = Case("x", "Do they drink tea?", "NO")
    assert violations(short, "NO", "Do they drink tea? They do.\nConclusion: NO")[0] == []


# what is asked


@pytest.mark.parametrize("gold", ["YES", "NO"])
def test_the_label_is_the_teachers_alone(gold: Gold) -> None:
    one = case("x")
    for task in ("distil", "repair"):
        system, user = first_chat(one, gold, task)
        assert (system.role, user.role) == ("system", "user")
        assert f"Label: {gold}" in user.content
        assert user.content.endswith(one.prompt)
    assert first_chat(one, "YES", "distil") != first_chat(one, "NO", "distil")
    assert first_chat(one, gold, "distil")[0] != first_chat(one, gold, "repair")[0]
    student = " ".join(message.content for message in task_chat(one.prompt))
    assert "Label" not in student
    assert teacher._ANCHOR[gold] not in student


def test_corrections_carry_the_chat_and_name_every_fault(journal: Path) -> None:
    bad = "It is so.\nConclusion: YES"
    engine = ToyEngine(by_turn(bad, "No idea", good("NO")))
    (row,) = run(engine, journal, case("x"))
    first, second, third = (request.chat for request in engine.asked)
    assert first == first_chat(case("x"), "NO", "distil")
    assert second[:3] == (*first, Message("assistant", bad))
    assert "end with Conclusion: NO" in second[3].content
    assert "two to four sentences" in second[3].content
    assert third[:5] == (*second, Message("assistant", "No idea"))
    assert "The last line must read Conclusion: NO" in third[5].content
    assert [request.repetition for request in engine.asked] == [0, 1, 2]
    assert (row.accepted, row.target, row.turns, row.violations) == (True, good("NO"), 3, ())
    assert (row.teacher, row.task, row.benchmark, row.gold) == ("toy/teacher", "distil", "D1", "NO")


@pytest.mark.parametrize("why", [*teacher._CORRECTION])
def test_every_violation_has_a_correction_of_its_own(why: str) -> None:
    ask = Ask(case("x"), "NO", "distil", 0, first_chat(case("x"), "NO", "distil"))
    wish = teacher._corrected(ask, "Text.", [why]).chat[-1].content
    assert teacher._CORRECTION[why].format(gold="NO") in wish
    assert "{" not in wish


def test_the_published_settings_are_used(journal: Path) -> None:
    engine = ToyEngine(by_turn(good("NO")))
    run(engine, journal, case("x"))
    assert engine.samplings == [Sampling(temperature=0.2, top_p=1.0, max_tokens=512, stop=(), seed=0)]


# what becomes of bad teachers


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I cannot write this.", ("refusal", "sentences")),
        (good("YES"), ("wrong label",)),
        ("\x00{{ }} <|end|> Conclusion", ("no conclusion", "sentences")),
        ("", ("no conclusion", "sentences")),
    ],
)
def test_a_teacher_that_never_does_as_told_is_asked_three_times_and_dropped(
    journal: Path, said: str, why: tuple[str, ...]
) -> None:
    engine = ToyEngine(by_turn(said, said, said))
    (row,) = run(engine, journal, case("x"))
    assert (row.accepted, row.target, row.violations, row.turns) == (False, "", why, 3)
    assert len(engine.asked) == 3


def test_rows_come_in_the_order_asked_whatever_turn_settled_them(journal: Path) -> None:
    engine = ToyEngine(lambda name, turn: good("NO") if turn >= int(name) else "What?")
    rows = run(engine, journal, case("2"), case("0"), case("3"), case("1"))
    assert [(row.case, row.accepted, row.turns) for row in rows] == [
        ("2", True, 3),
        ("0", True, 1),
        ("3", False, 3),
        ("1", True, 2),
    ]


def test_the_check_rejects_and_is_asked_about_texts_that_passed_alone(journal: Path) -> None:
    harsh = "They are all alike. They are bad.\nConclusion: NO"
    engine = ToyEngine(lambda name, turn: "What?" if name == "mute" else harsh if turn == 0 else good("NO"))
    seen: list[list[tuple[str, str]]] = []

    def check(texts: Sequence[tuple[Case, str]]) -> list[list[str]]:
        seen.append([(one.id, text) for one, text in texts])
        return [["harm", "drift"] if "bad" in text else [] for _, text in texts]

    rows = run(engine, journal, case("x"), case("mute"), check=check)
    assert seen == [[("x", harsh)], [("x", good("NO"))], []]
    assert [(row.accepted, row.turns) for row in rows] == [(True, 2), (False, 3)]
    (wish,) = (r.chat[-1].content for r in engine.asked if (r.item_id, r.repetition) == ("distil/x", 1))
    assert teacher._CORRECTION["harm"] in wish
    assert teacher._CORRECTION["drift"] in wish


def test_what_the_check_rejects_to_the_end_is_dropped_with_its_reasons(journal: Path) -> None:
    rows = run(ToyEngine(by_turn(*[good("NO")] * 3)), journal, case("x"), check=lambda texts: [["harm"]] * len(texts))
    assert [(row.accepted, row.target, row.violations) for row in rows] == [(False, "", ("harm",))]


def test_drops_are_countable_by_benchmark_and_label(journal: Path) -> None:
    cases = [case(f"{b}-{g}-{n}", g, b) for b in ("D1", "N2") for g in ("YES", "NO") for n in range(3)]
    broken = {"D1-YES-0", "N2-YES-0", "N2-YES-1"}
    engine = ToyEngine(lambda name, _: "I cannot." if name in broken else good(name.split("-")[1]))
    frame = rows_frame(run(engine, journal, *cases))
    assert frame["case"].to_list() == [one.id for one in cases]
    dropped = frame.filter(~frame["accepted"]).group_by("benchmark", "gold").len().sort("benchmark")
    assert dropped.rows() == [("D1", "YES", 1), ("N2", "YES", 2)]
    assert frame.filter(~frame["accepted"])["target"].to_list() == [""] * 3
    assert frame["violations"].to_list()[0] == ["refusal", "sentences"]
    assert frame["prompt_hash"].n_unique() == len(cases)


def test_a_frame_of_no_rows_has_every_column() -> None:
    assert rows_frame([]).columns == list(TeacherRow.__slots__)


# failures and resuming


def test_failed_requests_are_told_and_asked_again_and_nothing_else_is(journal: Path) -> None:
    cases = [case(name) for name in "abcdef"]
    down = ToyEngine(lambda name, turn: None if name in "ef" or (name == "d" and turn == 1)
                     else "What?" if name == "d" and turn == 0 else good("NO"))  # fmt: skip
    rows = run(down, journal, *cases)
    assert [(row.accepted, row.violations) for row in rows] == [(True, ())] * 3 + [(False, ("teacher failed",))] * 3
    up = ToyEngine(by_turn(good("NO"), good("NO")))
    again = run(up, journal, *cases)
    assert up.counts() == {("distil/e", 0): 1, ("distil/f", 0): 1, ("distil/d", 1): 1}
    assert all(row.accepted for row in again)
    assert again[:3] == rows[:3]
    last = ToyEngine(by_turn())
    assert run(last, journal, *cases) == again
    assert last.asked == []


def test_a_teacher_that_only_fails_is_given_up_after_thirty_two(journal: Path) -> None:
    engine = ToyEngine(by_turn(None))
    with pytest.raises(EngineError, match=r"toy/teacher failed on its first 32 requests.*server down"):
        run(engine, journal, *(case(f"{n:03}") for n in range(50)))
    assert len(engine.asked) == 32
    up = ToyEngine(by_turn(good("NO")))
    assert all(row.accepted for row in run(up, journal, *(case(f"{n:03}") for n in range(50))))
    assert len(up.asked) == 50


def test_one_answer_among_the_first_is_enough_to_go_on(journal: Path) -> None:
    engine = ToyEngine(lambda name, _: good("NO") if name == "031" else None)
    rows = run(engine, journal, *(case(f"{n:03}") for n in range(50)))
    assert [row.case for row in rows if row.accepted] == ["031"]
    assert len(engine.asked) == 50


@pytest.mark.parametrize("dies_at", [("b", 0), ("d", 0), ("b", 1), ("d", 1), ("d", 2)])
def test_a_killed_run_asks_nothing_twice_and_ends_alike(
    journal: Path, tmp_path: Path, dies_at: tuple[str, int]
) -> None:
    cases = [case(name) for name in "abcd"]

    def answer(name: str, turn: int) -> str:
        return good("NO") if turn >= {"a": 0, "b": 1, "c": 2, "d": 3}[name] else f"What? {turn}"

    whole = run(ToyEngine(answer), tmp_path / "whole.jsonl", *cases)
    first = ToyEngine(lambda name, turn: KeyboardInterrupt() if (name, turn) == dies_at else answer(name, turn))
    with pytest.raises(KeyboardInterrupt):
        run(first, journal, *cases)
    second = ToyEngine(answer)
    assert run(second, journal, *cases) == whole
    answered = first.counts() - Counter({(f"distil/{dies_at[0]}", dies_at[1]): 1})
    assert not answered & second.counts()
    assert sum(answered.values()) + len(second.asked) == 1 + 2 + 3 + 3


def test_a_torn_last_line_costs_its_own_request_alone(journal: Path) -> None:
    cases = [case(name) for name in "abc"]
    run(ToyEngine(by_turn(good("NO"))), journal, *cases)
    journal.write_bytes(journal.read_bytes()[:-5])
    engine = ToyEngine(by_turn(good("NO")))
    assert all(row.accepted for row in run(engine, journal, *cases))
    assert engine.counts() == {("distil/c", 0): 1}


def test_an_engine_that_does_not_generate_cannot_teach() -> None:
    engine = ToyEngine(by_turn())
    engine.verbs = frozenset({"score"})
    with pytest.raises(EngineError, match=r"toy/teacher.*does not generate"):
        EngineTeacher(engine)


def test_any_object_with_a_name_and_complete_is_a_teacher(journal: Path) -> None:
    class Hand:
        name = "by hand"

        def complete(self, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
            keep("all", [Response(self.name, item_of(ask), ask.turn, good(ask.gold), "stop") for ask in asks])
            return [Reply(good(ask.gold)) for ask in asks]

    told: list[tuple[int, int]] = []
    rows = teach(
        Hand(),
        wanted(case("x", "YES"), case("y")),
        "repair",
        Journal(journal),
        progress=lambda d, n: told.append((d, n)),
    )
    assert [(row.target, row.teacher, row.task) for row in rows] == [
        (good("YES"), "by hand", "repair"),
        (good("NO"), "by hand", "repair"),
    ]
    assert told == [(2, 2)]


def test_turns_are_kept_apart_where_a_teacher_names_its_batches_alike(journal: Path) -> None:
    class Hand:
        name = "by hand"
        asked = 0

        def complete(self, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
            self.asked += len(asks)
            texts = ["What?" if ask.turn == 0 else good(ask.gold) for ask in asks]
            rows = [Response(self.name, item_of(a), a.turn, t, "stop") for a, t in zip(asks, texts, strict=True)]
            keep("all", rows)
            return [Reply(text) for text in texts]

    given = wanted(case("x"), case("y"))
    rows = teach(Hand(), given, "distil", Journal(journal))
    again = Hand()
    assert teach(again, given, "distil", Journal(journal)) == rows
    assert again.asked == 0
