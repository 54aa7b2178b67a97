"""Items to be rated: shipped, DICES, Demo-SafetyBench, and files of your own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.datasets.safety_prompts import CATEGORIES
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.demo_safetybench import NONE
from evenhand.methods.pluralism.data.items import (
    RatedItem,
    items_of_table,
    open_rated_items,
    read_rated_items,
    shipped_items,
)
from evenhand.methods.pluralism.data.ratings import read_ratings


def write(folder: Path, *lines: str) -> Path:
    path = folder / "items.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_shipped_items() -> None:
    found = open_rated_items("shipped")
    assert len(found) == 140
    assert Counter(item.domain for item in found) == dict.fromkeys(CATEGORIES, 10)
    assert Counter(item.gold for item in found) == {0.0: 56, None: 28, 1.0: 56}
    assert len({item.id for item in found}) == 140
    assert all(item.shown == item.text for item in found)
    assert found.checksums == shipped_items().checksums
    with pytest.raises(BadInput, match="takes no column names"):
        open_rated_items("shipped", {"text": "prompt"})


def test_what_a_rater_is_shown() -> None:
    assert RatedItem("1", "[ASK]").shown == "[ASK]"
    assert RatedItem("1", "[ASK]", "[REPLY]").shown == "[ASK]\n[REPLY]"


def test_a_file_of_your_own(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "key,prompt,response,category,expert",
        "a1,[ASK 1],[REPLY 1],Self Harm,unsafe",
        "a2,[ASK 2],,gardening,0",
        "a3,,[REPLY],x,",
        "a1,[ASK 4],,x,",
        ",[ASK 5],,x,",
        "a6,[ASK 6],,x,unsure",
        "a7,[ASK 2],,x,",
    )
    found = open_rated_items(str(path), {"id": "key"})
    assert found.items == (
        RatedItem("a1", "[ASK 1]", "[REPLY 1]", "self_harm", 1.0),
        RatedItem("a2", "[ASK 2]", "", "gardening", 0.0),
        RatedItem("a7", "[ASK 2]", "", "x", None),
    )
    assert dict(found.rejected) == {
        3: f"{path}, row 3: The cell 'prompt' is empty.",
        4: f"{path}, row 4: The id 'a1' of row 1 is repeated here.",
        5: f"{path}, row 5: The cell 'key' is empty.",
        6: f"{path}, row 6: The expert label 'unsure' is neither safe nor unsafe.",
    }
    assert found.notes == ("1 items have the text and reply of an earlier one.",)
    assert found.checksums["items.csv"].startswith("xxh128:")


def test_ids_come_from_rows_where_there_is_no_column(tmp_path: Path) -> None:
    found = read_rated_items(write(tmp_path, "text", "[A]", "[B]"))
    assert [item.id for item in found] == ["row-0001", "row-0002"]
    with pytest.raises(BadInput, match="no column 'text'"):
        read_rated_items(write(tmp_path, "words", "[A]"))
    with pytest.raises(BadInput, match=r"No row can be used; the first: .*row 1"):
        read_rated_items(write(tmp_path, "text,gold", "[A],perhaps"))
    with pytest.raises(BadInput, match="is a rounded number"):
        read_rated_items(write(tmp_path, "id,text", "2.9E+14,[A]"))


def test_items_of_a_table_of_ratings_keep_their_ids(tmp_path: Path) -> None:
    path = write(tmp_path, "item,rater,rating,text,reply", "7,r1,safe,[ASK],[REPLY]", "8,r1,safe,,")
    found = items_of_table(read_ratings(path), name="mine")
    assert found.items == (RatedItem("7", "[ASK]", "[REPLY]"),)
    assert found.notes == ("1 items have no text and cannot be rated by a model.",)
    with pytest.raises(BadInput, match="No item has a text"):
        items_of_table(read_ratings(write(tmp_path, "item,rater,rating", "7,r1,safe")))


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Unknown rating set 'dicess'"):
        open_rated_items("dicess")
    with pytest.raises(BadInput, match="no folder of the public data set 'dices'"):
        open_rated_items("dices", data_root=tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        open_rated_items(str(tmp_path / "absent.csv"))


def test_prompts_of_demo_safetybench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "demo_safetybench"
    folder.mkdir()
    lines = ["query,gender,race,age,education,class"]
    lines += [f"[ASK {n}],Man,White,gen z,,{c}" for n, c in ((1, "None"), (2, "Self-Harm"), (2, "None"), (3, ""))]
    (folder / "Demo-SafetyBench.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="43,050"):
        open_rated_items("demo_safetybench", data_root=tmp_path)
    monkeypatch.setattr("evenhand.methods.pluralism.data.demo_safetybench.ROWS", 4)
    found = open_rated_items("demo_safetybench", data_root=tmp_path)
    assert [(item.text, item.domain) for item in found] == [("[ASK 1]", NONE), ("[ASK 2]", ""), ("[ASK 3]", "")]
    assert found.licence == "not stated"


@pytest.mark.data
def test_dices_items(public_data: Callable[[str], Path]) -> None:
    root = public_data("dices").parent
    found = open_rated_items("dices", data_root=root)
    assert len(found) == 350
    assert len({item.text for item in found}) == 271
    assert len({item.shown for item in found}) == 350
    assert Counter(item.gold for item in found) == {0.0: 175, 1.0: 175}
    assert found.licence == "CC BY 4.0"
    assert len(open_rated_items("dices-990", data_root=root)) == 990
