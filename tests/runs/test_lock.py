"""The lock of a run folder: one writer, none left behind by a kill, a sentence where it cannot be had."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.runs.lock import LOCK_NAME, hold
from evenhand.runs.run import Run

PLAN = {"config": {"seed": 0}, "identities": {}}
HOLDER = """
import sys, time
from pathlib import Path
from evenhand.runs.lock import hold
kept = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BadInput, match="Another process is writing this run"):
            hold(tmp_path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    hold(tmp_path).release()
    assert {entry.name for entry in tmp_path.iterdir()} <= {LOCK_NAME}


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_no_marker_file_takes_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def refused(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(BadInput, match="cannot be locked") as found:
        Run.start(tmp_path / "run", PLAN, resume=False)
    assert os.strerror(code) in str(found.value)
    assert str(tmp_path / "run") in str(found.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refused(path: object, flags: int, *rest: object, **more: object) -> int:
        if str(path).endswith(LOCK_NAME):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]

    Run.start(tmp_path / "run", PLAN, resume=False).release()
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(BadInput, match="cannot be locked"):
        Run.start(tmp_path / "run", PLAN, resume=True)


def test_a_kill_before_the_manifest_does_not_spoil_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    hold(folder).release()
    assert (folder / LOCK_NAME).exists()
    Run.start(folder, PLAN, resume=False).release()
    assert (folder / "manifest.json").exists()


def test_a_run_that_began_and_ended_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    real = Run._hold

    def late(run: Run) -> None:
        monkeypatch.setattr(Run, "_hold", real)
        Run.start(folder, {**PLAN, "identities": {"first": {}}}, resume=False).release()
        real(run)

    monkeypatch.setattr(Run, "_hold", late)
    with pytest.raises(BadInput, match="already holds a run"):
        Run.start(folder, PLAN, resume=False)
    assert Run.open(folder).manifest["plan"]["identities"] == {"first": {}}
    hold(folder).release()  # and the lock was let go
