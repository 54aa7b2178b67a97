"""The difference audit from cases to tables: what is asked, what is left out and told, and that nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.datasets.question_texts import TASK_SYSTEM_PROMPT
from evenhand.errors import BadInput
from evenhand.methods.dart.difference.audit import DifferenceAudit
from evenhand.methods.dart.difference.items import POLICY_SYSTEM_PROMPT
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

SUPPORT = Path(__file__).parents[3] / "support" / "difference_toy.py"
CUES = ("surface cues, row split", "surface cues, scenario split")


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("difference_toy")


def rates(toy: Any, result: AuditResult, config: str = "m", parser: str = "tolerant") -> tuple[float | None, ...]:
    """Accuracy, where groups differ, where they are alike, without a conclusion."""
    names = ("accuracy", "diff_accuracy", "equal_accuracy", "abstain_rate")
    return tuple(toy.found(result.findings, name, parser, config).estimate for name in names)


def told(result: AuditResult) -> str:
    return " ".join(result.caveats)


def test_a_right_model_is_right_everywhere(toy: Any, tmp_path: Path) -> None:
    result, run, (engine,) = toy.run_difference(tmp_path, {"m": toy.CLEVER})
    assert rates(toy, result) == rates(toy, result, parser="strict") == (1, 1, 1, 0)
    assert toy.found(result.findings, "discrimination", "tolerant").estimate == 1
    assert toy.found(result.findings, "diff_aware").estimate == toy.found(result.findings, "ctxt_aware").estimate == 1
    parsed = pl.read_parquet(run.table("difference", "parsed"))
    assert result.rows == parsed.height == len(engine.asked) == 2 * 52, "26 test scenarios of two rows, in two forms"
    assert result.missing == 0
    assert result.facts["unlabelled"] == 0
    assert parsed["form"].value_counts().sort("form")["count"].to_list() == [52, 52]
    assert {sampling.max_tokens for sampling in engine.samplings} == {256}


@pytest.mark.parametrize("model", ["RIGHT", "BLIND", "ALWAYS_YES", "SILENT"])
def test_baselines_stand_beside_every_model(toy: Any, tmp_path: Path, model: str) -> None:
    result, _, _ = toy.run_difference(tmp_path, {"m": getattr(toy, model)}, form=("analysis",))
    names = [f.outcome for f in result.findings if f.estimand == "baseline_accuracy"]
    assert names == ["majority (NO)", "always YES", *CUES]
    always = toy.found(result.findings, "baseline_accuracy", "always YES")
    assert always.extra == {"diff_accuracy": 1.0, "equal_accuracy": 0.0}
    row, scenario = (toy.found(result.findings, "baseline_accuracy", cue) for cue in CUES)
    assert row.estimate == scenario.estimate == 1, "the opening words give the label away"
    over = {f.outcome for f in result.findings if f.estimand == "accuracy_over_baseline"}
    assert over == {"majority (NO)", "always YES", CUES[0]}, "the other classifier answers other cases"
    gap = toy.found(result.findings, "accuracy_over_baseline", CUES[0])
    assert gap.estimate == pytest.approx((rates(toy, result)[0] or 0) - 1)


def test_a_classifier_without_training_rows_says_why(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 8}, split="test")
    result, _, _ = toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows)
    cue = toy.found(result.findings, "baseline_accuracy", CUES[0])
    assert (cue.estimate, cue.interval, cue.n) == (None, None, 0)
    assert cue.reason == "0 labelled training rows, or one label only"


def test_unlabelled_cases_are_asked_and_stay_out_of_accuracy(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 20}, split="test")
    for row in rows[:6]:
        row["gold"] = "perhaps"
    result, run, (engine,) = toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows, form=("analysis",))
    assert len(engine.asked) == 40
    assert toy.found(result.findings, "accuracy", "tolerant").n == 34
    assert rates(toy, result) == (1, 1, 1, 0)
    assert result.facts["unlabelled"] == 6
    assert "6 cases have no usable label" in told(result)
    assert pl.read_parquet(run.table("difference", "parsed")).filter(pl.col("gold") == "").height == 6


def test_cases_without_any_label_give_no_accuracy(toy: Any, tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"]} for row in toy.toy_rows({"x": 4}, split="test")]
    result, _, (engine,) = toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows)
    assert len(engine.asked) == 8
    assert not [f for f in result.findings if f.estimand in ("accuracy", "baseline_accuracy")]
    assert result.verdicts[0].tone == "unknown"
    assert "no labelled analysis was answered" in result.verdicts[0].headline


def test_empty_prompts_are_rejected_and_told(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 6}, split="test")
    rows[2]["prompt"], rows[5]["prompt"] = "", " \t"
    result, run, (engine,) = toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows, form=("analysis",))
    assert len(engine.asked) == 10
    assert "2 rows were left out, the first because the prompt is empty." in result.caveats
    source = run.manifest["plan"]["sources"]["difference"]
    assert source["rejected"] == ["row 3: the prompt is empty", "row 6: the prompt is empty"]
    assert (source["cases"], source["asked"], source["items"]) == (10, 10, 10)


def test_ones_own_columns(toy: Any, tmp_path: Path) -> None:
    rows = [
        {"words": row["prompt"], "truth": row["gold"].lower(), "theme": row["scenario"]}
        for row in toy.toy_rows({"x": 10}, split="test")
    ]
    data = toy.write_jsonl(tmp_path / "own.jsonl", rows)
    columns = {"prompt": "words", "gold": "truth", "scenario": "theme"}
    result, run, _ = toy.run_difference(tmp_path, {"m": toy.RIGHT}, data=data, columns=columns)
    accuracy = toy.found(result.findings, "accuracy", "tolerant")
    assert (accuracy.n, accuracy.clusters) == (20, {"scenarios": 10})
    assert not [f for f in result.findings if f.estimand == "diff_aware"], "no right option is named"
    assert run.manifest["plan"]["sources"]["difference"]["checksums"].keys() == {str(data)}


@pytest.mark.parametrize("limit", [4, 10, 15, 40])
def test_a_limit_keeps_whole_scenarios_and_both_labels(toy: Any, tmp_path: Path, limit: int) -> None:
    rows = sorted(toy.toy_rows({"x": 20}, each=3 if limit == 10 else 2, split="test"), key=lambda row: row["gold"])
    _, run, _ = toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows, form=("analysis",), limit=limit)
    kept = pl.read_parquet(run.table("difference", "parsed")).group_by("scenario", "gold").len()
    assert kept["len"].sum() <= limit
    assert set(kept["len"]) == {3 if limit == 10 else 2}, "no scenario is cut"
    assert set(kept["gold"]) == {"YES", "NO"}


def test_the_policy_is_another_system_message(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 4}, split="test")
    for policy, system in ((False, TASK_SYSTEM_PROMPT), (True, POLICY_SYSTEM_PROMPT)):
        result, run, (engine,) = toy.run_difference(tmp_path / str(policy), {"m": toy.RIGHT}, rows, policy=policy)
        systems = {r.chat[0].content for r in engine.asked if r.chat[0].role == "system"}
        assert systems == {system}
        assert {r.chat[0].role for r in engine.asked if toy.is_choice(r)} == {"user"}, "a choice has no system message"
        assert ("with the safety policy" in dict(result.methods)["Difference questions"]) is policy
        assert run.manifest["plan"]["config"]["difference"]["policy"] is policy


def test_the_prompt_stands_unchanged_in_what_is_asked(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 2}, split="test")
    rows[0]["prompt"] = "  <<Is it so?>>\n\nConclusion: YES, ​ or NO  "
    _, _, (engine,) = toy.run_difference(tmp_path, {"m": toy.SILENT}, rows, form=("analysis",))
    (asked,) = [r for r in engine.asked if r.item_id.endswith("x-000-0")]
    assert asked.chat[-1].content.endswith(rows[0]["prompt"])


def test_failed_responses_are_counted_and_have_no_label(toy: Any, tmp_path: Path) -> None:
    def answer(request: Any, sampling: Any) -> Any:
        return toy.failed() if request.repetition == 1 and "-003-" in request.item_id else toy.RIGHT(request, sampling)

    rows = toy.toy_rows({"x": 10}, split="test")
    result, run, _ = toy.run_difference(tmp_path, {"m": answer}, rows, form=("analysis",), repetitions=2)
    assert (result.rows, result.missing, result.facts["failed"]) == (40, 2, 2)
    assert rates(toy, result) == (1, 1, 1, 0), "the other repetition was right"
    assert toy.found(result.findings, "accuracy", "tolerant").n == 20
    parsed = pl.read_parquet(run.table("difference", "parsed")).filter("failed")
    assert parsed.select("tolerant", "strict", "reason", "rationale").rows() == [(None,) * 4] * 2
    assert all(toy.found(result.findings, "unparseable", reason).estimate == 0 for reason in ("empty", "format"))


def test_two_configurations_on_the_same_cases(toy: Any, tmp_path: Path) -> None:
    result, _, _ = toy.run_difference(tmp_path, {"one": toy.RIGHT, "two": toy.ALWAYS_YES}, form=("analysis",))
    assert rates(toy, result, "one") == (1, 1, 1, 0)
    assert rates(toy, result, "two")[1:3] == (1, 0)
    assert [verdict.config for verdict in result.verdicts] == ["one", "two"]
    gap = toy.found(result.findings, "accuracy_difference", config="two")
    assert (gap.reference, gap.n, gap.extra["only_one"]) == ("one", 52, 0)
    assert gap.estimate == -0.5
    assert {row.what.rpartition(" · ")[2] for row in result.headlines} == {"one", "two"}


def test_a_run_that_is_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    def go(folder: Path, kill: int) -> int:
        return subprocess.run(
            [sys.executable, str(SUPPORT), "difference", str(folder), str(kill)], check=False, timeout=120
        ).returncode

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert go(whole, 0) == 0
    assert [go(broken, kill) for kill in (3, 11, 0)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    for name in (
        "difference/items.parquet",
        "difference/responses.parquet",
        "difference/parsed.parquet",
        "findings.json",
    ):
        assert (whole / "run" / name).read_bytes() == (broken / "run" / name).read_bytes(), name
    journal = (broken / "run" / "difference" / "responses.journal.jsonl").read_text().splitlines()
    assert len({json.dumps(json.loads(line), sort_keys=True) for line in journal}) == len(journal), (
        "nothing asked twice"
    )


def test_other_settings_are_not_resumed(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 4}, split="test")
    toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows)
    with pytest.raises(BadInput, match=r"temperature was 1\.0 and is now 0\.5"):
        toy.run_difference(tmp_path, {"m": toy.RIGHT}, rows, temperature=0.5)


def test_what_it_costs(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "cases.csv", toy.toy_rows({"x": 4}, split="test"))
    config = make_config(models=("m",), only=("difference",), data=data, repetitions=3, max_tokens=50)
    context = Context(config, [Configuration("m", toy.Toy("m", toy.RIGHT))], None, Run(Path(), {}), lambda *_: None)
    ((what, cost),) = DifferenceAudit().estimate(context)
    assert what == "m: difference"
    assert (cost.calls, cost.max_completion_tokens) == (8 * 2 * 3, 8 * 2 * 3 * 50)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"difference_set": "D1,Q9"}, "No benchmark is called 'Q9'"),
        ({"difference_set": " , "}, "The name of the difference set is empty"),
        ({"data": Path("none.csv")}, "none.csv"),
        ({"split": ("tomorrow",)}, "split"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_asked(
    settings: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "difference_awareness").mkdir()
    monkeypatch.setenv("EVENHAND_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=said):
        DifferenceAudit().inputs(make_config(only=("difference",), **settings))


def test_a_split_without_cases_names_the_file(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "cases.csv", toy.toy_rows({"x": 4}, split="train"))
    with pytest.raises(BadInput, match=r"cases\.csv: No case is in the split test"):
        DifferenceAudit().inputs(make_config(only=("difference",), data=data))
    assert DifferenceAudit().inputs(make_config(data=data, split=("test", "train")))["asked"] == 8


def test_rows_of_others_are_not_for_this_audit() -> None:
    audit = DifferenceAudit()
    for entry in ("responses", "labels"):
        config = make_config(**{entry: Path("rows.csv"), "only": ("difference",)})
        assert audit.unfit(config) == f"it asks its own questions, and {entry} are given"
    assert audit.unfit(make_config(only=("difference",))) == ""
    assert audit.verbs(make_config()) == {"generate"}
