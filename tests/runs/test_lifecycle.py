"""The one lifecycle of runs: what is written when, and what is released whatever happens."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.runs.lifecycle import closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult
from evenhand.runs.run import Run


class Settings(BaseModel):
    """A settings model with what every plan leaves out."""

    models: tuple[str, ...] = ("a/b",)
    device: str = "cpu"
    concurrency: int = 8
    max_failed: float = 0.01
    root: str = "here"


class ToyEngine:
    """Counts how often it is closed, and observes a fingerprint."""

    spec = "a/b"

    def __init__(self) -> None:
        self.closed = 0

    def identity(self) -> Any:
        return SimpleNamespace(row=lambda: {"spec": self.spec})

    def observed(self) -> dict[str, Any]:
        return {"fingerprints": ["f1"]}

    def close(self) -> None:
        self.closed += 1


RESULT = AuditResult("toy", verdicts=[], findings=[], headlines=[], rows=4, missing=1, facts={"grader": "human"})


def test_a_plan_leaves_out_what_changes_no_number(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("x", encoding="utf-8")
    engine: Any = ToyEngine()
    plan = plan_of(
        Settings(), {"toy": {"origin": "o"}}, {"model": engine}, files=[None, data], exclude={"root"},
        settings={"models": ["c/d"]}, mode="strict",
    )  # fmt: skip
    assert plan["config"] == {"models": ["c/d"], "device": "cpu"}
    assert (plan["audits"], plan["sources"]) == (["toy"], {"toy": {"origin": "o"}})
    assert plan["identities"] == {"model": {"spec": "a/b"}}
    assert [row["path"] for row in plan["inputs"]] == [str(data)]
    assert plan["mode"] == "strict"
    assert "inputs" not in plan_of(Settings(), {"toy": {}})


def test_a_run_that_ends_has_findings_and_what_engines_observed(tmp_path: Path) -> None:
    engine: Any = ToyEngine()
    with started(tmp_path / "run", {"audits": ["toy"]}, resume=False, engines={"model": engine}) as run:
        assert (run.folder / "observed.json").exists()
        run.record(RESULT)
    manifest = Run.open(tmp_path / "run").manifest
    assert manifest["state"] == "done"
    assert manifest["audits"] == {"toy": {"rows": 4, "missing": 1, "grader": "human"}}
    assert manifest["timings"]["toy"] >= 0
    assert manifest["observed"] == {"model": {"fingerprints": ["f1"]}}
    assert not (run.folder / "observed.json").exists()
    assert list(read_json(run.findings_path)["audits"]) == ["toy"]


def test_a_run_without_results_has_no_findings(tmp_path: Path) -> None:
    with started(tmp_path / "run", {"audits": ["corpus"]}, resume=False) as run:
        run.note("corpus", {"rows": 3, "missing": 0})
    assert Run.open(run.folder).manifest["state"] == "done"
    assert not run.findings_path.exists()


def test_an_error_leaves_the_run_unfinished_and_free(tmp_path: Path) -> None:
    plan = {"audits": ["toy"]}
    with suppress(ValueError), started(tmp_path / "run", plan, resume=False) as run:
        run.record(RESULT)
        raise ValueError("odd")
    assert Run.open(run.folder).manifest["state"] == "started"
    assert not run.findings_path.exists()
    with pytest.raises(BadInput, match="other settings"), started(run.folder, {"audits": ["b"]}, resume=True):
        pass
    with started(run.folder, plan, resume=True) as again:
        again.record(RESULT)
    assert again.findings_path.exists()


def test_every_engine_is_closed_once(tmp_path: Path) -> None:
    shared: Any = ToyEngine()
    late: Any = ToyEngine()
    with suppress(ValueError), closing_engines({"teacher": shared, "judge": shared}) as engines:
        engines["late"] = late
        raise ValueError("odd")
    assert (shared.closed, late.closed) == (1, 1)


def test_engine_options_are_those_that_the_settings_have() -> None:
    options = engine_options(Settings(device="cuda:1", concurrency=3))
    assert (options.device, options.concurrency, options.dtype, options.plain) == ("cuda:1", 3, "auto", False)
