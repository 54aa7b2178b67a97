"""`evenhand repair tsdi` and `evenhand sweep tsdi`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenhand.engines.token_bias import read_token_bias
from evenhand.organisms.sections.safety import TEXTS

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
        (
            ("repair", "tsdi", "organism/base"),
            "The model that organism/base was tuned from is not known. Give --reference",
        ),
        (("repair", "tsdi", "organism/nothing"), "There is no organism 'nothing'"),
        (("repair", "tsdi", "openai/x", "--reference", "organism/sft"), "openai/x is not a local model"),
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
def test_bad_input_of_an_estimate_is_reported_and_leaves_nothing_behind(
    command: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "few.txt").write_text("Too few words.", encoding="utf-8")
    code, out, err = command(*words, "--out", "run")
    assert code == 2
    assert err.startswith("evenhand: ")
    assert said in " ".join(err.split())
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_the_help_of_an_estimate_lists_every_setting(command: Command) -> None:
    code, out, _ = command("repair", "tsdi", "--help")
    assert code == 0
    for word in ("--reference", "--pool", "--variant", "--target-error", "--include-eos", "--surrogate", "--resume"):
        assert word in out


SWEEP = ("sweep", "tsdi", "organism/aligned")
SMALL_SWEEP = (
    *SWEEP, "--safety-set", "prompts.csv", "--safety-grader", "grammar", "--alpha", "0.5,1", "--length", "1,2", "--peers", "system",
    "--repetitions", "1", "--draws", "200", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("sweep_toy")


@pytest.fixture
def studio(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Toy models in the places of engines and estimates, and their prompts in prompts.csv."""
    found = toy.Studio(tmp_path).install(monkeypatch)
    found.config()  # writes the prompts
    return found


def test_a_sweep_makes_a_table_a_page_and_artefacts(
    studio: Any, command: Command, tmp_path: Path, only_progress: Callable[[str], bool]
) -> None:
    code, out, err = command(*SMALL_SWEEP, "--out", "run")
    assert code == 0
    assert only_progress(err)
    told = " ".join(out.split())
    assert "No setting keeps safety within 2 points; nothing is recommended." in told
    assert "The closest misses the margin" in told
    assert "TSDI minus a system prompt" in told
    assert "use it as" not in out
    for name in ("report.html", "findings.json", "biases/builtin/bias/header.json", "tsdi-sweep/settings.parquet"):
        assert (tmp_path / "run" / name).is_file()


def test_a_recommendation_says_how_to_use_it(studio: Any, command: Command) -> None:
    studio.answer = lambda toy, request, config: (
        TEXTS["full"]
        if config.startswith("tsdi") and not request.chat[-1].content.startswith("Harmful")
        else TEXTS["refusal I"]
    )
    code, out, _ = command(*SMALL_SWEEP, "--out", "run", "--margin", "0.1")
    assert code == 0
    assert "Recommended for organism/aligned: TSDI, α 0.5, L 1, builtin." in " ".join(out.split())
    assert "use it as: 'organism/aligned+tsdi:run/biases/builtin/bias?alpha=0.5&length=1'" in out


def test_findings_as_json(studio: Any, command: Command) -> None:
    code, out, _ = command(*SMALL_SWEEP, "--out", "run", "--json")
    assert code == 0
    audit = json.loads(out)["audits"]["tsdi-sweep"]
    assert {"setting_rate", "setting_change", "hypervolume", "hypervolume_difference"} == {
        f["estimand"] for f in audit["findings"]
    }
    assert audit["facts"]["recommendation"]["chosen"] is None


def test_options_may_be_repeated_or_joined_by_commas(studio: Any, command: Command, tmp_path: Path) -> None:
    assert command(*SMALL_SWEEP, "--out", "one")[0] == 0
    words = [word for word in SMALL_SWEEP if word not in ("--alpha", "0.5,1")]
    assert command(*words, "--alpha", "1", "--alpha", "0.5", "--out", "two")[0] == 0
    keys = [
        [
            row["key"]
            for row in json.loads((tmp_path / name / "manifest.json").read_text())["audits"]["tsdi-sweep"]["settings"]
        ]
        for name in ("one", "two")
    ]
    assert keys[0] == keys[1]


