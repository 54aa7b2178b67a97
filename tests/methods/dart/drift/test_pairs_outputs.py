"""Outputs of two models paired without losing any: decoding, unmatched rows, failed rows, and files of responses."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.dart.difference.cases import Case
from evenhand.methods.dart.difference.items import items_of
from evenhand.methods.dart.drift.pairs import Output, Outputs, Pairing, outputs_from, pair_up, read_outputs
from evenhand.records import Response

CASES = [Case(name, f"question {name}", "YES", scenario=name) for name in ("b", "a", "c")]
COLD: dict[str, object] = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 64, "policy": False}


def outputs(label: str, rows: Mapping[tuple[str, int], Any], decoding: Mapping[str, object] | None = None) -> Outputs:
    """Outputs from texts."""
    return Outputs(label, {k: v if isinstance(v, Output) else Output(v) for k, v in rows.items()}, decoding)


def everything(label: str, decoding: Mapping[str, object] | None = None, repetitions: int = 1) -> Outputs:
    return outputs(label, {(c.id, r): f"{c.id}{r}" for r in range(repetitions) for c in CASES}, decoding)


def test_pairs_come_in_the_order_of_the_cases() -> None:
    found = pair_up(CASES, everything("m0", COLD, 2), everything("m1", COLD, 2))
    assert found == Pairing((("b", 0), ("b", 1), ("a", 0), ("a", 1), ("c", 0), ("c", 1)), ())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"temperature": 0.2}, "temperature"),
        ({"policy": True}, "policy"),
        ({"max_tokens": 65, "top_p": 1.0}, "max_tokens, top_p"),
    ],
)
def test_another_decoding_is_an_error(changed: dict[str, object], named: str) -> None:
    with pytest.raises(BadInput, match=rf"m0 and m1 were decoded differently \({named}\)\..*identical decoding"):
        pair_up(CASES, everything("m0", COLD), everything("m1", {**COLD, **changed}))


def test_files_do_not_say_how_they_were_decoded() -> None:
    assert len(pair_up(CASES, everything("m0", None), everything("m1", COLD)).keys) == 3


def test_unmatched_outputs_are_an_error_with_counts() -> None:
    a, b = everything("m0"), everything("m1")
    more = outputs("m1", {**b.rows, ("a", 1): "again", ("z", 0): "whose?"})
    less = outputs("m0", {key: row for key, row in a.rows.items() if key != ("b", 0)})
    with pytest.raises(BadInput) as caught:
        pair_up(CASES, less, more)
    assert "0 only of m0, 3 only of m1, 1 of unknown cases; for example ('a', 1)" in str(caught.value)
    with pytest.raises(BadInput, match="1 only of m0, 0 only of m1, 0 of unknown cases"):
        pair_up(CASES, a, outputs("m1", less.rows))
    with pytest.raises(BadInput, match="0 only of m0, 0 only of m1, 1 of unknown cases"):
        pair_up(CASES[:2], a, b)


def test_failed_outputs_are_told_apart_and_not_lost() -> None:
    broken = {**everything("m1").rows, ("a", 0): Output("", "error", "gone"), ("b", 0): Output("x", failed="cut")}
    found = pair_up(CASES, everything("m0"), outputs("m1", broken))
    assert (found.keys, found.failed) == ((("c", 0),), (("b", 0), ("a", 0)))


def test_outputs_of_one_configuration_alone() -> None:
    items = items_of(CASES, ("analysis",))
    rows = [
        Response(who, item.id, 0, who, "length" if who == "m0" else "stop") for who in ("m0", "m1") for item in items
    ]
    rows.append(Response("m0", items[0].id, 1, "", "error", error="the endpoint is gone"))
    found = outputs_from("m0", items, rows, COLD)
    assert found.rows[("b", 0)] == Output("m0", "length")
    assert found.rows[("b", 1)] == Output("", "error", "the endpoint is gone")
    assert len(found.rows) == 4
    assert found.decoding == COLD


ROWS = [
    {
        "id": "q1",
        "repetition": "0",
        "prompt": "Who?",
        "response": "They.",
        "gold": "yes",
        "group": "lake",
        "scenario": "s1",
    },
    {
        "id": "q1",
        "repetition": "1",
        "prompt": "Who?",
        "response": "All.",
        "gold": "yes",
        "group": "lake",
        "scenario": "s1",
    },
    {
        "id": "q2",
        "repetition": "0",
        "prompt": "What?",
        "response": "It.",
        "gold": "0",
        "group": "hill",
        "scenario": "s2",
    },
]


def save(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file of responses in the form that its suffix names."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_file_with_repetitions(tmp_path: Path, suffix: str) -> None:
    cases, found = read_outputs(save(tmp_path / f"before.{suffix}", ROWS))
    assert [(c.id, c.prompt, c.gold, c.group) for c in cases] == [
        ("q1", "Who?", "YES", "lake"), ("q2", "What?", "NO", "hill")
    ]  # fmt: skip
    assert {key: row.text for key, row in found.rows.items()} == {
        ("q1", 0): "They.",
        ("q1", 1): "All.",
        ("q2", 0): "It.",
    }
    assert (found.label, found.decoding) == ("before", None)
    assert pair_up(cases, found, found).keys == (("q1", 0), ("q1", 1), ("q2", 0))


def test_the_fewest_columns(tmp_path: Path) -> None:
    rows = [{"question": "Who?", "output": "They."}, {"question": "What?", "output": "It."}]
    cases, found = read_outputs(save(tmp_path / "few.csv", rows))
    assert [case.id for case in cases] == ["row-1", "row-2"]
    assert [case.gold for case in cases] == [None, None]
    assert set(found.rows) == {("row-1", 0), ("row-2", 0)}


def test_named_columns(tmp_path: Path) -> None:
    rows = [{"n": "7", "ask": "Who?", "said": "They.", "turn": "3", "truth": "YES", "id": "not this"}]
    mapping = {"id": "n", "prompt": "ask", "response": "said", "repetition": "turn", "gold": "truth"}
    (case,), found = read_outputs(save(tmp_path / "own.csv", rows), mapping)
    assert (case.id, case.prompt, case.gold) == ("7", "Who?", "YES")
    assert set(found.rows) == {("7", 3)}


def test_a_null_response_failed_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "q1", "prompt": "Who?", "response": None},
        {"id": "q2", "prompt": "What?", "response": ""},
    ]
    _, found = read_outputs(save(tmp_path / "holes.jsonl", rows))
    assert found.rows[("q1", 0)].failed == "the response is missing"
    assert found.rows[("q2", 0)] == Output("")


@pytest.mark.parametrize(
    ("change", "row", "said"),
    [
        ({"repetition": "first"}, 3, "The repetition 'first' is not a number"),
        ({"repetition": "-1"}, 3, "The repetition '-1' is not a number"),
        ({"repetition": "²"}, 3, "The repetition '²' is not a number"),
        ({"repetition": "1" * 30}, 3, "is not a number"),
        ({"id": "q1"}, 3, "The response of 'q1', repetition 0, occurs twice"),
        ({"id": "q1", "repetition": "2"}, 3, "The id 'q1' has another prompt than in row 1"),
        ({"id": " "}, 3, "The id is empty"),
        ({"prompt": " "}, 3, "The prompt is empty"),
        ({"prompt": "Who?"}, 3, "One prompt is labelled YES and NO, in 'q1' and 'q2'"),
        ({"split": "tomorrow"}, 3, "'tomorrow' is not a split"),
        ({"condition": "diff"}, 3, "The label NO contradicts the condition 'diff'"),
    ],
)
def test_bad_rows_are_named_as_in_the_file(tmp_path: Path, change: dict[str, str], row: int, said: str) -> None:
    extra = dict.fromkeys(change, "")
    rows = [{**extra, **ROWS[0]}, {**extra, **ROWS[1]}, {**extra, **ROWS[2], **change}]
    with pytest.raises(BadInput) as caught:
        read_outputs(save(tmp_path / "bad.csv", rows))
    assert str(caught.value).startswith(f"{tmp_path / 'bad.csv'}, row {row}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"id": "q", "prompt": "Who?"}], "There is no column 'response'"),
        ([{"id": "q", "response": "They."}], "There is no column 'prompt'"),
        ([{"id": "q", "text": "They."}], "There is no column 'prompt'"),
    ],
)
def test_missing_columns(tmp_path: Path, rows: list[dict[str, str]], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_outputs(save(tmp_path / "bad.csv", rows))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans()), unique_by=lambda row: row[:2]))
def test_no_key_is_lost(rows: list[tuple[str, int, bool]]) -> None:
    one = outputs("m0", {(case, turn): Output("x", failed="so" if bad else "") for case, turn, bad in rows})
    two = outputs("m1", {(case, turn): "y" for case, turn, _ in rows})
    found = pair_up(CASES, one, two)
    assert sorted([*found.keys, *found.failed]) == sorted(one.rows)
    assert set(found.failed) == {(case, turn) for case, turn, bad in rows if bad}
