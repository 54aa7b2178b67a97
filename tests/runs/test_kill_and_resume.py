"""A run that is killed at ten random moments ends with the same bytes as one that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "kill_and_resume.py"
SETTINGS = {
    "models": ["organism/aligned"],
    "only": ["service"],
    "limit": 512,
    "repetitions": 3,
    "max_tokens": 40,
    "batch_tokens": 4096,
    "draws": 200,
    "seed": 5,
}


def run(folder: Path, kills: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), "11", str(kills), json.dumps(SETTINGS)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.timeout(600)
def test_ten_kills_leave_the_same_bytes(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole, 0)
    lines = run(broken, 10)
    assert sum(line.startswith("killed") for line in lines) == 10, lines
    for name in (
        "service/items.parquet",
        "service/responses.parquet",
        "service/grades.parquet",
        "service/measures.parquet",
    ):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    assert (whole / "findings.json").read_bytes() == (broken / "findings.json").read_bytes()
    before, after = (json.loads((folder / "manifest.json").read_text()) for folder in (whole, broken))
    for manifest in (before, after):
        for clock in ("created", "timings", "checksum"):
            manifest.pop(clock)
    assert before == after
