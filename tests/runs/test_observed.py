"""What the engines of a run observe is in the manifest of a killed and resumed run as in that of an unbroken one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from evenhand.config import make_config
from evenhand.engines.ticks import merged_facts
from evenhand.runs.journal import RowJournal
from evenhand.runs.observed import Observations
from evenhand.runs.run import Run
from evenhand.runs.runner import run_audits


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
