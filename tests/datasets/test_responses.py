"""Entry at responses."""

from __future__ import annotations

import polars as pl
import pytest

from evenhand.datasets.prompts import Name, Stem, cross
from evenhand.datasets.responses import read_responses
from evenhand.errors import BadInput

ROWS = {
    "model": ["m", "m"],
    "stem_id": ["S1", "S1"],
    "stem_class": ["neutral", "neutral"],
    "name": ["Ann", "Bo"],
    "group": ["a", "b"],
    "rep": ["1", "1"],
    "prompt": ["Ann [BLANK]", "Bo [BLANK]"],
    "response": ["Ann read.", "I cannot."],
    "finish_reason": ["stop", "max_tokens"],
}


def test_items_are_made_from_columns() -> None:
    items, responses = read_responses(pl.DataFrame({**ROWS, "gender": ["w", "m"]}))
    assert [i.id for i in items] == ["service/S1/Ann", "service/S1/Bo"]
    assert items[0].chat[-1].content == "Ann [BLANK]"
    assert items[0].stratum == "neutral"
    assert items[0].attributes == {"gender": "w"}
    assert [(r.config, r.item_id, r.repetition, r.text, r.finish_reason) for r in responses] == [
        ("m", "service/S1/Ann", 1, "Ann read.", "stop"),
        ("m", "service/S1/Bo", 1, "I cannot.", "length"),
    ]


def test_rows_are_matched_to_given_items() -> None:
    items = {i.id: i for i in cross([Name("Ann", "a"), Name("Bo", "b")], [Stem("S1", "[NAME] [BLANK]")])}
    found, responses = read_responses(pl.DataFrame(ROWS), items=items)
    assert [i.id for i in found] == list(items)
    assert found[0].chat[0].role == "system"
    with pytest.raises(BadInput, match=r"frame, row 1: The item '' is not one of the 1 items of this audit"):
        read_responses(pl.DataFrame(ROWS), items=dict(list(items.items())[1:]))
    assert len(responses) == 2


def test_empty_without_finish_reason_is_a_failed_row() -> None:
    table = pl.DataFrame({**ROWS, "response": ["", None]}).drop("finish_reason")
    _, responses = read_responses(table)
    assert [(r.finish_reason, r.error) for r in responses] == [("error", "empty response without a finish reason")] * 2


def test_empty_with_finish_reason_stop_stays() -> None:
    _, responses = read_responses(pl.DataFrame({**ROWS, "response": ["", "x"]}))
    assert (responses[0].finish_reason, responses[0].text, responses[0].error) == ("stop", "", "")


def test_provider_refusal_and_reasoning() -> None:
    table = pl.DataFrame({**ROWS, "response": ["", ""], "refusal": ["no", ""], "reasoning": ["", "hm"]})
    _, responses = read_responses(table)
    assert responses[0].provider_refusal == "no"
    assert responses[1].reasoning == "hm"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": ["Ann", "Ann"], "group": ["a", "a"], "prompt": ["x", "x"]},
            r"row 2: Rows 1 and 2 are about the same response \(c",
        ),
        (
            {"finish_reason": ["stop", "tired"]},
            r"frame, row 2: The finish reason 'tired' is not known\. Known: stop, length",
        ),
        ({"rep": ["1", "-1"]}, r"row 2: The repetition '-1' is not a whole number"),
        ({"rep": ["1", "1e40"]}, r"row 2: The repetition '1e40' is not a whole number from 0 to 2,147,483,647"),
        ({"group": ["a", ""]}, r"row 2: The column 'group' \(group\) is empty"),
        ({"name": ["Ann", "Ann"]}, r"row 2: 'Ann' is listed under two groups"),
        ({"item_id": ["x", "x"]}, r"row 2: The item 'x' has another group, prompt or unit than in row 1"),
        (
            {"system_prompt": ["be kind", "be safe"]},
            r"row 2: The configuration 'm' has another system prompt than in row 1\. Runs with",
        ),
    ],
)
def test_bad_responses(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_responses(pl.DataFrame({**ROWS, **changes}))


def test_two_system_prompts_are_fine_as_two_configurations() -> None:
    table = pl.DataFrame({**ROWS, "system_prompt": ["be kind", "be safe"], "config": ["kind", "safe"]})
    _, responses = read_responses(table)
    assert [r.config for r in responses] == ["m | kind", "m | safe"]


def test_needed_columns() -> None:
    with pytest.raises(BadInput, match=r"There is no column 'response'\. Found: group"):
        read_responses(pl.DataFrame({"group": ["a"]}))
    with pytest.raises(BadInput, match=r"There is no column 'group'\. Found: response"):
        read_responses(pl.DataFrame({"response": ["a"]}))
    with pytest.raises(
        BadInput, match=r"Nothing says which item a response belongs to\. Map item_id, or stem and name"
    ):
        read_responses(pl.DataFrame({"response": ["a"], "group": ["a"]}))
