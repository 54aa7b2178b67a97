"""Standard output as other programs leave it: any encoding, a closed pipe, a full disk, none at all; and a hostile terminal."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "evenhand"]
AUDIT = ["audit", "--labels", "labels.csv", "--reference-group", "a", "--out"]
FULL = Path("/dev/full")
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202etxt\r\n=1+1"


def full_disk() -> io.BufferedWriter:
    """A file on a disk without space."""
    if not FULL.exists():
        pytest.skip("there is no /dev/full here")
    return FULL.open("wb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels, and a finished run of them in ``run``."""
    place = tmp_path_factory.mktemp("streams")
    rows = [
        (group, f"{group}{name}", f"s{stem}", "refusal" if (group == "b") == (stem < 2) else "answer")
        for group in "ab" for name in range(3) for stem in range(3)
    ]  # fmt: skip
    with (place / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("group", "name", "stem", "label"), *rows])
    subprocess.run([*COMMAND, *AUDIT, "run"], cwd=place, check=True, capture_output=True)
    return place


def state(folder: Path) -> Any:
    from evenhand.runs.run import Run

    return Run.open(folder).manifest["state"]


def test_an_output_that_is_not_utf_8_gets_escapes_and_the_run_is_finished(folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([*COMMAND, *AUDIT, "ascii"], cwd=folder, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u25cf " in done.stdout
    assert state(folder / "ascii") == "done"


def left_by_its_reader(folder: Path, words: list[str], unbuffered: str = "") -> None:
    """Run a command whose output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.returncode == 0, (words, done.stderr)
    assert b"Broken" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_leaves_does_not_fail_a_run(folder: Path) -> None:
    left_by_its_reader(folder, [*AUDIT, "head"])
    assert state(folder / "head") == "done"
    assert (folder / "head" / "report.html").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["show", "run"], ["show", "run", "--csv"], ["list", "audits"], ["--help"]])
def test_a_reader_that_leaves_does_not_fail_a_command(folder: Path, words: list[str], unbuffered: str) -> None:
    left_by_its_reader(folder, words, unbuffered)


def test_a_full_disk_behind_the_output_leaves_a_finished_run(folder: Path) -> None:
    with full_disk() as full:
        done = subprocess.run([*COMMAND, *AUDIT, "full"], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert state(folder / "full") == "done"
    assert done.stderr.startswith(b"evenhand: standard output: No space left on device.")
    assert b"The run is finished" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", [["show", "run", "--csv"], ["list", "audits"], ["--help"]])
def test_a_full_disk_behind_an_output_that_was_asked_for_is_code_2(folder: Path, words: list[str]) -> None:
    with full_disk() as full:
        done = subprocess.run([*COMMAND, *words], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"evenhand: standard output: No space left on device.")
    assert done.stderr.count(b"\n") == 1


def test_findings_as_json_on_a_full_disk_are_code_2_and_the_run_is_finished(folder: Path) -> None:
    with full_disk() as full:
        words = [*COMMAND, *AUDIT, "json", "--json"]
        done = subprocess.run(words, cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"The run is finished" in done.stderr
    assert state(folder / "json") == "done"


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_error(folder: Path, closed: str) -> None:
    shell = f'"{sys.executable}" -m evenhand list audits {closed}'
    assert subprocess.run(shell, cwd=folder, shell=True, check=False).returncode == 0


def test_a_terminal_gets_no_escape_sequences_of_a_model_and_a_file_gets_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import polars as pl

    from evenhand.console.screens import print_csv

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    frame = pl.DataFrame({"id": ["1"], "text": [HOSTILE], "\x1b[2Jname": [-1.5]})
    shown: dict[str, str] = {}
    for kind, stream in (("terminal", Terminal(newline="")), ("file", io.StringIO(newline=""))):
        monkeypatch.setattr(sys, "stdout", stream)
        print_csv(frame)
        shown[kind] = stream.getvalue()
    assert not set("\x1b\x07\u202e") & set(shown["terminal"])
    assert list(csv.reader(io.StringIO(shown["terminal"], newline=""))) == [
        ["id", "text", "name"],
        ["1", "redtxt\n=1+1", "-1.5"],
    ]
    assert list(csv.reader(io.StringIO(shown["file"], newline="")))[1] == ["1", HOSTILE, "-1.5"]
