"""The audit over an endpoint that misbehaves: every row ends as answered or failed with its reason, and resume mends the failed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.errors import EngineError
from evenhand.report.build import build_report
from evenhand.runs.load import load
from evenhand.runs.runner import estimate_audits, run_audits

FAULTS = ("", "faults=429", "faults=500", "faults=cut", "faults=schema", "faults=reset", "faults=429,500", "faults=400")
KEY = "sk-very-secret-7731"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "name", "stem", "prompt"])
        for group in "ab":
            for name in range(4):
                for stem, fault in enumerate(FAULTS):
                    writer.writerow(
                        [group, f"{group}{name}", f"S{stem}", f"{group}{name} went to [BLANK] S{stem}. {fault}"]
                    )
    return path


def settings(url: str, prompts: Path, **more: Any) -> Any:
    return make_config(
        models=(f"{url}#mock",),
        data=prompts,
        reference_group="a",
        repetitions=2,
        draws=200,
        grader=("lexicon",),
        **more,
    )


def test_every_row_ends_once_and_failed_rows_are_retried(
    tmp_path: Path, prompts: Path, fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_API_KEY", KEY)
    rows = 2 * 4 * len(FAULTS) * 2
    with fault_module.FaultServer() as server:
        config = settings(server.url, prompts)
        outcome = run_audits(config, tmp_path / "run")
        loaded = load(tmp_path / "run")
        responses = loaded.responses
        assert responses is not None
        assert responses.height == rows == responses.unique(["config", "item_id", "repetition"]).height
        failed = responses.filter(pl.col("finish_reason") == "error")
        assert failed.height == rows // len(FAULTS)
        assert failed["error"].str.contains("400").all()
        assert loaded.rows.filter(pl.col("missing") == "response_missing").height == failed.height
        assert outcome.failed_share == pytest.approx(1 / len(FAULTS))
        assert max(server.answered.values()) == 1
        build_report(tmp_path / "run")
        before = sum(server.answered.values())
        again = run_audits(config, tmp_path / "run", resume=True)
        assert again.failed_share == 0.0
        assert sum(server.answered.values()) - before == failed.height
        assert all(f"Bearer {KEY}" == headers["Authorization"] for headers in server.headers)
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert KEY.encode() not in written


def test_a_judge_that_answers_nonsense_leaves_rows_without_a_label(
    tmp_path: Path, prompts: Path, fault_module: ModuleType
) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        asked = json.dumps(body["messages"])
        if "Choose exactly one" not in asked:
            return fault_module.reply("They went to the sea.")  # type: ignore[no-any-return]
        text = (
            "I would rather not judge this." if "S3" in asked else '{"label": "answer", "hedged": false, "reason": ""}'
        )
        return fault_module.reply(text)  # type: ignore[no-any-return]

    with fault_module.FaultServer(answer=answer) as server:
        config = make_config(
            models=(f"{server.url}#mock",),
            judge=f"{server.url}#judge",
            data=prompts,
            reference_group="a",
            repetitions=1,
            draws=200,
        )
        outcome = run_audits(config, tmp_path / "run")
    rows = load(tmp_path / "run").rows.filter(pl.col("grader") == "rubric")
    lost = rows.filter(pl.col("missing") == "judge_missing")
    assert lost.height == 8
    assert set(lost["stem"].to_list()) == {"S3"}
    assert outcome.results[0].missing == 8 + 8  # and the eight rows that the server refused
    (swap,) = (f for f in load(tmp_path / "run").findings if f.estimand == "judge_swap_changed")
    assert swap.estimate == 0.0
    assert swap.n == 56


def test_the_estimate_asks_nothing(prompts: Path, fault_module: ModuleType) -> None:
    with fault_module.FaultServer() as server:
        ((what, cost),) = estimate_audits(settings(server.url, prompts))
        assert (what, cost.calls, cost.exact) == (f"{server.url}#mock", 128, False)
        assert not server.bodies


def test_a_wrong_key_ends_the_run_before_any_work(tmp_path: Path, prompts: Path, fault_module: ModuleType) -> None:
    def refuse(body: dict[str, Any]) -> Any:
        return 401, {"error": {"message": "bad key"}}, {}

    with fault_module.FaultServer(answer=refuse) as server, pytest.raises(EngineError, match="401"):
        run_audits(settings(server.url, prompts), tmp_path / "run")


def test_an_endpoint_that_only_fails_is_given_up_and_can_be_resumed(
    tmp_path: Path, prompts: Path, fault_module: ModuleType
) -> None:
    broken = True

    def answer(body: dict[str, Any]) -> Any:
        return (
            (400, {"error": {"message": "no such thing"}}, {})
            if broken
            else fault_module.reply("They went to the sea.")
        )

    prompts.write_text(prompts.read_text().replace("faults=", "nothing="))
    with fault_module.FaultServer(answer=answer) as server:
        config = settings(server.url, prompts)
        with pytest.raises(EngineError, match=r"the first \d+ responses all failed, the last with: .*no such thing"):
            run_audits(config, tmp_path / "run")
        assert len(server.bodies) < 128
        broken = False
        assert run_audits(config, tmp_path / "run", resume=True).failed_share == 0.0
