"""JSON and text of files that come in: depth, numbers, names, encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.text_input import DEEPEST, json_or, parse_json, read_json_file


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 3000 + "]" * 3000, f"nested more than {DEEPEST} levels"),
        ('{"a":' * 3000 + "1" + "}" * 3000, f"nested more than {DEEPEST} levels"),
        ('"' + '\\"' * 5000 + "[" * 200, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ("[1e400]", "not finite"),
        ("[NaN]", "not finite"),
        ("[-Infinity]", "not finite"),
        ('{"a": 1, "a": 2}', "gives 'a' more than once"),
        ('{"\\ud800": 1, "\\ud801": 2}', "more than once"),
        ("{", "not JSON"),
    ],
)
def test_json_beyond_the_limits_is_a_sentence_with_file_and_row(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        parse_json(text, file="rows.jsonl", row=7, what="The line")
    assert str(caught.value).startswith("rows.jsonl, row 7: The line ")
    assert json_or(text, "other") == "other"


def test_json_within_the_limits_is_read() -> None:
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert json_or(deep, None) is not None
    assert parse_json('{"a": "[[[", "b": [1, 2.5, null, true]}') == {"a": "[[[", "b": [1, 2.5, None, True]}
    assert parse_json('["\\ud800", "\\ud83d\\ude00"]') == ["\ufffd", "\U0001f600"]
    assert parse_json("[" + ",".join(['"[{"'] * 300) + "]") == ["[{"] * 300


@pytest.mark.parametrize(
    ("data", "why"),
    [(b'{"a": "\xe9"}', "byte 0xe9 at position 7, line 1"), ("{}".encode("utf-16"), "UTF-16"), (b"", "not JSON")],
)
def test_a_json_file_in_another_encoding_is_named(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "header.json"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=why) as caught:
        read_json_file(path)
    assert str(path) in str(caught.value)
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json_file(path) == [1]
