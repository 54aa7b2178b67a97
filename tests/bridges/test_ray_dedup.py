"""Near-duplicates on two local Ray workers: the files of one machine, byte for byte, and its errors."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evenhand.bridges.ray_dedup import find_duplicates_on_ray
from evenhand.cli.main import app
from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.row_file import RowFile

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: evenhand[scale]")
CASES = ("csv", "jsonl", "parquet", "unverified", "killed", "crowded batch", "crowded")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("ray_dedup_script.py")
    folder = tmp_path_factory.mktemp("ray")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@needs_ray
@pytest.mark.parametrize("case", CASES)
def test_the_files_are_those_of_one_machine(found: dict[str, Any], case: str) -> None:
    names = found[case]["files"]
    assert len(names) == 8
    assert {"dropped.csv", "dedup.json", "no_features.csv"} <= set(names)
    assert found[case]["differ"] == []
    assert found[case]["dropped"] > 50
    assert ("crowded" in case) == any("too many near pairs to hold" in text for text in found[case]["warnings"])


@needs_ray
def test_a_worker_was_killed_at_the_search_and_a_broken_row_is_named(found: dict[str, Any]) -> None:
    assert found["workers_killed"] == 1
    assert "broken.csv, row 2: The row has 3 cells, the header 2." in found["broken"]


@needs_ray
def test_a_ray_that_was_started_here_is_ended_here(found: dict[str, Any]) -> None:
    assert found["alone"] == {"dropped": found["csv"]["dropped"], "left connected": False}


def test_without_ray_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na garden chair\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"needs ray, which is not here. Install it: pip install 'evenhand\[scale\]'"):
        find_duplicates_on_ray(RowFile(path), DedupConfig())
    told = CliRunner().invoke(app, ["corpus", "dedup", str(path), "--out", str(tmp_path / "out"), "--ray", "local"])
    assert isinstance(told.exception, BadInput)
    assert not (tmp_path / "out").exists()
