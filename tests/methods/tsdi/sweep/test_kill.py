"""A sweep killed by SIGKILL and resumed: the same bytes, and nothing that was journaled is drawn again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import BadInput

SUPPORT = Path(__file__).parents[3] / "support" / "sweep_toy.py"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("sweep_toy")


def test_killed_in_two_settings_and_resumed(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for folder in (broken, whole):
        folder.mkdir()
    for stage in ("plain 20", "static-2 9"):
        done = subprocess.run(
            [sys.executable, str(SUPPORT), str(broken), stage], capture_output=True, text=True, timeout=240,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    # The prompts stand in the plan, so both runs must read one file.
    (whole / "prompts.csv").write_bytes((broken / "prompts.csv").read_bytes())
    resumed = toy.Studio(broken).install(monkeypatch)
    run, result = resumed.sweep(resume=True)
    asked = resumed.asked()
    assert resumed.estimates == [], "the bias was finished before the first kill"
    unbroken = toy.Studio(whole).install(monkeypatch)
    other, same = unbroken.sweep()
    assert run.manifest["state"] == other.manifest["state"] == "done"
    first, second = toy.contents(broken / "run"), toy.contents(whole / "run")
    assert first.keys() == second.keys()
    assert not [name for name in first if name.endswith(".journal.jsonl")]
    assert [name for name in first if first[name] != second[name]] == []
    for setting, times in unbroken.asked().items():
        again = asked[setting] - times
        assert 0 <= again < 8, f"{setting}: at most one batch is drawn twice"
    assert result.facts == same.facts


def test_other_settings_do_not_resume_a_run(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = toy.Studio(tmp_path).install(monkeypatch)
    studio.sweep(peers=("none",))
    before = studio.asked()
    studio.sweep(peers=("none",), resume=True)
    assert studio.asked() == before
    with pytest.raises(BadInput, match=r"margin was 0\.02 and is now 0\.05"):
        studio.sweep(peers=("none",), resume=True, margin=0.05)
    with pytest.raises(BadInput, match="already holds a run"):
        studio.sweep(peers=("none",))
