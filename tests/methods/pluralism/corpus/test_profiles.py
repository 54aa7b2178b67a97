"""Prompts apart from profiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.profiles import JoinRow, open_prompts, profiles_to_ask, prompts_of

DATA = Path(os.environ.get("EVENHAND_DATA") or Path(__file__).parents[5] / "shared" / "data")
ROWS = """id,query,gender,race,age,education
a,one text,Man,White,gen z,Other
b,"one text",Woman,White,gen z,
c,two texts,Man,White,gen z,Other
c,two texts,Man,White,gen z,Other
d," ",Man,White,gen z,Other
e,None,Man,White,gen z,Other
"""


def test_one_prompt_many_profiles(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ROWS, encoding="utf-8")
    found = open_prompts(str(tmp_path / "in.csv"), licence="CC0")
    assert dict(found.prompts) == {"p000001": "one text", "p000002": "two texts", "p000003": "None"}
    assert found.joins == (
        (1, "a", "p000001", "profile-0001"),
        (2, "b", "p000001", "profile-0002"),
        (3, "c", "p000002", "profile-0001"),
        (4, "c", "p000002", "profile-0001"),
        (6, "e", "p000003", "profile-0001"),
    )
    assert found.profiles["profile-0001"] == {
        "gender": "Man", "race": "White", "age": "gen z", "education": "Other"
    }  # fmt: skip
    assert found.profiles["profile-0002"]["education"] == ""  # a missing value is a level of its own
    assert found.rejected[0][0] == 5
    assert any("5 rows hold 3 different texts and 2 profiles" in note for note in found.notes)
    assert any("1 rows repeat a text with its profile" in note for note in found.notes)
    assert (found.licence, len(found.checksums)) == ("CC0", 1)
    frame = found.profiles_frame()
    assert frame["rows"].to_list() == [4, 1]
    assert found.joins_frame().height == 5
    assert [key for key, _ in profiles_to_ask(found)] == ["profile-0001", "profile-0002"]


def test_without_profiles_the_60_are_asked(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    found = open_prompts(str(tmp_path / "in.jsonl"))
    assert not found.profiles
    assert [join[3] for join in found.joins] == ["", ""]
    asked = profiles_to_ask(found)
    assert len({tuple(profile.values()) for _, profile in asked}) == 60


def test_columns_and_replies(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("said,answer\nhello there,hi\n", encoding="utf-8")
    path, columns = str(tmp_path / "in.csv"), {"text": "said", "reply": "answer"}
    assert list(open_prompts(path, columns).prompts.values()) == ["hello there"]
    assert list(open_prompts(path, columns, with_reply=True).prompts.values()) == ["hello there\nhi"]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('text,id\n" ",a\n', encoding="utf-8")
    with pytest.raises(BadInput, match="No row has a text"):
        open_prompts(str(tmp_path / "in.csv"))
    with pytest.raises(BadInput, match="Unknown rating set 'elsewhere'"):
        open_prompts("elsewhere")


def test_shipped_items() -> None:
    found = open_prompts("shipped")
    assert len(found.prompts) == 140
    assert found.licence == "Apache-2.0"


def test_rows_are_taken_apart_in_order() -> None:
    rows = [JoinRow(2, "", "b"), JoinRow(1, "x", "a"), JoinRow(3, "y", "b\r\n")]
    found = prompts_of(rows, origin="here")
    assert list(found.prompts.values()) == ["b", "a"]
    assert [join[:3] for join in found.joins] == [(2, "2", "p000001"), (1, "x", "p000002"), (3, "y", "p000001")]


@pytest.mark.data
def test_dices_holds_fewer_texts_than_rows() -> None:
    if not (DATA / "dices").is_dir():
        pytest.skip("the DICES files are not there")
    found = open_prompts("dices", data_root=DATA)
    assert len(found.joins) >= 350
    assert len(found.prompts) == 271
    assert len(open_prompts("dices", data_root=DATA, with_reply=True).prompts) > 271
    assert found.licence == "CC BY 4.0"
