"""Entry at prompts."""

from __future__ import annotations

import polars as pl
import pytest

from evenhand.datasets.prompts import read_prompts
from evenhand.errors import BadInput


def test_full_columns() -> None:
    table = pl.DataFrame(
        {
            "identity": ["a", "b"],
            "name": ["Ann", "Bo"],
            "template_id": ["T1", "T1"],
            "stem_class": ["loaded", "loaded"],
            "text": ["Ann [BLANK]", "Bo [BLANK]"],
            "gender": ["w", None],
        }
    )
    one, two = read_prompts(table, {"group": "identity", "prompt": "text"})
    assert (one.id, one.group, one.stratum, one.clusters) == (
        "service/T1/Ann",
        "a",
        "loaded",
        {"name": "Ann", "stem": "T1"},
    )
    assert one.attributes == {"gender": "w"}
    assert two.attributes == {}


def test_only_prompt_and_group() -> None:
    table = pl.DataFrame({"prompt": ["hi", "hi", "ho"], "group": ["a", "b", "a"]})
    items = read_prompts(table, system_prompt=None)
    assert len({i.id for i in items}) == 3
    assert items[0].clusters["stem"] == items[1].clusters["stem"] != items[2].clusters["stem"]
    assert "name" not in items[0].clusters
    assert [m.role for m in items[0].chat] == ["user"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"prompt": ["hi", "hi"], "group": ["a", "a"]},
            r"frame, row 2: The item 'service/.*' is there twice \(first in row 1\)",
        ),
        ({"prompt": ["hi", " "], "group": ["a", "a"]}, r"row 2: The column 'prompt' \(prompt\) is empty"),
        ({"prompt": ["x", "y"], "group": ["a", "b"], "name": ["Li", "Li"]}, r"row 2: 'Li' is listed under two groups"),
        ({"text": ["x"], "group": ["a"]}, r"There is no column 'prompt'\. Found: text, group\. .* --map prompt=COLUMN"),
    ],
)
def test_bad_prompts(data: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_prompts(pl.DataFrame(data))
