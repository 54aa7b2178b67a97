"""A run that meets a limit of the disk, for real, ends with one line and goes on to the same findings."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of a process are POSIX's")

# A write beyond the limit fails with EFBIG, halfway, as it does on a full disk with ENOSPC.
LIMITED = """
import resource, sys
sys.dont_write_bytecode = True
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
from evenhand.cli.main import main
main()
"""


def evenhand(folder: Path, limit: int, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_run_goes_on_after_each_file_that_did_not_fit(tmp_path: Path) -> None:
    rows = [
        (group, f"{group}{name}", f"s{stem}", "refusal" if (group == "b") == (stem < 2) else "answer")
        for group in "ab" for name in range(3) for stem in range(3)
    ]  # fmt: skip
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("group", "name", "stem", "label"), *rows])
    words = ["audit", "--labels", "labels.csv", "--reference-group", "a", "--out"]
    assert evenhand(tmp_path, 0, *words, "whole").returncode == 0
    findings = (tmp_path / "whole" / "findings.json").read_bytes()
    report = (tmp_path / "whole" / "report.html").stat().st_size
    sizes = sorted(
        {path.stat().st_size for path in (tmp_path / "whole").glob("**/*") if path.suffix in (".json", ".parquet")}
    )
    assert report > 2 * sizes[-1], "the report is the largest file"

    resume: list[str] = []
    for limit in (100, sizes[-1] - 1):
        done = evenhand(tmp_path, limit, *words, "run", *resume)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("evenhand: run/")
        assert "File too large. Raise the limit on the size of a file" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not list((tmp_path / "run").glob("**/.*.tmp"))
        resume = ["--resume"] if (tmp_path / "run" / "manifest.json").exists() else []
    done = evenhand(tmp_path, (sizes[-1] + report) // 2, *words, "run", *resume)
    assert done.returncode == 0, done.stderr
    assert "The run is finished and its findings are written" in done.stderr
    assert "report: not written" in done.stdout
    assert (tmp_path / "run" / "findings.json").read_bytes() == findings
    assert not (tmp_path / "run" / "report.html").exists()
    assert evenhand(tmp_path, 0, "report", "run").returncode == 0
    assert (tmp_path / "run" / "report.html").exists()
