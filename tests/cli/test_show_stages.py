"""`evenhand show` and `sample` on audits that measure without a grader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from evenhand.cli.main import app
from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating import audit as pluralism_audit
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.runs.load import load
from evenhand.runs.respond import Configuration
from evenhand.runs.runner import run_audits


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


def test_ratings_are_shown_by_any_field_of_the_rater(
    tmp_path: Path, support: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = support("rating_toy")
    rows = [
        {"item": text.id, "rater": f"p{r}", "rating": ("safe", "unsafe")[r % 2], "locale": "US" if r < 5 else "IN"}
        for r in range(10)
        for text in list(toy.TEXTS.values())[:6]
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "people.csv")
    engine = toy.Rater("hf/toy", toy.planted(), lambda one: "I cannot help with that.\x1b[31m", choose=False)
    monkeypatch.setattr(pluralism_audit, "_opened", lambda config, cache: [Configuration("hf/toy", engine)])
    few = {"draws": 100, "permutations": 99, "reml_draws": 0}
    asked = PluralismConfig(
        models=("hf/toy",), rating_set="shipped", human_ratings=str(tmp_path / "people.csv"), rating_axes=("gender",), **few
    )  # fmt: skip
    pluralism_audit.run_rating(asked, tmp_path / "run")
    text = show(str(tmp_path / "run"), "--group", "Woman", "--limit", "2")
    assert "gender=Woman" in text
    assert "refused" in text
    assert "cannot help" in text
    assert "\x1b" not in text
    assert f"2 of {6 * 8} rows" in text
    assert "30 rows" in show(str(tmp_path / "run"), "--config", "people", "--group", "IN")
    with pytest.raises(BadInput, match=r"No row has group 'Mars'.*There are: IN, Man, US, Woman"):
        show(str(tmp_path / "run"), "--group", "Mars")
    words = ["sample", str(tmp_path / "run"), "--audit", "pluralism", "--out", str(tmp_path / "x.csv")]
    with pytest.raises(BadInput, match="no grader to calibrate"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    pluralism_audit.run_rating(PluralismConfig(ratings=tmp_path / "people.csv", **few), tmp_path / "alone")
    assert "60 rows" in show(str(tmp_path / "alone"), "--limit", "1")
    assert load(tmp_path / "alone", "pluralism").rows.height == 60
    assert load(tmp_path / "run", "pluralism").rows.height == 60 + 6 * 3 * 8
