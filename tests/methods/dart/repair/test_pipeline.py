"""A DART repair as a whole: equal bytes twice, faults of teacher and judge, cases and settings that are refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.errors import BadInput, EngineError


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("dart_toy")


def table(run: Any, name: str) -> pl.DataFrame:
    return pl.read_parquet(run.folder / "dart" / f"{name}.parquet")


def test_a_hundred_and_sixty_cases_twice_give_the_same_bytes(toy: Any, studio: Any) -> None:
    rows = toy.toy_rows(96, 24, 40)
    assert len(rows) == 160
    studio.repair("one", rows=rows, protocol="both", second="echo", repetitions=2)
    studio.repair("two", protocol="both", second="echo", repetitions=2)
    one, two = (toy.contents(studio.folder / name) for name in ("one", "two"))
    assert len(one) > 25
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_another_seed_gives_other_bytes(toy: Any, studio: Any) -> None:
    studio.repair("one")
    studio.repair("two", seed=1)
    one, two = (toy.contents(studio.folder / name, journals=False) for name in ("one", "two"))
    adapter = "dart/adapter-distilled/adapter_model.safetensors"
    assert one[adapter] != two[adapter]


@pytest.mark.slow
def test_the_organism_on_a_hundred_and_sixty_cases_twice(toy: Any, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from evenhand.methods.dart.config import DartConfig
    from evenhand.methods.dart.repair.pipeline import run_dart

    config = DartConfig(
        model="organism/aligned", teacher="scripted", judge="rule", second="echo", protocol="both", batch=16,
        accumulation=1, rate=5e-3, repair_rate=2e-3, distil_cap=2, guard=1, max_tokens=48, limit=54, repetitions=1,
        epochs=6, draws=200, device="cpu",
    )  # fmt: skip
    for name in ("one", "two"):
        run, _ = run_dart(config, tmp_path / name)
    sizes = run.manifest["plan"]["sources"]["dart"]
    assert 140 <= sizes["train"] + sizes["val"] + sizes["test"] <= 162
    one, two = (toy.contents(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_teacher_that_goes_down_half_way_stops_the_run_and_is_not_asked_again_what_it_answered(
    toy: Any, studio: Any
) -> None:
    obedient = studio.scripts["teacher"]
    studio.scripts["teacher"] = lambda request, sampling: (
        toy.failed() if toy.place_of(request)[1] >= 6 else obedient(request, sampling)
    )
    with pytest.raises(EngineError, match=r"toy/teacher failed on 6 of 12 requests.*--resume.*--max-failed"):
        studio.repair()
    assert studio.trainings == []
    assert not (studio.folder / "run" / "findings.json").exists()
    studio.scripts["teacher"] = obedient
    _, result = studio.repair(resume=True)
    assert result.facts["dropped_by_teacher"] == 0
    asked = {item: count for (item, _), count in studio.asked("teacher").items() if item.startswith("distil/")}
    assert {item[-2:] for item, count in asked.items() if count == 1} == {f"{k:02}" for k in range(6)}
    assert {item[-2:] for item, count in asked.items() if count == 2} == {f"{k:02}" for k in range(6, 12)}


def test_a_teacher_that_fails_within_the_bounds_is_told(toy: Any, studio: Any) -> None:
    obedient = studio.scripts["teacher"]
    studio.scripts["teacher"] = lambda request, sampling: (
        toy.failed() if toy.place_of(request) == ("train", 4) else obedient(request, sampling)
    )
    run, result = studio.repair(max_failed=0.1)
    failed = table(run, "teacher-distil").filter(~pl.col("accepted"))
    assert failed.select("case", "violations").rows() == [("train-04", ["teacher failed"])]
    assert result.facts["dropped_by_teacher"] == 1


def test_a_judge_that_fails_on_a_part_leaves_those_pairs_unknown(toy: Any, studio: Any) -> None:
    word_judge = studio.scripts["judge"]
    studio.scripts["judge"] = lambda request, sampling: (
        toy.failed() if toy.place_of(request)[1] == 3 else word_judge(request, sampling)
    )
    run, result = studio.repair()
    for name in ("pairs-distilled-val", "pairs-distilled-test"):
        drift = dict(table(run, name).select("case", "drift").rows())
        assert [case[-2:] for case, value in drift.items() if value is None] == ["03"]
    assert result.facts["protocols"]["inductive"]["unknown_pairs"] == 1
    assert table(run, "pool-inductive")["case"].to_list() == ["val-06", "val-00"]
    rate = toy.found(result, "drift_rate", "distilled", "screen_then_judge")
    assert (rate.extra["count"], rate.n, rate.extra["unknown"]) == (2, 7, 1)
    assert toy.found(result, "judge_failed", "distilled").extra["count"] == 1
    cut = toy.found(result, "drift_reduction")
    assert (cut.extra["before"], cut.extra["unknown"]) == (2, 1)
    assert cut.extra["fates"]["fixed"] == 1, "the pair without a verdict is not fixed"


def test_a_judge_that_fails_throughout_is_not_taken_for_no_drift(toy: Any, studio: Any) -> None:
    studio.scripts["judge"] = lambda request, sampling: toy.failed()
    _, result = studio.repair()
    state = result.facts["protocols"]["inductive"]
    assert (state["pool"], state["unknown_pairs"]) == (0, 3)
    assert "no pair is known to have drifted, and 3 have no verdict" in result.verdicts[0].headline
    assert "nothing drifted" not in result.verdicts[0].headline


def test_nothing_drifted_is_a_status_and_leaves_no_reduction(toy: Any, studio: Any) -> None:
    studio.scripts["distilled"] = toy.analyst(lambda split, number, anew: False)
    run, result = studio.repair()
    assert result.verdicts[0].headline == "Inductive: nothing drifted: the repaired model is the distilled one."
    assert not [f for f in result.findings if "reduction" in f.estimand]
    assert not any(item.startswith("repair/") for item, _ in studio.asked("teacher"))
    assert "nothing drifted" in (run.folder / "card.md").read_text(encoding="utf-8")


def test_drift_on_validation_alone_makes_the_reduction_undefined(toy: Any, studio: Any) -> None:
    studio.scripts["distilled"] = toy.analyst(lambda split, number, anew: split == "val" and number == 0)
    _, result = studio.repair()
    cut = toy.found(result, "drift_reduction")
    assert (cut.estimate, cut.reason) == (None, "nothing drifted before the repair: undefined")
    assert "so no reduction can be reported" in result.verdicts[0].headline


@pytest.mark.parametrize(("judge", "warned"), [("toy/teacher", True), ("toy/judge", False)])
def test_one_model_as_teacher_and_judge_is_warned_of(toy: Any, studio: Any, judge: str, warned: bool) -> None:
    both = studio.scripts["teacher"], studio.scripts["judge"]
    studio.scripts["teacher"] = lambda request, sampling: both["drift/" in request.item_id](request, sampling)
    _, result = studio.repair(judge=judge)
    assert any(text.startswith("ERROR The teacher is also the judge") for text in result.caveats) == warned


def test_what_is_no_offline_part_of_a_role_is_an_engine(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from evenhand.engines.spec import open_engine
    from evenhand.methods.dart.repair import pipeline

    monkeypatch.setattr(pipeline, "open_engine", open_engine)
    for role, spec in (("teacher", "rule"), ("teacher", "echo"), ("judge", "echo"), ("second", "scripted")):
        given = {"teacher": "scripted", "judge": "rule", "data": None, role: spec}
        with pytest.raises(BadInput, match=f"'{spec}' does not say which model to use"):
            studio.repair(**given)
        assert not (studio.folder / "run").exists()


def test_addresses_are_written_down_without_their_keys(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from evenhand.methods.dart.repair import pipeline

    opened = studio.open_engine

    def open_engine(spec: str, **more: Any) -> Any:
        if not spec.startswith("https://"):
            return opened(spec, **more)
        toy_engine = opened("toy/teacher" if spec.endswith("#t") else "toy/judge")
        toy_engine.spec = spec.replace("?key=SECRET", "")
        return toy_engine

    monkeypatch.setattr(pipeline, "open_engine", open_engine)
    run, _ = studio.repair(
        teacher="https://a.example/v1?key=SECRET#t", judge="https://b.example/v1?key=SECRET#j",
        base_url="https://c.example/v1?key=SECRET",
    )  # fmt: skip
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"SECRET" in path.read_bytes()] == []
    config = run.manifest["plan"]["config"]
    assert (config["teacher"], config["base_url"]) == ("https://a.example/v1#t", "https://c.example/v1")


def bad_rows(toy: Any, how: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = toy.toy_rows()
    if how == "unlabelled":
        return [{**row, "gold": ""} for row in rows]
    if how == "no split":
        return [{**row, "split": ""} for row in rows]
    if how == "no val":
        return [row for row in rows if row["split"] != "val"]
    if how == "id in two splits":
        return [*rows, {**rows[0], "split": "test"}]
    return rows


@pytest.mark.parametrize(
    ("how", "settings", "said"),
    [
        ("unlabelled", {}, "No labelled case is in the split train"),
        ("no split", {}, "Some cases have no split.*--grouping row or scenario"),
        ("no val", {}, "No labelled case is in the split val"),
        ("id in two splits", {}, "train-00"),
        ("", {"teacher": "scripted"}, "knows only the shipped questions, not 'train-00'"),
        ("", {"weights": {"worst": "5"}}, "A weight is given for 'worst'"),
        ("", {"weights": {"severe": "-1"}}, "The weight of 'severe' is '-1"),
        ("", {"weights": {"severe": "nan"}}, "The weight of 'severe' is 'nan'"),
        ("", {"weights": {"severe": "much"}}, "The weight of severe is 'much', which is not a number"),
        ("", {"weights": {"severe": "1.5"}, "weighting": "repeat"}, "rows cannot be repeated so often"),
        ("", {"launcher": "no-such-launcher"}, "The launcher 'no-such-launcher' names no program"),
        ("", {"scorers": ("nothing",)}, "No classifier is called 'nothing'"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_work(
    toy: Any, studio: Any, how: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        studio.repair(rows=bad_rows(toy, how), **settings)
    assert not studio.log.exists()
    assert not (studio.folder / "run").exists()


@pytest.mark.parametrize("grouping", ["row", "scenario"])
def test_cases_without_a_split_are_split_by_row_or_by_scenario(toy: Any, studio: Any, grouping: str) -> None:
    rows = [{**row, "split": ""} for row in toy.toy_rows(20, 20, 20)]
    run, _ = studio.repair(rows=rows, grouping=grouping)
    sizes = run.manifest["plan"]["sources"]["dart"]
    assert sizes["train"] + sizes["val"] + sizes["test"] == 60
    assert sizes["train"] > sizes["val"] > 0


def test_the_limit_holds_for_each_split(studio: Any) -> None:
    run, _ = studio.repair(limit=6)
    sizes = run.manifest["plan"]["sources"]["dart"]
    assert (sizes["train"], sizes["val"], sizes["test"]) == (6, 6, 6)


def test_other_settings_do_not_take_a_run_up(studio: Any) -> None:
    studio.repair()
    with pytest.raises(BadInput, match="already holds a run"):
        studio.repair()
    with pytest.raises(BadInput, match=r"repair_rate was 0\.0001 and is now 0\.1"):
        studio.repair(resume=True, repair_rate=0.1)
    studio.repair(resume=True, concurrency=3, max_failed=0.5)


def test_the_manifest_tells_what_was_done(studio: Any) -> None:
    run, result = studio.repair()
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["state"] == "done"
    assert set(manifest["plan"]["identities"]) == {"model", "teacher", "judge"}
    assert manifest["audits"]["dart"]["protocols"]["inductive"]["status"] == "repaired"
    assert manifest["audits"]["dart"]["rows"] == result.rows == 3 * 8
    assert manifest["plan"]["inputs"][0]["path"].endswith("cases.csv")


def test_engines_are_closed_whatever_happens(toy: Any, studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(toy.Toy, "close", lambda self: closed.append(self.role))
    studio.scripts.pop("M0")
    with pytest.raises(KeyError, match="M0"):
        studio.repair()
    assert set(closed) == {"M0", "teacher", "judge"}
    studio.scripts["M0"] = toy.analyst(lambda split, number, anew: False)
    studio.repair(resume=True)
