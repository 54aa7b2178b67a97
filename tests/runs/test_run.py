"""Run folders: one plan, one writer, and nothing overwritten."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from evenhand.errors import BadInput
from evenhand.files import read_json, write_json
from evenhand.records import Finding, HypothesisTest, Interval
from evenhand.runs.check import SCHEMA_FILE, finding_from, findings_schema
from evenhand.runs.run import LOCK_NAME, Run, hold

PLAN = {"config": {"seed": 0, "models": ["a"]}, "identities": {"a": {"weights": "1"}}}


def test_a_run_is_resumed_only_under_the_same_plan(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run.start(folder, PLAN, resume=False).release()
    with pytest.raises(BadInput, match="already holds a run"):
        Run.start(folder, PLAN, resume=False)
    Run.start(folder, PLAN, resume=True).release()
    changed = {**PLAN, "identities": {"a": {"weights": "2"}}}
    with pytest.raises(BadInput, match=r"identities\.a\.weights was '1' and is now '2'"):
        Run.start(folder, changed, resume=True)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty and holds no run"):
        Run.start(tmp_path, PLAN, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", PLAN, resume=False)
    code = (
        "import sys, json; from pathlib import Path; from evenhand.runs.run import Run\n"
        f"Run.start(Path({str(run.folder)!r}), json.loads({json.dumps(PLAN)!r}), resume=True)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Another process is writing this run" in other.stderr
    run.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["findings.json"]


def test_findings_survive_the_file_and_fit_the_shipped_schema(tmp_path: Path) -> None:
    finding = Finding(
        "service/declined/risk_difference/b",
        "service",
        "risk_difference",
        "declined",
        "m",
        "b",
        "a",
        0.125,
        "difference of probabilities",
        Interval(0.0, 0.25, 0.95, "percentile"),
        HypothesisTest(0.5, "permutation of names", 2 / 12870, 7, 12870, True, "f", 7, 1.0, 0.5),
        n=10,
        clusters={"names": 16},
    )
    run = Run.start(tmp_path / "run", PLAN, resume=False)
    audit = {
        "audit": "service", "verdicts": [], "findings": [finding], "headlines": [], "rows": 10, "missing": 0,
        "methods": [], "caveats": [], "facts": {},
    }  # fmt: skip
    run.write_findings({"service": audit})
    written = json.loads(run.findings_path.read_text())
    jsonschema.validate(written, findings_schema())
    assert finding_from(run.read_findings()["service"]["findings"][0]) == finding
    assert json.loads(SCHEMA_FILE.read_text()) == findings_schema(), "run `python -m evenhand.runs.check`"


HOLDER = """
import sys, time
from pathlib import Path
from evenhand.runs.run import hold
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
