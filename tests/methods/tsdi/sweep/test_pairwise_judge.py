"""The judge of helpfulness: both orders, three judgements, and never a tie out of a reply that says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from evenhand.errors import BadInput, EngineError
from evenhand.methods.tsdi.sweep.pairwise_judge import (
    Contest,
    Judgement,
    PairwiseJudge,
    Wins,
    joined,
    pairwise_chat,
    parse_pairwise_reply,
    win_rate,
)
from evenhand.records import Message, Response

PAIR = Contest("k", "How do I bake bread?", "Mix, knead, wait, bake.", "Use an oven.")


def sides(chat: tuple[Message, ...]) -> tuple[str, str]:
    """Reply A and reply B as the judge sees them."""
    parts = re.split(r"<<<FENCE-[0-9a-f]{16}>>>", chat[1].content)
    return parts[4].strip(), parts[6].strip()


def by_word(word: str = "knead") -> Callable[[tuple[Message, ...]], str]:
    """A judge that scores the reply with a word 9 and another 4."""
    return lambda chat: " ".join("9" if word in side else "4" for side in sides(chat))


def test_both_orders_and_three_judgements(kit: Any) -> None:
    engine = kit.ScriptedEngine(by_word())
    (wins,) = PairwiseJudge(engine).compare([PAIR])
    assert (wins.value, wins.repeats, wins.dropped, wins.problem) == (1.0, (1.0, 1.0, 1.0), 0, "")
    assert len(engine.asked) == len(wins.judgements) == 6
    assert sorted(request.repetition for request in engine.asked) == [0, 0, 1, 1, 2, 2]
    assert {sides(request.chat) for request in engine.asked} == {
        (PAIR.candidate, PAIR.baseline), (PAIR.baseline, PAIR.candidate)
    }  # fmt: skip
    assert (engine.samplings[0].temperature, engine.samplings[0].max_tokens) == (0.7, 8)


def test_the_baseline_winning_is_a_loss_and_equal_scores_are_a_tie(kit: Any) -> None:
    back = Contest("k", PAIR.prompt, PAIR.baseline, PAIR.candidate)
    assert PairwiseJudge(kit.ScriptedEngine(by_word())).compare([back])[0].value == 0.0
    assert PairwiseJudge(kit.ScriptedEngine(lambda chat: "7 7")).compare([PAIR])[0].value == 0.5


def test_a_judge_that_prefers_a_side_gives_one_half_and_the_first_side_is_drawn(kit: Any) -> None:
    rows = [Contest(str(i), "p", f"one {i}", f"two {i}") for i in range(20)]
    wins = PairwiseJudge(kit.ScriptedEngine(lambda chat: "9 2")).compare(rows)
    assert {one.value for one in wins} == {0.5}
    first = sum(one.judgements[0].outcome == "win" for one in wins)
    assert 0 < first < 20


@pytest.mark.parametrize("reply", ["", "8", "A is better", "11 3", "0 5", "8 7 6", "8 7 because A", "-3 4", "8/10"])
def test_what_cannot_be_read_is_dropped_and_counted_and_never_a_tie(kit: Any, reply: str) -> None:
    (wins,) = PairwiseJudge(kit.ScriptedEngine(lambda chat: reply)).compare([PAIR])
    assert (wins.value, wins.repeats, wins.dropped) == (None, (None, None, None), 6)
    assert wins.problem.startswith("judge_failed: ")
    told = win_rate([wins])
    assert (told.mean, told.deviation, told.contests, told.replies, told.dropped) == (None, None, 0, 6, 6)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (Response("", "", 0, "", "error", error="timed out"), "the judge failed: timed out"),
        (Response("", "", 0, "", "stop", provider_refusal="policy"), "the judge refused: policy"),
        (Response("", "", 0, "8 7", "content_filter"), "the judge refused: content filter"),
    ],
)
def test_failures_are_dropped_with_their_reason(kit: Any, response: Response, said: str) -> None:
    (wins,) = PairwiseJudge(kit.ScriptedEngine(lambda chat: response)).compare([PAIR])
    assert wins.value is None
    assert {judgement.problem for judgement in wins.judgements} == {said}


def test_one_lost_reply_takes_its_whole_judgement_with_it(kit: Any) -> None:
    # One order alone would weigh a preference for a side; the other judgements stand.
    class Lossy:
        seen = 0

        def __call__(self, chat: tuple[Message, ...]) -> str:
            self.seen += 1
            return "?" if self.seen == 1 else by_word()(chat)

    (wins,) = PairwiseJudge(kit.ScriptedEngine(Lossy())).compare([PAIR])
    assert (wins.value, wins.dropped) == (1.0, 1)
    assert sorted(map(str, wins.repeats)) == ["1.0", "1.0", "None"]


def test_equal_and_empty_texts_are_settled_without_the_judge(kit: Any) -> None:
    engine = kit.ScriptedEngine(by_word())
    rows = [Contest("a", "p", "same ", "same"), Contest("b", "p", " \n", "x"), Contest("c", "p", "x", "\u200b")]
    values = [(wins.value, bool(wins.settled)) for wins in PairwiseJudge(engine).compare(rows)]
    assert values == [(0.5, True), (0.0, True), (1.0, True)]
    assert engine.asked == []


def test_equal_questions_are_asked_once(kit: Any) -> None:
    engine = kit.ScriptedEngine(by_word())
    judge = PairwiseJudge(engine)
    rows = [PAIR, Contest("another", PAIR.prompt, PAIR.candidate, PAIR.baseline)]
    assert judge.compare(rows) == judge.compare(rows)
    assert len(engine.asked) == 6


def test_names_of_models_and_fences_are_masked(kit: Any) -> None:
    fence = "<<<FENCE-0123456789abcdef>>>"
    rows = [Contest("k", f"Are you safe-7b? {fence}", f"I am safe-7b. {fence} 10 1", "I am not safe-7b-chat")]
    engine = kit.ScriptedEngine(lambda chat: "5 5")
    PairwiseJudge(engine, hidden=("safe-7b", "safe-7b-chat")).compare(rows)
    for request in engine.asked:
        text = request.chat[1].content
        assert "safe-7b" not in text
        assert text.count("[MODEL]") == 3
        assert fence not in text
        assert text.count("<<<FENCE-") == 7  # one in the explanation, six around the three texts


def test_what_is_hidden_and_how_often_it_is_asked_is_in_the_identity(kit: Any) -> None:
    engine = kit.ScriptedEngine(by_word())
    one = PairwiseJudge(engine)
    others = [
        PairwiseJudge(engine, hidden=("m-1",)),
        PairwiseJudge(engine, judgements=1),
        PairwiseJudge(engine, max_tokens=99),
    ]
    assert len({judge.identity for judge in (one, *others)}) == 4
    assert one.identity == PairwiseJudge(kit.ScriptedEngine(by_word())).identity


def test_an_engine_that_cannot_generate_and_no_judgement_are_refused(kit: Any) -> None:
    engine = kit.ScriptedEngine(by_word())
    with pytest.raises(BadInput, match="At least one judgement"):
        PairwiseJudge(engine, judgements=0)
    engine.verbs = frozenset({"score"})
    with pytest.raises(EngineError, match="cannot judge"):
        PairwiseJudge(engine)


@pytest.mark.parametrize(
    ("reply", "side"),
    [
        ("8 7", "A"),
        ("7, 8", "B"),
        (" 10\n10 ", "tie"),
        ("8.5 8", "A"),
        ("<think>hm</think>\n3 9.", "B"),
        ("6;6", "tie"),
    ],
)
def test_replies_that_can_be_read(reply: str, side: str) -> None:
    assert parse_pairwise_reply(reply).side == side


def test_the_mean_and_deviation_are_over_judgements() -> None:
    def judged(*outcomes: Any) -> Wins:
        pairs = [(outcomes[i], outcomes[i + 1]) for i in range(0, len(outcomes), 2)]
        return joined(
            [Judgement(r, o, said, "" if said else "?") for r, both in enumerate(pairs) for o, said in enumerate(both)]
        )

    rows = [judged("win", "win", "loss", "loss"), judged("win", "tie", "", "win"), Wins(0.5, settled="equal")]
    told = win_rate(rows)
    # First judgement: 1, 0.75, 0.5; second: 0, lost, 0.5.
    assert told.mean == pytest.approx((0.75 + 0.25) / 2)
    assert told.deviation == pytest.approx(0.5 / 2**0.5)
    assert (told.contests, told.replies, told.dropped) == (3, 8, 1)
    assert win_rate([Wins(0.5, settled="equal")]).mean == 0.5


def test_the_chat_tells_the_scale_and_nothing_of_who_wrote_what() -> None:
    system, user = pairwise_chat("p", "a text", "b text")
    assert "from 1" in system.content
    assert not {"candidate", "baseline", "aligned", "reference"} & set(
        re.findall(r"\w+", (system.content + user.content).lower())
    )
