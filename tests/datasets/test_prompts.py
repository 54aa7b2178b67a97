"""Names crossed with stems, and tables of finished prompts: items, ids, and what is refused with its row."""

from __future__ import annotations

import unicodedata

import polars as pl
import pytest

from evenhand.datasets.prompts import Name, Stem, cross, fill, read_names, read_prompts, read_stems
from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.errors import BadInput


def names(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame({"name": [n for n, _ in rows], "group": [g for _, g in rows], "gender": ["woman"] * len(rows)})


def stems(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"stem": list(texts)})


def test_every_stem_meets_every_name() -> None:
    items = cross(
        read_names(names(("Emily", "a"), ("Li", "b"))), read_stems(stems("[NAME] is [BLANK].", "Ask [NAME] [BLANK]."))
    )
    assert [(i.id, i.group, i.clusters["stem"]) for i in items] == [
        ("service/S01/Emily", "a", "S01"),
        ("service/S01/Li", "b", "S01"),
        ("service/S02/Emily", "a", "S02"),
        ("service/S02/Li", "b", "S02"),
    ]
    first = items[0]
    assert [m.role for m in first.chat] == ["system", "user"]
    assert first.chat[0].content == SERVICE_SYSTEM_PROMPT
    assert first.chat[1].content == "Emily is [BLANK]."
    assert first.attributes == {"stem_text": "[NAME] is [BLANK].", "gender": "woman"}


def test_system_prompt_may_be_left_out() -> None:
    (item,) = cross([Name("Emily", "a")], [Stem("S", "[NAME] [BLANK]")], system_prompt=None)
    assert [m.role for m in item.chat] == ["user"]


def test_name_twice_substitutes_all() -> None:
    assert fill("[NAME] said that [NAME]'s dog [BLANK].", "Li") == "Li said that Li's dog [BLANK]."


def test_noun_phrases_get_a_capital_only_where_a_sentence_opens() -> None:
    stem = "[NAME] ran. Then [NAME] and [NAME] sat. [NAME] slept [BLANK]. “[NAME] won."
    text = fill(stem, "an older woman", capitalise=True)
    assert text == (
        "An older woman ran. Then an older woman and an older woman sat. An older woman slept [BLANK]. “An older woman won."
    )


def test_names_are_nfc_before_they_are_matched() -> None:
    decomposed = unicodedata.normalize("NFD", "Zhòng")
    assert read_names(names((decomposed, "chinese")))[0].name == "Zhòng"
    with pytest.raises(BadInput, match="listed under two groups"):
        read_names(names(("Zhòng", "chinese"), (decomposed, "white")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("Ann", "a"), ("Bo", "b"), ("Ann", "b")],
            r"frame, row 3: 'Ann' is listed under two groups, 'a' \(row 1\) and 'b'\. Keep each name in one group\.",
        ),
        ([("Ann", "a"), ("Ann", "a")], r"frame, row 2: 'Ann' is listed twice \(first in row 1\)"),
        ([("Ann", "a"), (" ", "a")], r"frame, row 2: The column 'name' \(name\) is empty\."),
        ([("Ann", "")], r"frame, row 1: The column 'group' \(group\) is empty\."),
    ],
)
def test_bad_names(rows: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_names(names(*rows))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["[NAME] [BLANK]", "[NAME] is here."],
            r"frame, row 2: The stem has no \[BLANK\], it needs one: '\[NAME\] is here\.'",
        ),
        (["[NAME] [BLANK] and [BLANK]"], r"row 1: The stem has 2 times \[BLANK\], it needs one"),
        (["She is [BLANK]."], r"row 1: The stem has no \[NAME\]: 'She is \[BLANK\]\.'"),
        ([""], r"row 1: The column 'stem' \(stem\) is empty"),
    ],
)
def test_bad_stems(texts: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_stems(stems(*texts))


def test_stem_ids_and_classes() -> None:
    table = pl.DataFrame(
        {
            "id": ["A", "B"],
            "text": ["[NAME] [BLANK]", "[NAME] and [BLANK]"],
            "stem_class": ["neutral", "loaded"],
            "topic": ["x", ""],
        }
    )
    found = read_stems(table, {"stem": "text", "stem_id": "id", "group": "unused by stems"})
    assert [(s.id, s.stem_class, dict(s.attributes)) for s in found] == [
        ("A", "neutral", {"topic": "x"}),
        ("B", "loaded", {}),
    ]
    with pytest.raises(BadInput, match=r"row 2: The stem id 'A' is used twice \(first in row 1\)"):
        read_stems(table.with_columns(id=pl.lit("A")), {"stem": "text", "stem_id": "id"})
    with pytest.raises(BadInput, match=r"row 2: The stem is there twice \(first in row 1\): '\[NAME\] \[BLANK\]'"):
        read_stems(table.with_columns(text=pl.lit("[NAME] [BLANK]")), {"stem": "text", "stem_id": "id"})


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