def test_a_run_is_taken_up_with_the_same_settings_alone(studio: Any, command: Command) -> None:
    words = (*SMALL_SWEEP, "--out", "run")
    assert command(*words)[0] == 0
    code, _, err = command(*words)
    assert code == 2
    assert "The folder already holds a run. Give --resume to continue it" in err
    asked = studio.asked()
    assert command(*words, "--resume", "--max-failed", "0.5")[0] == 0
    assert studio.asked() == asked
    code, _, err = command(*words, "--resume", "--margin", "0.1")
    assert code == 2
    assert "margin was 0.02 and is now 0.1" in err
    code, _, err = command(*SMALL_SWEEP, "--out", "nothing", "--resume")
    assert code == 2
    assert "There is no run to resume here" in err


def test_too_many_responses_without_a_grade_end_with_three(studio: Any, command: Command) -> None:
    studio.answer = lambda toy, request, config: "Something else."
    code, out, err = command(*SMALL_SWEEP, "--out", "run")
    assert code == 3
    assert "responses failed or have no grade, more than --max-failed 1.0%" in err
    assert "Nothing could be compared" in out


def test_an_interrupt_says_how_to_go_on(studio: Any, command: Command) -> None:
    plain = studio.answer

    def interrupted(toy: Any, request: Any, config: str) -> Any:
        if config.startswith("tsdi"):
            raise KeyboardInterrupt
        return plain(toy, request, config)

    studio.answer = interrupted
    code, _, err = command(*SMALL_SWEEP)
    assert code == 130
    line = err.strip().splitlines()[-1].split()
    assert line[:4] == ["evenhand", "sweep", "tsdi", "organism/aligned"]
    assert line[-1] == "--resume"
    studio.answer = plain
    assert command(*line[1:])[0] == 0
    assert studio.asked()["plain"] == 4 * 12 + 2 * 12
    assert (Path(line[-2]) / "report.html").is_file()


def test_show_tells_the_rows_behind(studio: Any, command: Command) -> None:
    assert command(*SMALL_SWEEP, "--out", "run")[0] == 0
    code, out, _ = command("show", "run", "--config", "tsdi-builtin-l1-a1", "--limit", "3")
    assert code == 0
    assert "tsdi-builtin-l1-a1" in out
    code, out, _ = command("show", "run", "--grader", "compliance", "--csv", "--limit", "2")
    assert code == 0
    assert len(out.strip().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep", "tsdi"), "give an aligned model, or checkpoints with --models"),
        ((*SWEEP, "--alpha", "1,strong"), "alpha.1: Input should be a valid number"),
        ((*SWEEP, "--alpha", "-0.5"), "a negative alpha (-0.5) makes the model refuse more"),
        ((*SWEEP, "--alpha", "inf"), "alpha.0: Input should be a finite number"),
        ((*SWEEP, "--length", "0,4"), "at least 1 position must be corrected"),
        ((*SWEEP, "--length", "1.5"), "length.0: Input should be a valid integer"),
        ((*SWEEP, "--peers", "prayer"), "unknown peer 'prayer'"),
        ((*SWEEP, "--margin", "2"), "margin: Input should be less than 1"),
        ((*SWEEP, "--pool", "nowhere.txt"), "There is no pool 'nowhere.txt', and no such file"),
        ((*SWEEP, "--safety-set", "nowhere"), "There is no set of safety prompts called 'nowhere'"),
        ((*SWEEP, "--safety-grader", "oracle"), "Unknown safety grader 'oracle'"),
        ((*SWEEP, "--safety-grader", "judge"), "the safety grader 'judge' needs --judge"),
        ((*SWEEP, "--models", "nowhere.csv"), "nowhere.csv"),
        ((*SWEEP, "--bias", "nowhere"), "nowhere: There is no such folder"),
        ((*SWEEP, "--map", "prompt=x"), "--map applies to prompt files"),
        (("sweep", "tsdi", "openai/gpt", "--peers", "none"), "openai/gpt is not a local model"),
        (
            ("sweep", "tsdi", "hf/some-model", "--reference", "hf/base"),
            "The shipped prompts are placeholders for organisms",
        ),
        (
            ("sweep", "tsdi", "--models", "m.csv", "--reference", "organism/sft"),
            "belong to an aligned model, and none is given",
        ),
    ],
)
def test_bad_input_of_a_sweep_is_reported_and_leaves_nothing_behind(
    studio: Any, command: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, out, err = command(*words, "--out", "run")
    assert code == 2
    assert err.startswith("evenhand: ")
    assert said in " ".join(err.split())
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_the_help_of_a_sweep_lists_every_setting(command: Command) -> None:
    code, out, _ = command("sweep", "tsdi", "--help")
    assert code == 0
    for word in (
        "--reference",
        "--alpha",
        "--length",
        "--pool",
        "--peers",
        "--models",
        "--margin",
        "--category-margin",
        "--judge",
        "--resume",
    ):
        assert word in out
