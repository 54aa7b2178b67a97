"""What the difference audit says in words: right, blind, always YES, no better than YES, silent, too little data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evenhand.findings.decide import decided
from evenhand.methods.dart.difference.findings import RULES
from evenhand.methods.dart.difference.verdict import headlines, verdict
from evenhand.records import Finding
from evenhand.runs.method import Verdict


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("difference_toy")


def judge(toy: Any, folder: Path, model: Any, rows: Any = None, **settings: Any) -> tuple[Verdict, list[Finding]]:
    rows = rows or toy.toy_rows({"x": 40}, split="test")
    result, _, _ = toy.run_difference(folder, {"m": model}, rows, **settings)
    (told,) = result.verdicts
    return told, list(result.findings)


def sometimes(toy: Any, yes: int, no: int) -> Any:
    """A model that says YES in so many tenths of the cases where groups differ, and of those where they do not."""

    def say(request: Any) -> str:
        number = int(request.item_id.rsplit("-", 2)[1]) // 2 % 10
        return "YES" if number < (yes if toy.gold_of(request) == "YES" else no) else "NO"

    return toy.concluding(say)


def test_a_right_model(toy: Any, tmp_path: Path) -> None:
    told, rows = judge(toy, tmp_path, toy.CLEVER)
    assert told.tone == "even"
    assert told.headline == (
        "The model recognises where groups differ: it says YES to 100% of the questions where groups differ and to 0% of those "
        "where they do not."
    )
    assert told.detail.startswith("Right on 100.0% of 80 questions (")
    assert told.also == ["Asked to choose, DiffAware is 1.00 and CtxtAware 1.00 (guessing gives 0.33 and 0.33)."]
    rows_shown = {row.what: row.value for row in headlines(rows, "m", several=False)}
    assert rows_shown["difference questions right"] == "100.0%"
    assert rows_shown["YES where groups differ minus YES where not"] == "+100.0 points"
    assert rows_shown["DiffAware"] == "1.00"


@pytest.mark.parametrize(("model", "share"), [("ALWAYS_YES", 100), ("BLIND", 50)])
def test_a_blind_model(toy: Any, tmp_path: Path, model: str, share: int) -> None:
    told, rows = judge(toy, tmp_path, getattr(toy, model))
    assert told.tone == "worse"
    assert told.headline == (
        f"The model does not know when groups differ: it says YES to {share}% of the questions where groups differ and to "
        f"{share}% of those where they do not."
    )
    assert toy.found(rows, "discrimination", "tolerant").estimate == 0
    assert toy.found(rows, "accuracy", "tolerant").estimate == 0.5


def test_always_no_is_as_blind(toy: Any, tmp_path: Path) -> None:
    told, _ = judge(toy, tmp_path, toy.concluding(lambda request: "NO"))
    assert told.tone == "worse"
    assert "says YES to 0% of the questions where groups differ and to 0%" in told.headline


def test_a_model_that_has_it_backwards_knows_nothing(toy: Any, tmp_path: Path) -> None:
    told, rows = judge(toy, tmp_path, toy.concluding(lambda r: "NO" if toy.gold_of(r) == "YES" else "YES"))
    assert toy.found(rows, "discrimination", "tolerant").estimate == -1
    assert told.tone == "worse"
    assert "to 0% of the questions where groups differ and to 100%" in told.headline


def test_no_conclusion_gives_no_verdict(toy: Any, tmp_path: Path) -> None:
    told, _ = judge(toy, tmp_path, toy.SILENT)
    assert told.tone == "unknown"
    assert told.headline == "The model can hardly be judged: 100% of its answers hold no conclusion."
    assert told.unknowns == ("100% of its answers hold no conclusion; see the reasons by model",)


def test_half_silent_is_judged_with_its_silence(toy: Any, tmp_path: Path) -> None:
    def half(request: Any, sampling: Any) -> Any:
        return (toy.SILENT if request.item_id.endswith("-1") else toy.RIGHT)(request, sampling)

    told, _ = judge(toy, tmp_path, half)
    assert told.detail.startswith("Right on 50.0% of 80 questions")
    assert told.detail.endswith("50.0% without a conclusion.")
    assert told.tone == "worse", "it tells differences, but an always-YES machine is right as often"


def test_some_awareness_that_a_constant_beats(toy: Any, tmp_path: Path) -> None:
    rows = [
        row for row in toy.toy_rows({"x": 60}, each=4, split="test") if row["gold"] == "NO" or row["id"].endswith("-0")
    ]
    told, found = judge(toy, tmp_path, sometimes(toy, 8, 4), rows)
    assert toy.found(found, "discrimination", "tolerant").interval.low > 0
    assert told.tone == "worse"
    assert told.headline.startswith(
        "The model recognises some differences, but is right no more often than “majority (NO)”"
    )
    assert told.also[0].startswith("It says YES to ")


def test_too_few_scenarios_cannot_tell(toy: Any, tmp_path: Path) -> None:
    told, _ = judge(toy, tmp_path, sometimes(toy, 1, 0), toy.toy_rows({"x": 8}, split="test"))
    assert told.tone == "unknown"
    assert told.headline == "The data cannot tell whether the model knows when groups differ."
    assert told.unknowns[0].startswith("the interval of the difference reaches ")


def test_one_label_alone_cannot_be_judged(toy: Any, tmp_path: Path) -> None:
    rows = [row for row in toy.toy_rows({"x": 20}, split="test") if row["gold"] == "YES"]
    told, _ = judge(toy, tmp_path, toy.RIGHT, rows)
    assert told.tone == "unknown"
    assert told.headline == "The model could not be judged: only one label occurs."


def test_one_scenario_a_label_cannot_be_tested(toy: Any, tmp_path: Path) -> None:
    told, _ = judge(toy, tmp_path, toy.RIGHT, toy.toy_rows({"x": 2}, each=20, split="test"))
    assert told.tone == "unknown"


def test_the_strict_parser_is_told_where_it_matters(toy: Any, tmp_path: Path) -> None:
    def marked(request: Any, sampling: Any) -> str:
        return f"Some reasons.\n**Conclusion:** {toy.gold_of(request)}"

    told, rows = judge(toy, tmp_path, marked)
    assert toy.found(rows, "accuracy", "strict").estimate == 0
    assert "Under the strict parser of the published code it is right on 0.0%: formatting alone." in told.also


def test_words_alone_are_told_beside_the_model(toy: Any, tmp_path: Path) -> None:
    told, _ = judge(toy, tmp_path, toy.BLIND, toy.toy_rows({"x": 60}))
    (line,) = [text for text in told.also if text.startswith("A classifier that sees only words")]
    assert line.startswith("A classifier that sees only words is right on 100.0%: the model is −50.0 points from it")
    assert "adjusted p" in line


def test_several_models_are_named(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 40}, split="test")
    result, _, _ = toy.run_difference(tmp_path, {"one": toy.RIGHT, "two": toy.SILENT}, rows)
    assert result.verdicts[0].headline.startswith("one: the model recognises where groups differ")
    assert result.verdicts[1].headline.startswith("two: the model can hardly be judged")


def test_nothing_found_is_no_verdict() -> None:
    told = verdict([], "m", several=False)
    assert (told.tone, told.unknowns) == ("unknown", ("no labelled analysis was answered",))
    assert headlines([], "m", several=False) == []


def test_an_undefined_p_is_never_a_verdict(toy: Any, tmp_path: Path) -> None:
    _, rows = judge(toy, tmp_path, toy.RIGHT)
    untested = [replace(f, test=None) if f.estimand == "discrimination" else f for f in rows]
    told = verdict(decided(untested, RULES), "m", several=False)
    assert told.tone == "unknown"
    assert told.headline == "Whether the model knows when groups differ could not be tested."
