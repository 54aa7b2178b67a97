"""A training as a job of its own: what is written for it, what it reads back, how it is started, and what a failure says."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput, EngineError
from evenhand.methods.dart.repair import train as module
from evenhand.methods.dart.repair.rows import TrainingRow
from evenhand.methods.dart.repair.train import TrainPlan, TrainReport
from evenhand.records import Message

ROWS = [
    TrainingRow("a", (Message("system", "Say it."), Message("user", "Is it so? 「é」")), "It is.\nConclusion: YES"),
    TrainingRow("b", (Message("user", "Is it?"),), "No.\nConclusion: NO", 4.0, "extreme", "repair"),
]
PLAN = TrainPlan(epochs=2, rate=5e-3, batch=3, targets=("q_proj", "v_proj"), seed=7)
REPORT = TrainReport(1, 2, (), 0, 10, ((1, 0.5),), 0.0, "job")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `train_adapter` was called with."""
    calls: list[tuple[Any, ...]] = []

    def train(model: Any, rows: Any, plan: Any, out: Path, *, adapter: Path | None = None) -> TrainReport:
        calls.append((model, rows, plan, out, adapter))
        return REPORT

    monkeypatch.setattr(module, "train_adapter", train)
    return calls


def launcher(code: str) -> str:
    """A launcher's command that runs a line of Python and is given the rest as arguments."""
    return shlex.join([sys.executable, "-c", code])


def test_the_job_is_written_started_and_its_report_returned(tmp_path: Path, trained: list[Any]) -> None:
    out, seen = tmp_path / "out", tmp_path / "seen.json"
    command = launcher(f"import json, sys; json.dump(sys.argv[1:], open({str(seen)!r}, 'w'))")
    report = module.launch(command, "model", ROWS, PLAN, out, adapter=tmp_path / "before")
    assert report is REPORT
    assert json.loads(seen.read_text()) == ["-m", "evenhand.methods.dart.repair.train", str(out)]
    assert trained == [("model", ROWS, PLAN, out, tmp_path / "before")]


@pytest.mark.parametrize("adapter", [None, Path("before")])
def test_the_job_reads_back_what_was_written(tmp_path: Path, trained: list[Any], adapter: Path | None) -> None:
    module.launch(launcher("pass"), Path("model"), ROWS, PLAN, tmp_path, adapter=adapter)
    assert module.main(tmp_path) is REPORT
    (_, direct), = [(call[0], call[1:]) for call in trained[:1]]  # fmt: skip
    model, *rest = trained[1]
    assert (str(model), tuple(rest)) == ("model", direct)


TEXT = st.text(max_size=30)
ROW = st.builds(
    TrainingRow, TEXT, st.tuples(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT)), TEXT,
    st.floats(0, 9), st.sampled_from(["", "minor", "extreme"]), st.sampled_from(["distil", "repair"]),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(ROW, max_size=4))
def test_any_rows_survive_the_way_through_the_file(rows: list[TrainingRow]) -> None:
    import tempfile

    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(module, "train_adapter", lambda model, rows, *rest, **more: seen.append(list(rows)))
        patch.setattr(module.subprocess, "run", lambda command: module.subprocess.CompletedProcess(command, 0))
        module.launch(sys.executable, "model", rows, PLAN, Path(folder))
        module.main(Path(folder))
    assert seen == [rows, rows]


def test_a_launcher_that_fails_is_told_and_keeps_the_job(tmp_path: Path, trained: list[Any]) -> None:
    command = launcher("import sys; sys.exit(3)")
    with pytest.raises(EngineError, match=r"ended with exit code 3; continue with --resume"):
        module.launch(command, "model", ROWS, PLAN, tmp_path)
    assert trained == []
    assert (tmp_path / module.FILE).exists()


def test_a_launcher_that_is_killed_is_told(tmp_path: Path, trained: list[Any]) -> None:
    command = launcher("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(EngineError, match="exit code -9"):
        module.launch(command, "model", ROWS, PLAN, tmp_path)
    assert trained == []


@pytest.mark.parametrize("command", ["no-such-launcher --flag", "'unbalanced", " "])
def test_a_launcher_that_cannot_be_started_is_told(tmp_path: Path, trained: list[Any], command: str) -> None:
    with pytest.raises(BadInput, match=r"The launcher '.*' (cannot be read|names no program)"):
        module.launch(command, "model", ROWS, PLAN, tmp_path)
    assert trained == []


def test_no_shell_reads_the_command(tmp_path: Path, trained: list[Any]) -> None:
    seen = tmp_path / "seen.json"
    code = f"import json, sys; json.dump(sys.argv[1:], open({str(seen)!r}, 'w'))"
    module.launch(launcher(code) + " ';' touch '$HOME' '`id`'", "model", ROWS, PLAN, tmp_path / "a b; c")
    words = json.loads(seen.read_text())
    assert words[:4] == [";", "touch", "$HOME", "`id`"]
    assert words[-1] == str(tmp_path / "a b; c")
    assert not (tmp_path / "c").exists()
