"""`evenhand drift` as its user meets it: exit codes, messages, the table, JSON, resume, hostile files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "<script>document.title='owned'</script> \x1b[31mred\x1b[0m \u202eback"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def toy(toy_engines: Any) -> Any:
    toy = toy_engines
    toy.SCRIPTS.update(base=toy.RIGHT, cand=toy.drifting(), judge=toy.judging())
    return toy


def files(toy: Any, folder: Path, *, lost: int = 0, hostile: str = "", scenarios: int = 12) -> None:
    """before.csv and after.jsonl: responses to the toy cases; every third scenario drifted, the first ``lost`` are null."""
    rows = toy.toy_rows({"x": scenarios}, split="test")
    before = [{**row, "response": f"{toy.FAIR}\nConclusion: {row['gold']}"} for row in rows]
    after: list[dict[str, Any]] = [
        {**row, "response": f"{hostile}{toy.FAIR if k // 2 % 3 else toy.UNFAIR}\nConclusion: {row['gold']}"}
        for k, row in enumerate(rows)
    ]
    for row in after[len(after) - lost :]:
        row["response"] = None
    toy.write_csv(folder / "before.csv", before)
    toy.write_jsonl(folder / "after.jsonl", after)


def test_two_files_make_a_table_and_a_page(toy: Any, command: Command, tmp_path: Path) -> None:
    files(toy, tmp_path)
    code, out, err = command("drift", "before.csv", "after.jsonl", "--judge", "rule", "--out", "run", "--draws", "200")
    assert (code, err) == (0, "")
    assert "33% of after.jsonl's explanations became more harmful than before.csv's." in " ".join(out.split())
    assert "explanations that drifted" in out
    assert "report.html" in out
    assert (tmp_path / "run" / "report.html").is_file()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["state"] == "done"
    assert manifest["plan"]["config"]["combine"] == "screen_then_judge"


def test_two_engines_and_a_judge(toy: Any, command: Command, tmp_path: Path) -> None:
    toy.write_csv(tmp_path / "cases.csv", toy.toy_rows({"x": 12}, split="test"))
    words = [
        "drift",
        "toy/base",
        "toy/cand",
        "--judge",
        "toy/judge",
        "--data",
        "cases.csv",
        "--draws",
        "200",
        "--out",
        "run",
    ]
    code, out, err = command(*words)
    assert code == 0
    first, *lines = err.splitlines()
    stages = ("toy/base · baseline", "toy/cand · candidate", "toy/base · null")
    assert first == "Not probed: " + "; ".join(f"{stage} (it has no probe)" for stage in stages) + "."
    for stage in stages:
        assert sum(line.startswith(f"{stage}: ") for line in lines) == 2
    assert "the baseline against itself" in out
    again, _, told = command(*words)
    assert again == 2
    assert "The folder already holds a run. Give --resume to continue it" in told
    assert command(*words, "--resume")[0] == 0
    code, _, told = command(*words, "--resume", "--tau", "0.2")
    assert code == 2
    assert "tau was 0.01 and is now 0.2" in told
    assert command(*words, "--resume", "--concurrency", "3", "--max-failed", "0.5")[0] == 0, (
        "what changes no number may differ"
    )


def test_findings_as_json(toy: Any, command: Command, tmp_path: Path) -> None:
    files(toy, tmp_path)
    code, out, _ = command("drift", "before.csv", "after.jsonl", "--json", "--out", "run", "--draws", "200")
    assert code == 0
    audit = json.loads(out)["audits"]["drift"]
    assert audit["verdicts"][0]["tone"] == "provisional"
    assert {f["outcome"] for f in audit["findings"] if f["estimand"] == "drift_rate"} == {
        "screen_then_judge", "judge_only", "both"
    }  # fmt: skip


def test_the_folder_is_named_by_time_where_none_is_given(toy: Any, command: Command, tmp_path: Path) -> None:
    files(toy, tmp_path)
    assert command("drift", "before.csv", "after.jsonl", "--draws", "200")[0] == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.endswith("-drift")


def test_too_many_pairs_without_a_verdict_end_with_three(toy: Any, command: Command, tmp_path: Path) -> None:
    files(toy, tmp_path, lost=3)
    words = ["drift", "before.csv", "after.jsonl", "--judge", "rule", "--draws", "200", "--out"]
    code, out, err = command(*words, "run")
    assert code == 3
    assert "12.5% of pairs have no verdict, more than --max-failed 1.0%" in err
    assert "explanations that drifted" in out, "the result stands all the same"
    assert command(*words, "other", "--max-failed", "0.2")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["before.csv", "toy/cand"], "give two engine specs or two files, not one of each"),
        (["before.csv", "missing.csv"], "missing.csv: The file cannot be read"),
        (["nowhere/a", "nowhere/b"], "there is no engine 'nowhere'"),
        (["gpt", "gpt"], "does not say which model to use"),
        (["before.csv", "after.jsonl", "--judge", "gpt"], "does not say which model to use"),
        (["before.csv", "after.jsonl", "--scorers", "nothing"], "No classifier is called 'nothing'"),
        (["before.csv", "after.jsonl", "--combine", "vote"], "combine: Input should be"),
        (["before.csv", "after.jsonl", "--combine", "judge_only"], "judge_only needs a judge"),
        (["before.csv", "after.jsonl", "--tau", "2"], "tau: Input should be less than 1"),
        (["before.csv", "after.jsonl", "--map", "response"], "--map takes NAME=VALUE"),
        (["before.csv", "after.jsonl", "--map", "response=said"], "There is no column 'said' for response"),
        (["before.csv", "short.csv"], "The outputs do not match: 2 only of before, 0 only of short"),
        (["before.csv", "other.csv"], "24 ids have other prompts than in the baseline's file"),
        (["toy/base", "toy/cand", "--data", "missing.csv"], "missing.csv"),
        (["toy/base", "toy/cand", "--difference-set", ","], "The name of the difference set is empty"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing_behind(
    toy: Any, command: Command, tmp_path: Path, words: list[str], said: str
) -> None:
    files(toy, tmp_path)
    rows = [{**row, "response": "x"} for row in toy.toy_rows({"x": 12}, split="test")]
    toy.write_csv(tmp_path / "short.csv", rows[:-2])
    toy.write_csv(tmp_path / "other.csv", [{**row, "prompt": row["prompt"] + "!"} for row in rows])
    code, out, err = command("drift", *words, "--out", "run")
    assert code == 2
    assert err.startswith("evenhand: ")
    assert said in err
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_the_row_at_fault_is_named_without_its_text(toy: Any, command: Command, tmp_path: Path) -> None:
    files(toy, tmp_path)
    rows = [
        {"id": f"q{k}", "prompt": "Secret words?", "repetition": "0" if k else "x", "response": "y"} for k in range(3)
    ]
    toy.write_csv(tmp_path / "bad.csv", rows)
    code, _, err = command("drift", "bad.csv", "after.jsonl", "--out", "run")
    assert code == 2
    assert "bad.csv, row 1: The repetition 'x' is not a number." in err
    assert "Secret" not in err


def test_hostile_responses_are_harmless(toy: Any, command: Command, tmp_path: Path) -> None:
    files(toy, tmp_path, hostile=HOSTILE)
    code, out, err = command("drift", "before.csv", "after.jsonl", "--judge", "rule", "--draws", "200", "--out", "run")
    assert code == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "document.title='owned'</script>" not in page
    for text in (page, out, err):
        assert "\x1b[31m" not in text
        assert "\u202e" not in text
    code, _, err = command("drift", "before.csv", "after.jsonl", "--judge", "\x1b[31mrule", "--out", "other")
    assert code == 2
    assert "\x1b" not in err


def test_an_interrupt_says_how_to_go_on(toy: Any, command: Command, tmp_path: Path) -> None:
    def interrupted(request: Any, sampling: Any) -> str:
        if len(seen) == 10:
            raise KeyboardInterrupt
        seen.append(request)
        return str(toy.RIGHT(request, sampling))

    seen: list[Any] = []
    toy.write_csv(tmp_path / "cases.csv", toy.toy_rows({"x": 12}, split="test"))
    toy.SCRIPTS["base"] = interrupted
    words = ["drift", "toy/base", "toy/cand", "--data", "cases.csv", "--draws", "200"]
    code, _, err = command(*words)
    assert code == 130
    assert "Interrupted; nothing that was finished is lost." in err
    line = err.strip().splitlines()[-1].split()
    assert line[:4] == ["evenhand", "drift", "toy/base", "toy/cand"]
    assert line[-1] == "--resume"
    toy.SCRIPTS["base"] = toy.RIGHT
    assert command(*line[1:])[0] == 0
    assert (Path(line[-2]) / "report.html").is_file()
