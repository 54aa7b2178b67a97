"""A DART repair killed by SIGKILL in each stage and resumed: the same bytes, and nothing asked of the teacher twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parents[3] / "support" / "dart_toy.py"
KILLS = (
    ("drawing", "M0 test 5"), ("teacher, distil", "teacher distil/ 5"), ("training, distil", "training adapter-distilled 1"),
    ("drawing the distilled model", "distilled val 5"), ("audit", "judge drift/ 3"), ("teacher, repair", "teacher repair/ 1"),
    ("training, repair", "training adapter-repaired 1"), ("re-audit, drawing", "repaired-inductive test 5"),
)  # fmt: skip
"""Each at the first request of a batch: the batches of four before it are journaled."""


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("dart_toy")


def killed(kind: str, folder: Path, *words: str) -> None:
    """Run the script until it is killed."""
    done = subprocess.run(
        [sys.executable, str(SUPPORT), kind, str(folder), *words],
        capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, (words[0], done.stderr[-2000:])


def lines(folder: Path, journal: str) -> int:
    """Finished batches of a stage."""
    path = folder / "run" / "dart" / f"{journal}.journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_in_each_stage_and_resumed(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for folder in (broken, whole):
        folder.mkdir()
    toy.write_rows(broken / "cases.csv", toy.toy_rows())
    for _, stage in KILLS:
        killed("toy", broken, stage)
    assert lines(broken, "teacher-distil") == 3
    unbroken = toy.Studio(whole).install(monkeypatch)
    unbroken.repair()
    resumed = toy.Studio(broken).install(monkeypatch)
    run, result = resumed.repair(resume=True)
    assert run.manifest["state"] == "done"
    assert result.facts["protocols"]["inductive"]["status"] == "repaired"

    first, second = toy.contents(whole / "run", journals=False), toy.contents(broken / "run", journals=False)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    adapters = [name for name in first if name.endswith("adapter_model.safetensors")]
    assert len(adapters) == 2

    assert set(resumed.asked("teacher").values()) == {1}
    assert resumed.asked("teacher") == unbroken.asked("teacher")
    for model in ("M0", "distilled", "repaired-inductive"):
        assert resumed.asked(model) == unbroken.asked(model), model


@pytest.mark.parametrize("stage", ["teacher distil/ 5", "teacher repair/ 1", "training adapter-repaired 1"])
def test_a_kill_leaves_no_half_made_table(toy: Any, tmp_path: Path, stage: str) -> None:
    toy.write_rows(tmp_path / "cases.csv", toy.toy_rows())
    killed("toy", tmp_path, stage)
    made = {path.stem for path in (tmp_path / "run" / "dart").glob("*.parquet")}
    assert ("teacher-distil" in made) == ("distil/" not in stage)
    assert ("teacher-inductive" in made) == stage.startswith("training")
    assert not (tmp_path / "run" / "findings.json").exists()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["state"] == "started"


def test_a_finished_repair_resumed_asks_and_trains_nothing(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = toy.Studio(tmp_path).install(monkeypatch)
    studio.repair(protocol="both", second="toy/second")
    before = toy.contents(tmp_path / "run")
    asked = studio.log.read_bytes()
    trained = [name for name, *_ in studio.trainings]
    run, _ = studio.repair(resume=True, protocol="both", second="toy/second")
    assert studio.log.read_bytes() == asked
    assert run.manifest["state"] == "done"
    assert toy.contents(tmp_path / "run") == before
    assert [name for name, *_ in studio.trainings] == trained * 2, (
        "a training that is finished is the training's own affair"
    )


ORGANISM: dict[str, Any] = {
    "model": "organism/aligned", "teacher": "scripted", "judge": "rule", "second": "echo", "batch": 16, "accumulation": 1,
    "rate": 5e-3, "repair_rate": 2e-3, "distil_cap": 2.0, "guard": 1.0, "max_tokens": 48, "limit": 64, "repetitions": 1,
    "epochs": 6, "draws": 200, "device": "cpu",
}  # fmt: skip
STAGES = (
    "M0 · outputs-M0-test", "teacher · distil", "training · distilled", "distilled · outputs-distilled-test",
    "teacher · repair", "training · repaired-inductive", "repaired (inductive) · outputs-repaired-inductive-test",
)  # fmt: skip


@pytest.mark.slow
def test_a_real_training_killed_in_each_stage_ends_with_the_same_adapter(toy: Any, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from evenhand.methods.dart.config import DartConfig
    from evenhand.methods.dart.repair.pipeline import run_dart

    config = DartConfig(**ORGANISM)
    _, result = run_dart(config, tmp_path / "whole")
    assert result.facts["protocols"]["inductive"]["status"] == "repaired"
    for stage in STAGES:
        killed("organism", tmp_path / "broken", stage, json.dumps(ORGANISM))
    run_dart(config, tmp_path / "broken", resume=True)
    first = toy.contents(tmp_path / "whole", journals=False)
    second = toy.contents(tmp_path / "broken", journals=False)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
