"""`evenhand corpus build` and `evenhand corpus sweep` as their user meets them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.methods.pluralism.corpus.commands import build, sweep

app = typer.Typer(rich_markup_mode=None)
app.command("build")(build)
app.command("sweep")(sweep)
HERE = Path(__file__).with_name("scripted.py")


def corpus(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if isinstance(result.exception, BadInput):
        raise result.exception
    return result


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    spec = importlib.util.spec_from_file_location("scripted_for_cli", HERE)
    assert spec is not None
    assert spec.loader is not None
    scripted: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scripted)
    engines = {
        "classifier": scripted.ScriptedClassifier(spec="organism/scripted"), "generator": scripted.ScriptedGenerator()
    }  # fmt: skip
    monkeypatch.setattr("evenhand.methods.pluralism.corpus.build._opened", lambda config, cache: engines)
    scripted.write_prompts(tmp_path / "in.csv", {3: 8, 4: 2}, none=2, extra=["BROKEN text of area03"])
    return tmp_path / "in.csv"


def test_build_and_sweep(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["build", str(prompts), "--classifier", "a/b", "--generator", "c/d", "--out", str(out), "--floor", "6"]
    words += ["--expand", "discrimination,stereotype,injustice", "--expand", "self_harm", "--attempts", "3"]
    with pytest.raises(BadInput, match="no run to resume"):
        corpus(*words, "--resume")
    assert not out.exists()
    result = corpus(*words)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["controversial_topics,politics", "8", "0", "8"] in rows
    assert ["discrimination,stereotype,injustice", "2", "4", "6"] in rows
    assert ["self_harm", "0", "6", "6"] in rows
    assert ["all", "12", "10", "22"] in rows
    assert "Note: 1 texts got no label" in result.stdout
    assert "its labels are not real labels" in result.stdout
    assert str(out / "corpus" / "card.md") in result.stdout
    with pytest.raises(BadInput, match="already holds a run"):
        corpus(*words)
    again = corpus(*words, "--resume", "--json")
    assert json.loads(again.stdout) == read_json(out / "corpus" / "card.json")

    swept = corpus("sweep", str(out), "--deltas", "0.95", "--taus", "3")
    assert swept.exit_code == 0, swept.output
    lines = [line.split() for line in swept.stdout.splitlines()]
    assert ["0.5", "10", "22", "20", "published", "point"] in lines
    assert ["0.95", "3", "12", "0"] in lines
    assert (out / "sweep" / "sweep.csv").is_file()
    assert "keep 22 rows; over the grid it is 12 to 22." in (out / "sweep" / "sweep.html").read_text(encoding="utf-8")
    table = json.loads(corpus("sweep", str(out), "--out", str(tmp_path / "s"), "--json").stdout)
    assert sum(row["published"] for row in table) == 1


def test_wrong_settings_name_the_field(prompts: Path, tmp_path: Path) -> None:
    words = ["build", str(prompts), "--classifier", "a/b", "--generator", "c/d", "--out", str(tmp_path / "run")]
    with pytest.raises(BadInput, match="unrelated texts are 32 of 64 bits apart"):
        corpus(*words, "--distance", "40")
    with pytest.raises(BadInput, match="delta"):
        corpus(*words, "--delta", "2")
    assert not (tmp_path / "run").exists()
