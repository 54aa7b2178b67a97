"""`evenhand repair tsdi` as its user meets it: what it prints, the artefact, exit codes, messages, resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.engines.token_bias import read_token_bias

TSDI = ("repair", "tsdi", "organism/aligned", "--device", "cpu")
SMALL = ("--draws", "16", "--fixed", "--length", "2", "--check", "none")
Command = Callable[..., tuple[int, str, str]]


def test_it_tells_what_was_found_where_the_artefact_lies_and_how_to_use_it(
    command: Command, tmp_path: Path, only_progress: Callable[[str], bool]
) -> None:
    code, out, err = command(*TSDI, *SMALL, "--out", "run")
    assert code == 0
    assert only_progress(err)
    assert "refusal openers, position 1" in out
    assert "organism/aligned" in out
    assert out.endswith("artefact: run/bias\nuse it as: organism/aligned+tsdi:run/bias\n")
    assert "not checked: the correction lowers refusals of harmful prompts too" in out
    bias = read_token_bias(tmp_path / "run" / "bias")
    assert (bias.header.length, bias.header.draws) == (2, 16)
    assert (tmp_path / "run" / "report.html").exists()


def test_the_corrected_model_is_checked_in_the_same_run_and_page(
    command: Command, tmp_path: Path, only_progress: Callable[[str], bool]
) -> None:
    small = (*SMALL[:-2], "--limit", "24", "--repetitions", "1")
    code, out, err = command(*TSDI, *small, "--out", "run")
    assert code == 0
    assert only_progress(err)
    assert "not checked" not in out
    found = json.loads((tmp_path / "run" / "findings.json").read_text(encoding="utf-8"))["audits"]
    assert set(found) == {"tsdi", "safety", "service"}
    for audit in ("safety", "service"):
        assert {"organism/aligned", "organism/aligned with TSDI"} <= {f["config"] for f in found[audit]["findings"]}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert all(f'id="{section}"' in page for section in ("tsdi", "safety", "service"))


def test_a_check_that_does_not_fit_is_refused_before_any_work(command: Command, tmp_path: Path) -> None:
    code, _, err = command(*TSDI, "--check", "safety", "--safety-set", "none.csv", "--out", "run")
    assert code == 2
    assert "none.csv" in err
    assert not (tmp_path / "run").exists()


def test_json_and_resume(command: Command) -> None:
    code, out, _ = command(*TSDI, *SMALL, "--out", "run", "--json")
    assert code == 0
    assert set(json.loads(out)["audits"]) == {"tsdi"}
    code, _, err = command(*TSDI, *SMALL, "--out", "run")
    assert code == 2
    assert "already holds a run" in err
    code, again, _ = command(*TSDI, *SMALL, "--out", "run", "--json", "--resume")
    assert code == 0
    assert json.loads(again) == json.loads(out)
    code, _, err = command(*TSDI, *SMALL, "--out", "run", "--resume", "--seed", "2")
    assert code == 2
    assert "config.seed was 0 and is now 2" in " ".join(err.split())


def test_an_estimate_of_the_cost_runs_nothing(command: Command, tmp_path: Path) -> None:
    code, out, _ = command(*TSDI, *SMALL, "--out", "run", "--estimate")
    assert code == 0
    assert "organism/aligned (aligned)" in out
    assert "organism/sft (reference)" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("repair", "tsdi", "organism/base"), "It is not known what organism/base was tuned from. Give --reference"),
        (("repair", "tsdi", "organism/nothing"), "There is no organism 'nothing'"),
        (("repair", "tsdi", "openai/x", "--reference", "organism/sft"), "openai/x is no local model"),
        ((*TSDI, "--reference", "organism/aligned"), "the reference is the model itself"),
        ((*TSDI, "--draws", "1"), "at least 2 contexts"),
        ((*TSDI, "--length", "0"), "at least 1 position"),
        ((*TSDI, "--alpha", "nan"), "alpha: Input should be a finite number"),
        ((*TSDI, "--alpha", "-1"), "needs --allow-negative"),
        ((*TSDI, "--pool", "mmlu"), "There is no pool 'mmlu'"),
        ((*TSDI, "--pool", "few.txt"), "few.txt: The pool holds"),
        ((*TSDI, "--prompt-lengths", "4"), "give the shortest and the longest prompt"),
        ((*TSDI, "--prompt-lengths", "8", "--prompt-lengths", "5000"), "A context has up to"),
        ((*TSDI, "--variant", "both"), "variant: Input should be"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing_behind(
    command: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "few.txt").write_text("Too few words.", encoding="utf-8")
    code, out, err = command(*words, "--out", "run")
    assert code == 2
    assert err.startswith("evenhand: ")
    assert said in " ".join(err.split())
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_help_tells_every_setting(command: Command) -> None:
    code, out, _ = command("repair", "tsdi", "--help")
    assert code == 0
    for word in ("--reference", "--pool", "--variant", "--target-error", "--include-eos", "--surrogate", "--resume"):
        assert word in out
