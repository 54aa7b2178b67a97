"""`evenhand repair dart` as its user meets it: exit codes, messages, the table, JSON, resume."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DART = ("repair", "dart", "organism/aligned")
OFFLINE = ("--teacher", "scripted", "--judge", "rule")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("dart_toy")


@pytest.fixture
def studio(toy: Any, studio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The shared studio with its cases in cases.csv; training is a toy, so trl need not be there."""
    monkeypatch.setitem(sys.modules, "trl", sys.modules.get("trl") or ModuleType("trl"))
    toy.write_rows(tmp_path / "cases.csv", toy.toy_rows())
    return studio


TOYS = (
    *DART, "--teacher", "toy/teacher", "--judge", "toy/judge", "--data", "cases.csv", "--draws", "200", "--repetitions", "1",
    "--guard", "1", "--device", "cpu",
)  # fmt: skip


def test_a_repair_makes_a_table_a_page_and_a_card(
    studio: Any, command: Command, tmp_path: Path, only_progress: Callable[[str], bool]
) -> None:
    code, out, err = command(*TOYS, "--out", "run")
    assert code == 0
    assert only_progress(err)
    told = " ".join(out.split())
    assert "Inductive repair: 33% fewer drifted explanations" in told
    assert "repaired (inductive): fewer drift cases" in told
    assert "report.html" in out
    for name in ("report.html", "card.md", "findings.json"):
        assert (tmp_path / "run" / name).is_file()


def test_findings_as_json(studio: Any, command: Command) -> None:
    code, out, _ = command(*TOYS, "--out", "run", "--json", "--protocol", "both")
    assert code == 0
    audit = json.loads(out)["audits"]["dart"]
    assert [verdict["config"] for verdict in audit["verdicts"]] == ["repaired (inductive)", "repaired (transductive)"]
    assert {"drift_reduction", "noop_reduction", "teacher_dropped"} <= {f["estimand"] for f in audit["findings"]}


def test_a_run_is_taken_up_with_the_same_settings_alone(studio: Any, command: Command) -> None:
    words = (*TOYS, "--out", "run")
    assert command(*words)[0] == 0
    code, _, err = command(*words)
    assert code == 2
    assert "The folder already holds a run. Give --resume to continue it" in err
    asked = studio.log.read_bytes()
    assert command(*words, "--resume")[0] == 0
    assert studio.log.read_bytes() == asked
    code, _, err = command(*words, "--resume", "--tau", "0.2")
    assert code == 2
    assert "tau was 0.01 and is now 0.2" in err


def test_the_folder_is_named_by_time_where_none_is_given(studio: Any, command: Command, tmp_path: Path) -> None:
    assert command(*TOYS)[0] == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.endswith("-dart")


def test_a_teacher_that_goes_down_is_an_error_that_says_how_to_go_on(toy: Any, studio: Any, command: Command) -> None:
    obedient = studio.scripts["teacher"]
    studio.scripts["teacher"] = lambda request, sampling: (
        toy.failed() if toy.place_of(request)[1] % 2 else obedient(request, sampling)
    )
    code, out, err = command(*TOYS, "--out", "run")
    assert code != 0
    assert out == ""
    assert "The teacher toy/teacher failed on 6 of 12 requests" in err
    assert "--resume" in err
    studio.scripts["teacher"] = obedient
    assert command(*TOYS, "--out", "run", "--resume")[0] == 0


def test_an_interrupt_says_how_to_go_on(toy: Any, studio: Any, command: Command, tmp_path: Path) -> None:
    def interrupted(request: Any, sampling: Any) -> str:
        raise KeyboardInterrupt

    teacher = studio.scripts["teacher"]
    studio.scripts["teacher"] = interrupted
    code, _, err = command(*TOYS)
    assert code == 130
    line = err.strip().splitlines()[-1].split()
    assert line[:4] == ["evenhand", "repair", "dart", "organism/aligned"]
    assert line[-1] == "--resume"
    studio.scripts["teacher"] = teacher
    assert command(*line[1:])[0] == 0
    assert (Path(line[-2]) / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*DART, "--judge", "rule"), "--teacher"),
        ((*DART, "--teacher", "scripted"), "--judge"),
        (("repair", "dart", *OFFLINE), "model"),
    ],
)
def test_what_is_missing_is_named(command: Command, words: tuple[str, ...], said: str) -> None:
    code, out, err = command(*words)
    assert code == 2
    assert "Missing" in err
    assert said in err
    assert out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("repair", "dart", "openai/gpt-4o-mini", *OFFLINE),
            "only local models can be trained, not openai/gpt-4o-mini",
        ),
        (("repair", "dart", "hf/./mine+./adapter", *OFFLINE), "give a model without an adapter"),
        (("repair", "dart", "organism/nobody", *OFFLINE), "nobody"),
        ((*DART, *OFFLINE, "--data", "missing.csv"), "missing.csv"),
        ((*DART, *OFFLINE, "--data", "cases.csv"), "The scripted teacher knows only the shipped questions"),
        ((*DART, *OFFLINE, "--data", "unlabelled.csv"), "No labelled case is in the split train"),
        ((*DART, *OFFLINE, "--data", "unsplit.csv"), "Some cases have no split"),
        ((*DART, *OFFLINE, "--data", "twice.csv"), "twice.csv, row 29"),
        ((*DART, *OFFLINE, "--weights", "worst=2"), "A weight is given for 'worst'"),
        ((*DART, *OFFLINE, "--weights", "severe=-2"), "The weight of 'severe' is '-2"),
        ((*DART, *OFFLINE, "--weights", "severe"), "--weights takes NAME=VALUE"),
        ((*DART, *OFFLINE, "--weights", "severe=1.5", "--weighting", "repeat"), "rows cannot be repeated so often"),
        ((*DART, *OFFLINE, "--ablation", "magic"), "ablation: Input should be"),
        ((*DART, *OFFLINE, "--protocol", "test"), "protocol: Input should be"),
        ((*DART, *OFFLINE, "--guard", "2"), "guard: Input should be less than or equal to 1"),
        ((*DART, *OFFLINE, "--launcher", "no-such-launcher"), "The launcher 'no-such-launcher' names no program"),
        ((*DART, "--teacher", "rule", "--judge", "rule"), "'rule' does not say which model to use"),
        ((*DART, "--teacher", "scripted", "--judge", "nowhere/a"), "there is no engine 'nowhere'"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing_behind(
    toy: Any, command: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    rows = toy.toy_rows()
    toy.write_rows(tmp_path / "cases.csv", rows)
    toy.write_rows(tmp_path / "unlabelled.csv", [{**row, "gold": ""} for row in rows])
    toy.write_rows(tmp_path / "unsplit.csv", [{**row, "split": ""} for row in rows])
    toy.write_rows(tmp_path / "twice.csv", [*rows, {**rows[0], "split": "test"}])
    code, out, err = command(*words, "--out", "run")
    assert code == 2
    assert err.startswith("evenhand: ")
    assert said in " ".join(err.split())
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_without_the_training_libraries_it_says_what_to_install(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    code, _, err = command(*DART, *OFFLINE, "--out", "run")
    assert code == 2
    assert "pip install 'evenhand[train]'" in err
    assert not (tmp_path / "run").exists()


def test_help_tells_every_setting(command: Command) -> None:
    code, out, _ = command("repair", "dart", "--help")
    assert code == 0
    for word in (
        "--teacher",
        "--judge",
        "--protocol",
        "--weighting",
        "--guard",
        "--distil-cap",
        "--launcher",
        "--resume",
    ):
        assert word in out
