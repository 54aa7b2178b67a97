"""The stages of DART on toy models: what is taught, what drifts, what is repaired with which weights, and each ablation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.errors import EngineError
from evenhand.methods.dart.repair import stages


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("dart_toy")


def table(run: Any, name: str) -> pl.DataFrame:
    return pl.read_parquet(run.folder / "dart" / f"{name}.parquet")


def splits_of(ids: Any) -> set[str]:
    return {case.partition("-")[0] for case in ids}


def test_inductive_reads_no_test_case_before_the_second_audit(studio: Any) -> None:
    run, result = studio.repair()
    for name, part in (("teacher-distil", "train"), ("pool-inductive", "val"), ("teacher-inductive", "val")):
        assert splits_of(table(run, name)["case"]) == {part}
    distil, _, before = studio.training("distilled")
    assert before is None
    assert splits_of(row.id for row in distil) == {"train"}
    repair, _, before = studio.training("repaired-inductive")
    assert before == run.folder / "dart" / "adapter-distilled"
    assert splits_of(row.id for row in repair) == {"train", "val"}
    asked = [item for item, _ in studio.asked("teacher")]
    assert splits_of(item.partition("/")[2] for item in asked) == {"train", "val"}
    assert list(result.facts["adapters"]) == ["distilled", "repaired (inductive)"]


def test_transductive_repairs_the_test_cases_that_drifted(studio: Any) -> None:
    run, _ = studio.repair(protocol="transductive")
    assert list(table(run, "pool-transductive")["case"]) == ["test-06", "test-03", "test-00"]
    repair = [row for row in studio.training("repaired-transductive")[0] if row.task == "repair"]
    assert [row.id for row in repair] == ["test-06", "test-03", "test-00"]
    assert not (run.folder / "dart" / "pool-inductive.parquet").exists()


def test_both_protocols_start_from_the_distilled_adapter_and_share_no_name(studio: Any) -> None:
    run, _ = studio.repair(protocol="both")
    names = [name for name, *_ in studio.trainings]
    assert names == ["adapter-distilled", "adapter-repaired-inductive", "adapter-repaired-transductive"]
    assert {before for *_, before in studio.trainings[1:]} == {run.folder / "dart" / "adapter-distilled"}
    assert studio.training("repaired-inductive")[1].rate == 1e-4
    assert studio.training("distilled")[1].rate == 2e-4


def test_the_pool_has_one_row_a_case_with_its_worst_severity_worst_first(
    toy: Any, studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grades = {"val-00": ["minor", "severe"], "val-01": ["moderate", "none"], "val-02": ["severe", "severe"]}

    def compare(self: Any, rows: Any) -> list[Any]:
        out = []
        for row in rows:
            case, _, place = row.key.partition("#")
            word = grades.get(case, ["none"] * 2)[int(place)] if place.isdecimal() else "none"
            out.append(DriftVerdict(True, "elaborates", word) if word != "none" else DriftVerdict(False))  # type: ignore[arg-type]
        return out

    from evenhand.methods.dart.drift.harm import RuleJudge
    from evenhand.methods.dart.drift.judge import DriftVerdict

    monkeypatch.setattr(RuleJudge, "compare", compare)
    run, _ = studio.repair(judge="rule", repetitions=2, combine="judge_only")
    pool = table(run, "pool-inductive")
    assert pool.rows() == [("val-00", "severe"), ("val-02", "severe"), ("val-01", "moderate")]


def test_targets_weigh_by_severity_and_distilled_rows_by_one(studio: Any) -> None:
    _, result = studio.repair()
    rows = studio.training("repaired-inductive")[0]
    told = [(row.id, row.severity, row.weight) for row in rows if row.task == "repair"]
    assert told == [("val-06", "extreme", 4.0), ("val-03", "moderate", 2.0), ("val-00", "minor", 1.0)]
    assert {row.weight for row in rows if row.task == "distil"} == {1.0}
    state = result.facts["protocols"]["inductive"]
    assert (state["pool"], state["targets"], state["unrepaired"], state["weighted_rows"]) == (3, 3, 0, 7.0)


def test_own_weights_and_repetition(studio: Any) -> None:
    studio.repair(weights={"extreme": "3", "minor": "0"}, weighting="repeat")
    rows = [row for row in studio.training("repaired-inductive")[0] if row.task == "repair"]
    assert [row.id for row in rows] == ["val-06"] * 3 + ["val-03"] * 2
    assert {row.weight for row in rows} == {1.0}


def test_weights_of_zero_leave_nothing_to_repair_and_say_so(studio: Any) -> None:
    _, result = studio.repair(weights=dict.fromkeys(("minor", "moderate", "severe", "extreme"), "0"))
    state = result.facts["protocols"]["inductive"]
    assert state["status"] == "every repair target weighs 0: the repaired model is the distilled one"
    assert [name for name, *_ in studio.trainings] == ["adapter-distilled"]


@pytest.mark.parametrize(("cap", "count"), [(0.0, 12), (4.0, 12), (1.0, 7), (0.5, 4)])
def test_distillation_rows_are_capped_at_a_multiple_of_the_weighted_rows(studio: Any, cap: float, count: int) -> None:
    _, result = studio.repair(distil_cap=cap)
    rows = studio.training("repaired-inductive")[0]
    assert sum(row.task == "distil" for row in rows) == count
    assert result.facts["protocols"]["inductive"]["distilled_rows"] == count


def test_targets_must_do_no_more_harm_than_the_first_model_and_are_asked_three_times(toy: Any, studio: Any) -> None:
    def careless(request: Any, sampling: Any) -> str:
        good = toy.obedient(request, sampling)
        return good.replace(toy.FAIR, toy.UNFAIR) if "repair/" in request.item_id else str(good)

    studio.scripts["teacher"] = careless
    run, result = studio.repair()
    told = table(run, "teacher-inductive")
    assert told["accepted"].to_list() == [False] * 3
    assert told["turns"].to_list() == [3] * 3
    assert {tuple(row) for row in told["violations"]} == {("harm", "drift")}
    state = result.facts["protocols"]["inductive"]
    assert state["status"] == "every repair target was rejected: the repaired model is the distilled one"
    assert (state["targets"], state["unrepaired"]) == (0, 3)


def test_a_judge_that_fails_on_a_target_accepts_none(toy: Any, studio: Any) -> None:
    first = studio.scripts["judge"]

    def judge(request: Any, sampling: Any) -> Any:
        both_fair = toy.UNFAIR.split(",")[0] not in request.chat[1].content
        return toy.failed() if both_fair else first(request, sampling)

    studio.scripts["judge"] = judge
    studio.scripts["teacher"] = lambda request, sampling: toy.obedient(request, sampling).replace(
        "left out", "not named"
    )
    run, _ = studio.repair()
    assert set(map(tuple, table(run, "teacher-inductive")["violations"])) == {("drift",)}


def test_a_teacher_that_refuses_or_mislabels_is_dropped_by_benchmark_and_label(toy: Any, studio: Any) -> None:
    def teacher(request: Any, sampling: Any) -> str:
        number = toy.place_of(request)[1]
        good = str(toy.obedient(request, sampling))
        if number == 1:
            return "I am sorry, but I cannot write this."
        if number in (2, 6):
            return good.replace("Conclusion: NO", "Conclusion: YES")
        return '{"conclusion": "NO"' if number == 4 else good

    studio.scripts["teacher"] = teacher
    run, result = studio.repair()
    distil = table(run, "teacher-distil")
    why = {row["case"]: row["violations"] for row in distil.iter_rows(named=True) if not row["accepted"]}
    assert "refusal" in why["train-01"]
    assert why["train-02"] == why["train-06"] == ["wrong label"]
    assert "no conclusion" in why["train-04"]
    assert {row.id for row in studio.training("distilled")[0]}.isdisjoint(why)
    dropped = {
        (f.slice["benchmark"], f.slice["gold"]): (f.extra["count"], f.n)
        for f in result.findings
        if f.estimand == "teacher_dropped"
    }
    assert dropped == {("x", "NO"): (1, 3), ("x", "YES"): (1, 3), ("y", "NO"): (2, 3), ("y", "YES"): (0, 3)}
    assert result.facts["dropped_by_teacher"] == 4


def test_nothing_accepted_is_an_error_that_says_where_to_look(toy: Any, studio: Any) -> None:
    studio.scripts["teacher"] = lambda request, sampling: "I am sorry, but I cannot write this."
    with pytest.raises(EngineError, match=r"No explanation of the teacher toy/teacher was accepted.*teacher-distil"):
        studio.repair()
    assert studio.trainings == []


@pytest.mark.parametrize(
    ("guard", "status"),
    [(0.5, "repaired"), (0.35, "refused: validation accuracy fell by more than 35%"),
     (0.005, "refused: validation accuracy fell by more than 0.5%")],
)  # fmt: skip
def test_the_guard_compares_validation_accuracy(toy: Any, studio: Any, guard: float, status: str) -> None:
    studio.scripts["repaired-inductive"] = toy.analyst(lambda split, number, anew: False, lambda request: "YES")
    run, result = studio.repair(guard=guard)
    state = result.facts["protocols"]["inductive"]
    assert (state["val_accuracy_before"], state["val_accuracy_after"], state["status"]) == (1.0, 0.5, status)
    assert (result.verdicts[0].tone == "worse") == (status != "repaired")
    assert status in (run.folder / "card.md").read_text(encoding="utf-8")


ABLATED = (
    "uniform_weights",
    "random_rows",
    "repair_only",
    "distil_more",
    "predicted_labels",
    "harm_penalty",
    "distil_only",
)


@pytest.mark.parametrize("ablation", ABLATED)
def test_ablations_do_what_they_say(toy: Any, studio: Any, ablation: str) -> None:
    if ablation == "harm_penalty":
        studio.scripts["teacher"] = lambda request, sampling: (
            toy.obedient(request, sampling).replace(toy.FAIR, toy.UNFAIR)
            if toy.place_of(request)[1] == 3
            else toy.obedient(request, sampling)
        )
    run, result = studio.repair(ablation=ablation, distil_cap=1.0, penalty=0.5)
    trained = {name: rows for name, rows, *_ in studio.trainings}
    distil, repair = trained["adapter-distilled"], trained.get("adapter-repaired-inductive", [])
    targets = [row for row in repair if row.task == "repair"]
    if ablation in ("distil_only", "harm_penalty"):
        assert result.facts["protocols"] == {}
        assert repair == []
        assert not any(item.startswith("repair/") for item, _ in studio.asked("teacher"))
        assert result.verdicts[0].config == "distilled"
        assert "- none was made" in (run.folder / "card.md").read_text(encoding="utf-8").splitlines()
    if ablation == "harm_penalty":
        weights = {row.id: row.weight for row in distil}
        assert 0.5 <= weights.pop("train-03") < 1.0
        assert set(weights.values()) == {1.0}
    if ablation == "uniform_weights":
        assert [(row.id, row.weight) for row in targets] == [("val-06", 1.0), ("val-03", 1.0), ("val-00", 1.0)]
    if ablation == "random_rows":
        assert len(targets) == 3
        assert {row.id for row in targets} != {"val-00", "val-03", "val-06"}
        assert splits_of(row.id for row in targets) == {"val"}
        assert result.facts["protocols"]["inductive"]["without_severity"] == 3
    if ablation == "repair_only":
        assert targets == repair
        assert [row.weight for row in targets] == [4.0, 2.0, 1.0]
    if ablation == "distil_more":
        assert targets == []
        assert len(repair) == 7
    if ablation == "predicted_labels":
        assert set(table(run, "teacher-distil")["gold"]) == {"YES"}
        assert all(row.target.endswith("Conclusion: YES") for row in distil)
        assert [row.target.rpartition(" ")[2] for row in targets] == ["NO", "YES", "NO"]


def test_the_training_seed_and_settings_reach_every_training(studio: Any) -> None:
    studio.repair(seed=7, epochs=2, batch=3, accumulation=5, rank=4, context=99)
    for _, _, plan, _ in studio.trainings:
        assert (plan.seed, plan.epochs, plan.batch, plan.accumulation) == (7, 2, 3, 5)
        assert (plan.rank, plan.alpha, plan.max_tokens, plan.cpu) == (4, 8, 99, True)


def test_a_launcher_is_given_the_training(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def launch(command: str, model: Path, rows: Any, plan: Any, out: Path, *, adapter: Any = None) -> None:
        seen.append((command, out.name, adapter and adapter.name))
        studio.train(model, rows, plan, out, adapter=adapter)

    monkeypatch.setattr(stages, "launch", launch)
    command = f"{sys.executable} -m accelerate.commands.launch"
    studio.repair(launcher=command)
    assert seen == [
        (command, "adapter-distilled", None),
        (command, "adapter-repaired-inductive", "adapter-distilled"),
    ]
