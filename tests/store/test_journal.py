"""The journal: a kill loses at most the batch under way, and damage elsewhere is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.records import Response
from evenhand.store.journal import Journal


def rows(text: str, count: int = 2) -> list[Response]:
    return [Response("m", f"item-{i}", i, text, "stop", completion_tokens=3) for i in range(count)]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "j.jsonl")
    journal.append("one", rows("hello"))
    journal.append("two", rows("café \ud800 \x1b[31m\n"))
    journal.close()
    assert Journal(journal.path).read() == {"one": rows("hello"), "two": rows("café \ud800 \x1b[31m\n")}


@given(cut=st.integers(min_value=1, max_value=400))
def test_a_truncated_last_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    journal = Journal(path)
    journal.append("one", rows("first"))
    size = path.stat().st_size
    journal.append("two", rows("second"))
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(size, len(whole) - cut)])
    again = Journal(path)
    assert again.read() == {"one": rows("first")}
    assert path.stat().st_size == size
    again.append("two", rows("second"))
    again.close()
    assert path.read_bytes() == whole


def test_the_later_line_of_a_batch_wins(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("one", rows("failed"))
    journal.append("one", rows("answered"))
    journal.close()
    assert journal.read() == {"one": rows("answered")}


@pytest.mark.parametrize("change", [b"X", b""])
def test_damage_before_the_last_line_names_the_line(tmp_path: Path, change: bytes) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("one", rows("first"))
    journal.append("two", rows("second"))
    journal.close()
    damaged = journal.path.read_bytes().replace(b"first", change, 1)
    journal.path.write_bytes(damaged)
    with pytest.raises(BadInput, match=r"row 1: The journal line is damaged"):
        journal.read()
    assert journal.path.read_bytes() == damaged
