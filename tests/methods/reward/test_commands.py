"""`evenhand stages`: which settings it makes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evenhand.cli.main import app
from evenhand.config import AuditConfig
from evenhand.console import commands
from evenhand.console.commands import Job
from evenhand.errors import BadInput
from evenhand.methods.reward.margins.config import RewardSettings

FOUR = ["--base", "organism/base", "--sft", "organism/sft", "--dpo", "organism/dpo", "--sft-dpo", "organism/aligned"]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[AuditConfig]:
    """The configs that the command would run."""
    found: list[AuditConfig] = []

    def keep(job: Job, *_: Any, **__: Any) -> None:
        found.append(job.config)

    monkeypatch.setattr(commands, "carry_out", keep)
    return found


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["stages", *arguments], catch_exceptions=False)


def test_one_family(made: list[AuditConfig]) -> None:
    assert run(*FOUR, "--beta", "0.2", "--pair-set", "binary").exit_code == 0
    (config,) = made
    assert config.models == ("organism/base", "organism/sft", "organism/dpo", "organism/aligned")
    assert config.stages["sft-dpo"] == "organism/aligned"
    assert config.only == ("reward",)
    assert (config.beta, config.of(RewardSettings).pair_set) == (0.2, ("binary",))


def test_several_families_from_a_file(made: list[AuditConfig], tmp_path: Path) -> None:
    table = tmp_path / "models.csv"
    table.write_text(
        "family,stage,spec,beta\na,base,organism/base,0.5\na,dpo,organism/dpo,0.5\n"
        "b,base,organism/base,0.5\nb,sft,organism/even_sft,\n",
        encoding="utf-8",
    )
    assert run("--models", str(table), "--only", "reward", "--only", "affirmation").exit_code == 0
    (config,) = made
    assert config.stages == {
        "a/base": "organism/base", "a/dpo": "organism/dpo", "b/base": "organism/base", "b/sft": "organism/even_sft"
    }  # fmt: skip
    assert config.models == ("organism/base", "organism/dpo", "organism/even_sft")
    assert config.beta == 0.5
    assert config.only == ("reward", "affirmation")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,rlhf,x,\n", "row 1: Unknown stage 'rlhf'"),
        ("a,base,,\n", "row 1: .*engine spec is missing"),
        ("a,base,x,\na,base,y,\n", "row 2: .*is listed twice"),
        ("a,base,x,0.1\na,sft,y,0.2\n", "different betas"),
        ("a,base,x,one\na,sft,y,one\n", "not a number"),
        ("a,base,x,\n", "one stage only"),
        ("a,sft-dpo,x,\na,base,y,\n", "without its reference, sft"),
        ("a,dpo,x,\na,sft,y,\n", "no base model"),
    ],
)
def test_a_wrong_file_is_named(made: list[AuditConfig], tmp_path: Path, rows: str, message: str) -> None:
    table = tmp_path / "models.csv"
    table.write_text("family,stage,spec,beta\n" + rows, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        run("--models", str(table))
    assert not made


def test_nothing_named_and_two_ways_at_once(made: list[AuditConfig], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No model is given"):
        run()
    with pytest.raises(BadInput, match="--models or single stages"):
        run("--models", str(tmp_path / "m.csv"), "--base", "x")
    assert run("--base", "x", "--reference", "y").exit_code == 2  # the reference follows from the stage
