"""`evenhand show` and `sample` on audits that measure without a grader."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evenhand.audits.runner import run_audits
from evenhand.cli.main import app
from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.store.load import load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "both"
    run_audits(make_config(only=("reward", "affirmation"), limit=60, repetitions=1, draws=100), folder)
    return folder


def show(*words: str) -> str:
    result = CliRunner().invoke(app, ["show", *words], env={"COLUMNS": "220"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_pairs_and_pronouns_are_shown(run: Path) -> None:
    text = show(str(run), "--audit", "reward", "--group", "nonbinary", "--limit", "3")
    assert "nonbinary people" in text
    assert "transgender people" not in text
    assert "3 of " in text
    assert "consistent" in show(str(run), "--audit", "affirmation", "--group", "xe", "--config", "organism/sft")
    assert show(str(run), "--audit", "reward", "--csv").splitlines()[0].startswith("pair_id,cluster_id")


def test_what_is_not_there_is_named(run: Path) -> None:
    with pytest.raises(BadInput, match="No row has group 'martian'"):
        show(str(run), "--audit", "reward", "--group", "martian")
    with pytest.raises(BadInput, match="holds no audit 'service'"):
        show(str(run), "--audit", "service")
    assert show(str(run)) == show(str(run), "--audit", "reward")
    with pytest.raises(BadInput, match="no grader to calibrate"):
        CliRunner().invoke(
            app, ["sample", str(run), "--audit", "reward", "--out", str(run / "x.csv")], catch_exceptions=False
        )


def test_rows_from_python(run: Path) -> None:
    assert {"m_pi", "harmful"} <= set(load(run, "reward").rows.columns)
    assert {"verdict", "text"} <= set(load(run, "affirmation").rows.columns)
    assert load(run, "reward").table("summary").height
