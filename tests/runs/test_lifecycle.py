"""The one lifecycle of runs: what is written when, and what is released whatever happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import BaseModel

from evenhand.config import make_config
from evenhand.engines.ticks import merged_facts
from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.runs.journal import RowJournal
from evenhand.runs.lifecycle import Observations, closing_engines, engine_options, plan_of, started
from evenhand.runs.method import AuditResult
from evenhand.runs.run import Run
from evenhand.runs.runner import run_audits


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


class Killed(BaseException):
    """Stands in for a kill."""


def run_killed_at(
    config: Any, folder: Path, moments: Sequence[int], monkeypatch: pytest.MonkeyPatch, cache: Path | None = None
) -> dict[str, Any]:
    """Start and resume a run; attempt n ends right after its append number ``moments[n]``. Returns the manifest."""
    append, count = RowJournal.append, [0, 0]

    def killing(self: RowJournal[Any], key: str, batch: Sequence[Any]) -> None:
        append(self, key, batch)
        count[0] += 1
        if count[0] == count[1]:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RowJournal, "append", killing)
        for number, moment in enumerate(moments):
            count[:] = [0, moment]
            with pytest.raises(Killed):
                run_audits(config, folder, resume=number > 0, cache=cache)
    run_audits(config, folder, resume=bool(moments), cache=cache)
    assert not (folder / "observed.json").exists()
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return found


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        f"{group}-{word},{word},They say the,{group} {word},greens {word},{group},greens,harm,some"
        for group in ("reds", "blues")
        for word in (f"lie{n}" for n in range(8))
    ]
    head = "pair_id,cluster_id,context,harmful,comparison,group,comparison_group,kind,template"
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_a_killed_and_resumed_reward_run_keeps_what_its_models_observed(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        models=("organism/dpo",), only=("reward",), data=pairs, draws=100, batch_tokens=256, device="cpu"
    )
    whole = run_killed_at(config, tmp_path / "whole", [], monkeypatch)
    assert {role: sorted(facts) for role, facts in whole["observed"].items()} == {
        "organism/base": ["packing", "start"],
        "organism/dpo": ["packing", "start"],
    }
    lines = (tmp_path / "whole" / "reward" / "scores-sentence.journal.jsonl").read_bytes().count(b"\n")
    # The second attempt ends after the last score, so that the third one computes none and observes nothing by itself.
    broken = run_killed_at(config, tmp_path / "broken", [1, lines - 1], monkeypatch)
    assert broken["observed"] == whole["observed"]


def test_a_backend_seen_before_the_kill_is_in_the_manifest(
    tmp_path: Path, fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.csv"
    rows = [f"{g},{g}{n},S{stem},{g}{n} went to [BLANK] {stem}." for g in "ab" for n in range(4) for stem in range(8)]
    prompts.write_text("\n".join(["group,name,stem,prompt", *rows]) + "\n")
    monkeypatch.setenv("EVENHAND_API_KEY", "k")
    calls: list[int] = []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        return {**fault_module.reply("Hello."), "system_fingerprint": f"fp_{'old' if len(calls) < 20 else 'new'}"}

    with fault_module.FaultServer(answer=answer) as server:
        config = make_config(
            models=(f"{server.url}#mock",), data=prompts, reference_group="a", repetitions=1, draws=100,
            grader=("lexicon",), concurrency=1,
        )  # fmt: skip
        manifest = run_killed_at(config, tmp_path / "run", [1, 2], monkeypatch, tmp_path / "c.sqlite")
        asked = len(calls)
        (facts,) = manifest["observed"].values()
        assert facts == {"system_fingerprints": ["fp_new", "fp_old"]}
        run_audits(config, tmp_path / "run", resume=True)  # every row is there: nothing is asked, and no fact is lost
        assert len(calls) == asked
        assert json.loads((tmp_path / "run" / "manifest.json").read_bytes())["observed"] == manifest["observed"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]"])
def test_damage_to_the_kept_facts_does_not_stop_a_resumption(tmp_path: Path, content: bytes) -> None:
    run = Run.start(tmp_path / "run", {}, resume=False)
    (run.folder / "observed.json").write_bytes(content)
    engine = SimpleNamespace(observed=lambda: {"start": "bos"})
    Observations(run, {"m": cast(Any, engine)}).to_manifest()
    run.release()
    assert run.manifest["observed"] == {"m": {"start": "bos"}}


def test_facts_of_two_processes() -> None:
    earlier = {
        "a": {"system_fingerprints": ["x"], "echo": {"noise": 0.01, "start": "none"}, "n": 2},
        "b": {"start": "s"},
    }
    now = {"a": {"system_fingerprints": ["w", "x"], "echo": {"noise": 0.02, "start": "none"}, "n": 1}, "c": {"k": [1]}}
    assert merged_facts(earlier, now) == {
        "a": {"system_fingerprints": ["w", "x"], "echo": {"noise": 0.01, "start": "none"}, "n": 2},
        "b": {"start": "s"},
        "c": {"k": [1]},
    }
    assert merged_facts({}, now) == now
    assert merged_facts(earlier, {}) == earlier
