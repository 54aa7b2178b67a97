"""Rows one after another: the same cells as the table reader, and errors that name the row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evenhand.datasets.table import read_table
from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.row_file import RowFile

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def texts(path: Path, **columns: str) -> list[str]:
    return [row.text for row in RowFile(path, columns or None).rows()]


def kept(path: Path, wanted: list[bool], target: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    RowFile(path).write_rows(np.array(wanted), target, lambda number, name: found.append((number, name)))
    return found


@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8),
    suffix=st.sampled_from(["csv", "tsv", "jsonl", "parquet"]),
)
@example(rows=[("", "\r"), ("a\rb", ""), ("\n", "'\"")], suffix="csv")
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_table_reader_and_are_written_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    path = folder / f"a.{suffix}"
    frame = pl.DataFrame({"id": [a for a, _ in rows], "text": [b for _, b in rows]})
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dicts()), encoding="utf-8")
    else:
        frame.write_csv(path, separator="," if suffix == "csv" else "\t", quote_style="always")
    expected = read_table(path).rows()
    found = list(RowFile(path).rows())
    assert [(row.id, row.text) for row in found] == [(row["id"], row["text"]) for row in expected]
    assert [row.number for row in found] == list(range(1, len(rows) + 1))
    wanted = [number % 2 == 0 for number in range(len(rows))]
    assert kept(path, wanted, folder / f"b.{suffix}") == [(row.number, row.id) for row in found]
    again = [row for row, want in zip(expected, wanted, strict=True) if want]
    assert read_table(folder / f"b.{suffix}").rows() == again
    assert {entry.name for entry in folder.iterdir()} == {path.name, f"b.{suffix}"}


def test_columns_are_found_by_name_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",query,note\n7,None,x\n\n8,007,y\n", encoding="utf-8-sig")
    assert texts(path) == ["None", "007"]
    assert [row.id for row in RowFile(path, {"text": "note", "id": "index"}).rows()] == ["7", "8"]
    with pytest.raises(BadInput, match="no column 'words'"):
        RowFile(path, {"text": "words"})
    rest = [row.rest for row in RowFile(path, {"text": "query", "id": "note"}).rows()]
    assert rest[0] != rest[1]
    assert len({row.rest for row in RowFile(path, {"text": "query", "id": "index"}).rows()}) == 2


def test_other_lines_of_json_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"text": "one",   "n": 1.50}', '{"n": [1], "text": "two", "more": null}', '{"text": "three"}']
    path.write_bytes(("\n\n".join(lines)).encode())
    kept(path, [True, False, True], tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text() == f"{lines[0]}\n{lines[2]}\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "Unsupported file type '.txt'"),
        ("a.csv", b"", "The file is empty"),
        ("a.jsonl", b"\n \n", "The file is empty"),
        ("a.csv", b"\n\n", "The file is empty"),
        ("a.csv", b"\n\ntext\n", "has no rows"),
        ("a.csv", b"text\n", "has no rows"),
        ("a.csv", b"text,text\na,b\n", "more than once: text"),
        ("a.csv", b"text,,c\na,b,c\n", "Column 2 of the header"),
        ("a.csv", b"words\na\n", "no column 'text'"),
        ("a.csv", b"text,b\na,b\nc\n", "row 2: The row has 1 cells"),
        ("a.csv", b'text\na\n"b" c\n', "row 2: The quoting"),
        ("a.csv", b"text\na\n\xff\n", "not UTF-8: byte 0xff"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "row 2: The line is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "row 2: The line is not a JSON object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": null}\n', "row 2: The column 'text' is missing"),
        ("a.jsonl", b'{"text": "a"}\n{"n": 1}\n', "row 2: The column 'text' is missing"),
        ("a.jsonl", b'{"text": "a", "text": "b"}\n', "row 1: .*more than once"),
        ("a.jsonl", b'{"text": "a"}\n\xfe\n', "not UTF-8: byte 0xfe"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 100_000 + b"\n", "row 2: The line is nested"),
        ("a.parquet", b"no parquet at all", "not readable Parquet"),
    ],
)
def test_broken_files_are_told_with_their_row(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        texts(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_changed_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(BadInput, match="cannot be read"):
        RowFile(path)
    path.write_text("text\na\n")
    source = RowFile(path)
    path.write_text("text\na\nb\n")
    with pytest.raises(BadInput, match="changed while it was read"):
        source.write_rows(np.array([True]), tmp_path / "b.csv", lambda number, name: None)
    assert not (tmp_path / "b.csv").exists()


def test_progress_reaches_the_end_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": [str(n) for n in range(20_000)]}).write_parquet(path)
    heard: list[tuple[int, int]] = []
    assert sum(1 for _ in RowFile(path).rows(lambda done, total: heard.append((done, total)))) == 20_000
    assert heard[-1] == (20_000, 20_000)
    assert len(heard) > 1
