"""The comparison of golden runs: numbers, tests, rows and tables must be equal; words and new fields may differ."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

_SPEC = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

FINDING: dict[str, Any] = {"id": "a/1", "estimate": 0.25, "interval": {"low": 0.1, "high": 0.4}, "reason": "few names"}


def written(folder: Path, finding: dict[str, Any], rows: list[int] | None = None) -> Path:
    run = folder / "audit"
    (run / "tables").mkdir(parents=True)
    audits = {"service": {"findings": [finding], "rows": 2}}
    (run / "findings.json").write_text(json.dumps({"created": str(folder), "audits": audits}), encoding="utf-8")
    if rows is not None:
        pl.DataFrame({"x": rows}).write_parquet(run / "tables" / "grades.parquet")
    return folder


def changed(finding: dict[str, Any]) -> dict[str, Any]:
    return {**FINDING, **finding}


@pytest.mark.parametrize(
    ("after", "rows", "line"),
    [
        (FINDING, [1, 2], ""),
        (changed({"reason": "too few names"}), [1, 2], ""),
        (changed({"decision": "cannot tell"}), [1, 2], ""),
        (changed({"estimate": 0.26}), [1, 2], "findings.service.findings[a/1].estimate: 0.25, now 0.26"),
        (changed({"interval": None}), [1, 2], "findings.service.findings[a/1].interval"),
        (changed({"id": "a/2"}), [1, 2], "findings.service.findings[a/1].id: 'a/1', now 'a/2'"),
        ({"id": "a/1", "estimate": 0.25, "reason": ""}, [1, 2], "findings.service.findings[a/1].interval: gone"),
        (FINDING, None, "tables/grades.parquet: gone"),
        (FINDING, [1, 3], "tables/grades.parquet: other rows"),
    ],
)
def test_compare(
    after: dict[str, Any], rows: list[int] | None, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = golden.compare(written(tmp_path / "before", FINDING, [1, 2]), written(tmp_path / "after", after, rows))
    out = capsys.readouterr().out
    assert code == (1 if line else 0)
    assert f"1 runs, 1 findings, 1 tables: {1 if line else 0} differences" in out
    assert line in out


@pytest.mark.parametrize(
    "spoil", [lambda run: (run / "findings.json").unlink(), lambda run: run.rename(run.parent / "x")]
)
def test_a_run_or_its_findings_cannot_be_missing(spoil: Callable[[Path], Any], tmp_path: Path) -> None:
    before = written(tmp_path / "before", FINDING, [1])
    after = written(tmp_path / "after", FINDING, [1])
    spoil(after / "audit")
    assert golden.compare(before, after) == 1


def test_an_empty_folder_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    assert golden.compare(tmp_path / "before", tmp_path) == 1
