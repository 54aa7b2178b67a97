"""Temporary files of killed processes are removed at the next start, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evenhand import files
from evenhand.files import is_leftover, remove_leftovers, temporary_path, write_atomically
from evenhand.runs.run import Run

PLAN = {"config": {"seed": 0}}


@pytest.fixture(scope="module")
def ended() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def named(folder: Path, tail: str, name: str = "manifest.json") -> Path:
    path = folder / f".{name}.{tail}.tmp"
    path.write_bytes(b"half of i")
    return path


def test_only_files_of_ended_processes_of_this_host_are_left_over(tmp_path: Path, ended: int) -> None:
    host = files._host()
    gone = [named(tmp_path, f"{host}-{ended}"), named(tmp_path, str(ended)), named(tmp_path, f"{host}-{ended}", "a.b")]
    kept = [
        named(tmp_path, f"{host}-{os.getppid()}"),  # it runs
        named(tmp_path, str(os.getppid())),
        named(tmp_path, f"{host}-{os.getpid()}"),  # ours, and new
        named(tmp_path, f"00000000-{ended}"),  # another host's
        named(tmp_path, "backup"),
        named(tmp_path, f"{host}-{ended}x"),
        named(tmp_path, f"{host}-99999999999999999999"),
    ]
    other = tmp_path / f"manifest.json.{ended}.tmp"  # not hidden: a user's
    other.write_bytes(b"")
    assert [path for path in gone if is_leftover(path)] == gone
    assert not [path for path in (*kept, other) if is_leftover(path)]
    assert remove_leftovers(tmp_path) == sorted(gone)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, other])


def test_an_old_file_with_our_own_process_number_is_left_over(tmp_path: Path) -> None:
    path = named(tmp_path, f"{files._host()}-{os.getpid()}")  # numbers are used again, in a container at each start
    assert not is_leftover(path)
    os.utime(path, (1, 1))
    assert is_leftover(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_neither_links_nor_folders_are_removed(tmp_path: Path, ended: int) -> None:
    target = tmp_path / "thesis.txt"
    target.write_text("mine")
    link = tmp_path / f".x.{ended}.tmp"
    link.symlink_to(target)
    (tmp_path / f".y.{ended}.tmp").mkdir()
    assert remove_leftovers(tmp_path) == []
    assert target.read_text() == "mine"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal there")
def test_a_process_killed_while_it_writes_leaves_nothing_after_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run.start(folder, PLAN, resume=False).release()
    (folder / "service").mkdir()
    script = (
        "import os, signal, sys; from pathlib import Path; from evenhand import files\n"
        "files.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_atomically(Path(sys.argv[1]), b'new')"
    )
    for path in (folder / "manifest.json", folder / "service" / "items.parquet"):
        killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert len(list(folder.rglob(".*.tmp"))) == 2
    Run.start(folder, PLAN, resume=True).release()
    assert list(folder.rglob(".*.tmp")) == []


def test_a_run_killed_before_its_manifest_may_be_started_again(tmp_path: Path, ended: int) -> None:
    (tmp_path / ".lock").write_bytes(b"")
    named(tmp_path, f"{files._host()}-{ended}")
    Run.start(tmp_path, PLAN, resume=False).release()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "manifest.json"]


def test_the_name_beside_a_file_is_recognised(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert files._NAME.fullmatch(temporary_path(tmp_path / "a.json").name)
