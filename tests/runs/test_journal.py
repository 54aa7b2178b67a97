"""The journal: a kill, a full disk or a damaged line costs at most the batches that they hit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.records import Response
from evenhand.runs.journal import Journal
from evenhand.runs.tables import responses_frame


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


def filled(path: Path, *keys: str) -> list[bytes]:
    """The lines of a journal with one batch for each key."""
    journal = Journal(path)
    for key in keys:
        journal.append(key, rows(f"text of {key}"))
    journal.close()
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"text", b"Text", 1),
        lambda line: line[: len(line) // 2] + b"\n",
        lambda line: b"\0" * (len(line) - 1) + b"\n",
        lambda line: b"\xff\xfe" + line[2:],
        lambda line: b"[" * 100_000 + b"\n",
        lambda line: b"[1]\n",
        lambda line: b"{}\n",
        lambda line: b"null\n",
        lambda line: b"\n",
    ],
)
def test_a_damaged_middle_line_costs_its_own_batch_alone(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "j.jsonl"
    lines = filled(path, "one", "two", "three")
    path.write_bytes(lines[0] + damage(lines[1]) + lines[2])
    journal = Journal(path)
    assert journal.read() == {key: rows(f"text of {key}") for key in ("one", "three")}
    assert journal.damaged == 1
    assert Journal(path).read().keys() == {"one", "three"}
    assert caplog.text.count("1 of 3 lines are damaged (first: line 2: ") == 1  # by two journals of the file
    journal.append("two", rows("done again"))
    journal.close()
    assert Journal(path).read()["two"] == rows("done again")


@given(st.data())
def test_no_flipped_byte_gives_another_text(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    raw = bytearray(b"".join(filled(path, "one", "two", "three")))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    whole = {key: rows(f"text of {key}") for key in ("one", "two", "three")}
    found = Journal(path).read()
    assert found.items() <= whole.items()
    assert len(found) >= 1


class _Disk:
    """Stands in for ``os.write``: takes a part of each write, and nothing more once ``room`` bytes are used up."""

    def __init__(self, room: int, part: int = 1 << 30, fault: BaseException | None = None):
        self.room, self.part, self.fault, self.write = room, part, fault, os.write

    def __call__(self, handle: int, data: Any) -> int:
        if self.room <= 0:
            if self.fault is None:
                return 0
            raise self.fault
        written = self.write(handle, data[: min(self.part, self.room)])
        self.room -= written
        return written


def test_a_write_in_parts_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = filled(tmp_path / "whole.jsonl", "one", "two")
    monkeypatch.setattr(os, "write", _Disk(1 << 30, part=7))
    assert filled(tmp_path / "parts.jsonl", "one", "two") == whole


def test_an_interrupted_write_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = filled(tmp_path / "whole.jsonl", "one", "two")
    write, calls = os.write, []

    def interrupted(handle: int, data: Any) -> int:
        calls.append(1)
        if len(calls) % 2:
            raise InterruptedError
        return write(handle, data)

    monkeypatch.setattr(os, "write", interrupted)
    assert filled(tmp_path / "again.jsonl", "one", "two") == whole


@pytest.mark.parametrize("room", [0, 1, 40])
@pytest.mark.parametrize(
    "fault", [None, OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Disk quota exceeded")]
)
def test_a_full_disk_never_leaves_a_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, fault: OSError | None
) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("one", rows("first"))
    before = journal.path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", _Disk(room, fault=fault))
        with pytest.raises(OSError, match=r"the journal could not be written.*continue with --resume") as caught:
            journal.append("two", rows("second"))
    assert (caught.value.errno, caught.value.filename) == (fault.errno if fault else errno.ENOSPC, str(journal.path))
    assert journal.path.read_bytes() == before
    journal.append("two", rows("second"))  # there is room again
    journal.close()
    assert Journal(journal.path).read() == {"one": rows("first"), "two": rows("second")}


def test_an_interrupt_within_a_line_is_cut_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("one", rows("first"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", _Disk(20, fault=KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            journal.append("two", rows("second"))
    journal.append("two", rows("second"))
    journal.close()
    reread = Journal(journal.path)
    assert reread.read() == {"one": rows("first"), "two": rows("second")}
    assert reread.damaged == 0


def test_a_part_that_cannot_be_cut_back_does_not_spoil_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.jsonl"
    lines = filled(path, "one", "two")
    path.write_bytes(lines[0] + lines[1][:30])
    journal = Journal(path)
    journal.append("two", rows("text of two"))  # without a read before, which would have cut it off
    journal.close()
    assert path.read_bytes() == lines[0] + lines[1][:30] + b"\n" + lines[1]
    assert Journal(path).read().keys() == {"one", "two"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_file_size_limit_of_the_system_loses_no_finished_batch(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    script = """
import resource, signal, sys
from pathlib import Path
from evenhand.records import Response
from evenhand.runs.journal import Journal
from evenhand.runs.tables import responses_frame
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
journal, done = Journal(Path(sys.argv[1])), 0
try:
    for number in range(20):
        journal.append(str(number), [Response("m", "i", number, "some text", "stop")])
        done += 1
except OSError as error:
    print(done, error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append("after", [Response("m", "i", 99, "some text", "stop")])
journal.close()
"""
    ran = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    done = int(ran.stdout.split()[0])
    journal = Journal(path)
    assert 0 < done < 20
    assert journal.read().keys() == {*map(str, range(done)), "after"}
    assert journal.damaged == 0


@pytest.mark.parametrize("count", [2**31, -1, 10**30, 7.5, float("nan"), "7", [7], True])
def test_an_implausible_token_count_of_an_older_journal_is_read_as_unknown(tmp_path: Path, count: Any) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("one", [Response("m", "i", 0, "text", "stop", prompt_tokens=count, completion_tokens=3)])
    journal.close()
    (row,) = Journal(journal.path).read()["one"]
    assert (row.prompt_tokens, row.completion_tokens) == (None, 3)
    assert responses_frame([row])["completion_tokens"].to_list() == [3]
