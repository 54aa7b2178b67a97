"""DART from end to end on an organism, with the offline teacher and judge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.errors import EngineError
from evenhand.methods.dart.config import DartConfig
from evenhand.methods.dart.difference.cases import shipped
from evenhand.methods.dart.drift.harm import RuleJudge
from evenhand.methods.dart.drift.judge import Comparison, DriftVerdict
from evenhand.methods.dart.repair import stages
from evenhand.methods.dart.repair.pipeline import run_dart
from evenhand.methods.dart.repair.teacher import Ask, Reply, ScriptedTeacher, item_of
from evenhand.records import Finding, Response
from evenhand.runs.method import AuditResult
from evenhand.runs.run import Run

pytestmark = pytest.mark.slow  # trains adapters of an organism; test_pipeline.py runs every stage on a toy model


SETTINGS: dict[str, Any] = {
    "model": "organism/aligned", "teacher": "scripted", "judge": "rule", "second": "echo", "protocol": "both", "batch": 16,
    "accumulation": 1, "rate": 5e-3, "repair_rate": 2e-3, "distil_cap": 2.0, "guard": 1.0, "max_tokens": 48, "limit": 64,
    "repetitions": 1, "epochs": 9, "draws": 200,
}  # fmt: skip
TIMES = {"manifest.json", "training.json"}


def dart(folder: Path, *, resume: bool = False, progress: Any = None, **changes: Any) -> tuple[Run, AuditResult]:
    config = DartConfig(**{**SETTINGS, **changes})
    return run_dart(config, folder, resume=resume, progress=progress or (lambda what, done, total: None))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run but those that hold times."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in TIMES]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, AuditResult]:
    return dart(tmp_path_factory.mktemp("dart") / "run")


def found(result: AuditResult, estimand: str, config: str, outcome: str = "") -> Finding:
    return next(
        f for f in result.findings
        if f.estimand == estimand and f.config == config and outcome in ("", f.outcome) and not f.slice
    )  # fmt: skip


def test_it_teaches_drifts_and_repairs(finished: tuple[Run, AuditResult]) -> None:
    run, result = finished
    accuracy = {name: found(result, "accuracy", name, "tolerant").estimate or 0.0 for name in ("M0", "distilled")}
    assert accuracy["distilled"] > accuracy["M0"] + 0.1
    assert found(result, "drift_rate", "distilled", "screen_then_judge").extra["count"] > 0
    for protocol in ("inductive", "transductive"):
        name = f"repaired ({protocol})"
        cut = found(result, "drift_reduction", name)
        assert cut.estimate == pytest.approx(1 - cut.extra["after"] / cut.extra["before"])
        fates = cut.extra["fates"]
        assert fates["persisting"] + fates["fixed"] == cut.extra["before"]
        assert fates["persisting"] + fates["created"] == cut.extra["after"]
        assert found(result, "reduction_beyond_noop", name).estimate is not None
        assert found(result, "second_reduction", name).estimate is not None
    assert {"M0", "distilled", "repaired (inductive)"} <= {
        f.config for f in result.findings if f.estimand == "accuracy"
    }
    card = (run.folder / "card.md").read_text(encoding="utf-8")
    assert "before and after" in card.lower()
    assert "say nothing about real models" in card
    assert (run.folder / "dart" / "adapter-repaired-inductive" / "card.md").read_text(encoding="utf-8") == card
    baselines = {f.outcome for f in result.findings if f.estimand == "baseline_accuracy" and f.config == "distilled"}
    assert baselines == {"majority (YES)", "always YES", "surface cues, row split", "surface cues, scenario split"}


def test_no_protocol_sees_what_it_must_not(finished: tuple[Run, AuditResult]) -> None:
    folder = finished[0].folder / "dart"
    split = {case.id: case.split for case in shipped().cases}
    for table, allowed in (
        ("teacher-distil", {"train"}), ("pool-inductive", {"val"}), ("teacher-inductive", {"val"}),
        ("pool-transductive", {"test"}), ("teacher-transductive", {"test"}),
    ):  # fmt: skip
        rows = pl.read_parquet(folder / f"{table}.parquet")
        assert rows.height > 0, table
        assert {split[case] for case in rows["case"]} == allowed, table
    pool = pl.read_parquet(folder / "pool-inductive.parquet")
    order = ["extreme", "severe", "moderate", "minor"]
    assert pool["case"].is_unique().all()
    assert [order.index(word) for word in pool["severity"]] == sorted(order.index(word) for word in pool["severity"])


@pytest.mark.slow
def test_twice_gives_the_same_bytes(finished: tuple[Run, AuditResult], tmp_path: Path) -> None:
    again, _ = dart(tmp_path / "run")
    first, second = contents(finished[0].folder), contents(again.folder)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def drifting(monkeypatch: pytest.MonkeyPatch, *, targets: bool = False) -> None:
    """A judge that finds severe drift in five pairs of every comparison, and in repair targets where ``targets`` is set."""

    def compare(self: RuleJudge, rows: Sequence[Comparison]) -> list[DriftVerdict]:
        return [
            DriftVerdict(True, "elaborates", "severe")
            if (targets if row.key.endswith("#target") else place < 5)
            else DriftVerdict(False)
            for place, row in enumerate(rows)
        ]

    monkeypatch.setattr(RuleJudge, "compare", compare)


QUICK: dict[str, Any] = {"protocol": "inductive", "combine": "judge_only", "epochs": 1, "limit": 16}


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


STAGES = (
    "M0 · outputs-M0-val", "teacher · distil", "training · distilled", "distilled · outputs-distilled-test",
    "teacher · repair", "training · repaired-inductive", "repaired (inductive) · outputs-repaired-inductive-test",
    "training · repaired-transductive",
)  # fmt: skip


def test_killed_in_every_stage_and_resumed_it_ends_the_same_and_pays_no_teacher_twice(
    finished: tuple[Run, AuditResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[tuple[str, int]] = Counter()
    complete = ScriptedTeacher.complete

    def counted(self: ScriptedTeacher, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
        asked.update((item_of(ask), ask.turn) for ask in asks)
        return complete(self, asks, keep)

    monkeypatch.setattr(ScriptedTeacher, "complete", counted)
    folder = tmp_path / "run"
    for number, stage in enumerate(STAGES):
        met = []

        def progress(what: str, done: int, total: int, stage: str = stage, met: list[str] = met) -> None:
            met.append(what)
            if what == stage:
                raise Killed(what)

        with pytest.raises(Killed):
            dart(folder, resume=number > 0, progress=progress)
    dart(folder, resume=True)
    first, second = contents(finished[0].folder), contents(folder)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name] and "journal" not in name] == []
    repairs = {key: n for key, n in asked.items() if key[0].startswith("distil/")}
    assert set(repairs.values()) == {1}
    # A case may drift on validation and on test: it is then asked once in each protocol.
    assert max(asked.values()) <= 2


def test_nothing_drifted_is_said_and_no_reduction_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuleJudge, "compare", lambda self, rows: [DriftVerdict(False) for _ in rows])
    _, result = dart(tmp_path / "run", epochs=1, protocol="inductive", limit=12)
    assert [v.headline for v in result.verdicts] == [
        "Inductive: nothing drifted: the repaired model is the distilled one."
    ]
    assert not [f for f in result.findings if f.estimand == "drift_reduction"]


def test_targets_that_the_judge_rejects_repair_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drifting(monkeypatch, targets=True)
    _, result = dart(tmp_path / "run", **QUICK)
    assert "every repair target was rejected" in result.verdicts[0].headline
    state = result.facts["protocols"]["inductive"]
    assert state["targets"] == 0
    assert state["unrepaired"] == state["pool"] > 0


def test_a_judge_that_fails_leaves_drift_unknown_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = RuleJudge.compare

    def failing(self: RuleJudge, rows: Sequence[Comparison]) -> list[DriftVerdict]:
        told = compare(self, rows)
        return [
            DriftVerdict(None, problem="judge_failed: no reply") if place % 10 == 0 else verdict
            for place, verdict in enumerate(told)
        ]

    monkeypatch.setattr(RuleJudge, "compare", failing)
    run, result = dart(tmp_path / "run", protocol="inductive", combine="judge_only", epochs=1, limit=24)
    pairs = pl.read_parquet(run.folder / "dart" / "pairs-distilled-test.parquet")
    failed = pairs.filter(pl.col("problem").str.starts_with("judge_failed"))
    assert failed.height == len(range(0, pairs.height, 10))
    assert failed["drift"].is_null().all()
    rate = found(result, "drift_rate", "distilled", "judge_only")
    assert rate.extra["unknown"] == failed.height
    assert rate.n == pairs.height - failed.height


def test_a_teacher_that_goes_down_half_way_is_told_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = ScriptedTeacher.complete
    asked: Counter[str] = Counter()
    down = True

    def half(self: ScriptedTeacher, asks: Sequence[Ask], keep: Callable[[str, list[Response]], None]) -> list[Reply]:
        asked.update(ask.case.id for ask in asks if ask.turn == 0)
        alive = list(asks)[: len(asks) // 2] if down else list(asks)
        replies = complete(self, alive, keep) if alive else []
        return replies + [Reply("", "connection refused")] * (len(asks) - len(alive))

    monkeypatch.setattr(ScriptedTeacher, "complete", half)
    with pytest.raises(EngineError, match=r"failed on \d+ of \d+ requests.*--resume"):
        dart(tmp_path / "run", protocol="inductive", epochs=1, limit=24)
    first = dict(asked)
    down = False
    run, result = dart(tmp_path / "run", resume=True, protocol="inductive", epochs=1, limit=24)
    assert set(Counter(asked).values()) == {1, 2}
    assert sum(count == 1 for count in asked.values()) >= len(first) // 2
    assert json.loads((run.folder / "manifest.json").read_text())["state"] == "done"
    assert result.facts["dropped_by_teacher"] < len(first) // 2


def test_one_model_as_teacher_and_judge_is_warned_of(tmp_path: Path) -> None:
    _, result = dart(
        tmp_path / "run",
        teacher="organism/sft",
        judge="organism/sft",
        protocol="inductive",
        epochs=1,
        limit=8,
        max_failed=1.0,
    )
    assert any(text.startswith("ERROR The teacher is also the judge") for text in result.caveats)


def test_the_guard_refuses_a_repair_that_costs_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drifting(monkeypatch)
    monkeypatch.setattr(stages, "_accuracy", lambda work, name: 0.9 if name == "distilled" else 0.8)
    _, result = dart(tmp_path / "run", guard=0.05, **QUICK)
    assert result.verdicts[0].tone == "worse"
    assert "refused: validation accuracy fell by more than 5%" in result.verdicts[0].headline


@pytest.mark.parametrize(
    "ablation", ["distil_only", "uniform_weights", "random_rows", "repair_only", "distil_more", "harm_penalty"]
)
def test_ablations_do_what_they_say(ablation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drifting(monkeypatch)
    run, result = dart(tmp_path / "run", ablation=ablation, **QUICK)
    states = result.facts["protocols"]
    assert result.facts["ablation"] == ablation
    if ablation in ("distil_only", "harm_penalty"):
        assert not states
        assert not (run.folder / "dart" / "adapter-repaired-inductive").exists()
        return
    state = states["inductive"]
    pool = pl.read_parquet(run.folder / "dart" / "pool-inductive.parquet")
    if ablation == "uniform_weights":
        assert state["weighted_rows"] == state["targets"]
    if ablation == "random_rows":
        assert set(pool["severity"]) == {""}
        assert state["without_severity"] == state["targets"]
    if ablation == "repair_only":
        assert state["distilled_rows"] == 0
