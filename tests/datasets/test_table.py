"""Reading local tables: what is kept, and how bad files are told."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.datasets.table import as_table, holds_pairs, read_table, resolve
from evenhand.errors import BadInput


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_keeps_text_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", '\ufeffname,n,text\nNone,007,"two\nlines, ""quoted"""\nNA,,null\n')
    table = read_table(path)
    assert table.rows() == [
        {"name": "None", "n": "007", "text": 'two\nlines, "quoted"'},
        {"name": "NA", "n": "", "text": "null"},
    ]
    assert table.origin == str(path)
    assert table.checksum.startswith("xxh128:")


def test_tsv_and_blank_lines(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "a.tsv", "a\tb\r\n1\t2\r\n\r\n3\t4\r\n")).rows() == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]


def test_jsonl(tmp_path: Path) -> None:
    lines = ['{"a": "x", "n": 1, "b": true}', "", '{"a": null, "c": ["y", 2]}', '{"a": "\\ud800", "n": 1.5}']
    assert read_table(write(tmp_path, "a.jsonl", "\n".join(lines))).rows() == [
        {"a": "x", "n": "1", "b": "true", "c": None},
        {"a": None, "n": None, "b": None, "c": '["y", 2]'},
        {"a": "\ufffd", "n": "1.5", "b": None, "c": None},
    ]


def test_parquet_and_frames_agree(tmp_path: Path) -> None:
    data = {"name": ["Emily", None], "n": [1, 2], "ok": [True, False], "parts": [["a"], []]}
    frame = pl.DataFrame(data)
    frame.write_parquet(tmp_path / "a.parquet")
    wanted = [
        {"name": "Emily", "n": "1", "ok": "true", "parts": '["a"]'},
        {"name": None, "n": "2", "ok": "false", "parts": "[]"},
    ]
    for source in (
        tmp_path / "a.parquet",
        str(tmp_path / "a.parquet"),
        frame,
        frame.lazy(),
        pa.table(data),
        pd.DataFrame(data),
    ):
        assert as_table(source).rows() == wanted
    assert as_table(frame).origin == "the frame"


BAD_FILES = [
    ("a.txt", "x", r"a\.txt: Files of type '\.txt' are not read\. Known: \.csv, "),
    ("a.csv", "", r"a\.csv: The file is empty\."),
    ("a.csv", " \n\n", r"The file is empty\."),
    ("a.csv", "a,b\n", r"The file has a header and no rows\."),
    ("a.csv", "a,b,a\n1,2,3\n", r"The header names these columns more than once: a\."),
    ("a.csv", "a,,c\n1,2,3\n", r"Column 2 of the header has no name\."),
    ("a.csv", "a,b\n1,2\n3\n", r"a\.csv, row 2: The row has 1 cells, the header 2\."),
    ("a.csv", 'a,b\n"x\ny",2\n3,4,5\n', r"row 2: The row has 3 cells, the header 2\. Quote cells"),
    ("a.csv", 'a,b\n1,2\n"open,3\n', r"row 2: The quotes of this row are broken"),
    ("a.csv", b"a,b\n1,caf\xe9\n", r"The file is not UTF-8: byte 0xe9 at position 9\. Save it as UTF-8"),
    ("a.jsonl", '{"a": 1}\n{"a": \n', r"a\.jsonl, row 2: The line is not JSON"),
    ("a.jsonl", "[1]\n", r"row 1: The line is not a JSON object\. Write one object per line\."),
    ("a.jsonl", '{"a": 1, "a": 2}\n', r"row 1: The line gives 'a' more than once\."),
    ("a.parquet", b"PAR1 no", r"a\.parquet: The file is not readable Parquet"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_files_are_told(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_table(write(tmp_path, name, content))


def test_absent_file_and_unknown_object(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv: The file cannot be read: No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadInput, match=r"A table of type int is not known\. Give a path or a polars"):
        as_table(3)
    with pytest.raises(BadInput, match=r"frame: The table has no rows"):
        as_table(pl.DataFrame({"a": []}))


def test_a_megabyte_in_a_cell(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f'a,b\n"{"x, " * 350_000}",1\n')
    assert len(read_table(path).rows()[0]["a"] or "") == 1_050_000


def test_columns_are_mapped_and_missing_ones_listed() -> None:
    table = as_table(pl.DataFrame({"identity": ["a"], "name": ["b"], "template_id": ["T"]}))
    roles = resolve(
        table, {"group": "identity"}, required=("group", "name"), optional=("stem",), aliases={"stem": ["template_id"]}
    )
    assert roles == {"group": "identity", "name": "name", "stem": "template_id"}
    with pytest.raises(
        BadInput, match=r"There is no column 'group'\. Found: identity, name, template_id\. .*--map group=COLUMN"
    ):
        resolve(table, {}, required=("group",))
    with pytest.raises(BadInput, match=r"There is no column 'ident' for group\. Found: identity"):
        resolve(table, {"group": "ident"}, required=("group",))
    with pytest.raises(BadInput, match=r"There is no role 'gruop' to map\. Known roles: group"):
        resolve(table, {"gruop": "identity"}, required=("group",))


def test_a_file_holds_pairs_or_prompts(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, str], bool]] = [
        ("harmful,comparison,group\nx a,y a,g\n", {}, True),
        ("prompt,group\nx,g\n", {}, False),
        ("bad,good,group\nx a,y a,g\n", {}, False),
        ("bad,good,group\nx a,y a,g\n", {"harmful": "bad", "comparison": "good"}, True),
    ]
    for text, mapping, expected in cases:
        assert holds_pairs(write(tmp_path, "data.csv", text), mapping) is expected


CELL = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8))
def test_any_text_round_trips(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    import csv

    folder = tmp_path_factory.mktemp("t")
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerows([("a", "b"), *rows])
    wanted = [{"a": a, "b": b} for a, b in rows]
    assert read_table(folder / "a.csv").rows() == wanted
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, wanted)), encoding="utf-8")
    assert read_table(folder / "a.jsonl").rows() == wanted
