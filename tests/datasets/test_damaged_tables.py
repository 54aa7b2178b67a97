"""Tables that are damaged, of another encoding or another type: one sentence with the file and, where it is known, the row."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.datasets.table import read_table
from evenhand.errors import BadInput


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.csv", b"prompt;group\nhello;a\n", "separated by semicolons (';'), not by commas"),
        ("a.csv", "prompt,group\nx,a\ncaf\u00e9,b\n".encode("latin-1"), ", row 2: The file is not UTF-8: byte 0xe9"),
        ("a.csv", "prompt,group\nx,a\n".encode("utf-16"), "The file is UTF-16, not UTF-8"),
        ("a.csv", "prompt,group\nx,a\n".encode("utf-16-le"), "NUL character"),
        ("a.csv", b"prompt,group\nx,a\nx\x00y,b\n", ", row 2: The row holds a NUL character"),
        ("a.csv", b"prompt,group\nx,a\nx,b,c\n", ", row 2: The row has 3 cells, the header 2"),
        ("a.csv", b'prompt,group\nx,a\n"x,b\nx,c\n', ", row 2: The quotes of this row are broken"),
        ("a.csv", b"prompt,prompt\nx,a\n", "more than once: prompt"),
        ("a.jsonl", b'{"a": 1}\n' + b'{"a":' * 2000 + b"1" + b"}" * 2000, ", row 2: The line is nested more than"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": "\xe9"}\n', ", row 2: The file is not UTF-8"),
        ("a.jsonl", b"{}\n{}\n", "names a column"),
        ("a.parquet", b"prompt,group\nx,a\n", "does not begin with PAR1"),
        ("a.parquet", parquet(a=["x"])[:-9], "cut short"),
        ("a.parquet", parquet(a=[b"ok", b"\xff"]), ", row 2: The column 'a' holds binary data"),
        ("a.parquet", parquet(a=[{"b": b"\xff"}]), ", row 1: The column 'a' holds values of the type Struct"),
        ("a.parquet", parquet(a=pl.Series([2**62]).cast(pl.Datetime("ms"))), ", row 1: The column 'a' holds a time"),
        ("a.parquet", parquet(a=pl.Series([], dtype=pl.String)), "no rows"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_a_sentence(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read_table(path)
    assert why in str(caught.value)
    assert str(path) in str(caught.value)


def test_damaged_parquet_prints_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = parquet(a=[f"text {i}" for i in range(200)], b=list(range(200)))
    path = tmp_path / "a.parquet"
    refused = 0
    for place in range(4, len(good) - 8, 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            read_table(path)
        except BadInput as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017
    assert refused > 10
    assert capfd.readouterr().err == ""


def test_typed_parquet_columns_become_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(
        parquet(
            took=[timedelta(seconds=90), None], at=pl.Series([0, 1]).cast(pl.Time), raw=[b"ok", None],
            price=pl.Series([1, 2]).cast(pl.Decimal(10, 2)), kind=pl.Series(["x", "y"], dtype=pl.Categorical),
            many=[["a"], []],
        )
    )  # fmt: skip
    found = read_table(path).frame
    assert set(found.dtypes) == {pl.String}
    assert found.row(0) == ("PT1M30S", found["at"][0], "ok", "1.00", "x", '["a"]')


def test_a_column_named_like_a_pattern_is_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(**{"^.*$": [1], "*": [2]}))
    assert read_table(path).rows() == [{"^.*$": "1", "*": "2"}]
