"""The commands `evenhand corpus build` and `evenhand corpus dedup`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from evenhand.cli.main import app
from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.methods.pluralism.corpus.commands import build, sweep

TEXT = "what is the best way to repair an old wooden garden chair"


def corpus(*words: str) -> Result:
    result = CliRunner().invoke(app, ["corpus", *words], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if isinstance(result.exception, BadInput):
        raise result.exception
    return result


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text(f"question,who\n{TEXT},a\n{TEXT}s,a\n{TEXT},b\nNone,a\n!,a\n", encoding="utf-8")
    return path


def test_the_screen_names_the_search_and_the_counts(prompts: Path, tmp_path: Path) -> None:
    result = corpus("dedup", str(prompts), "--out", str(tmp_path / "out"), "--threads", "2")
    assert result.exit_code == 0, result.output
    assert "Search of 3 different texts: all pairs in tiles." in result.output
    lines = {tuple(line.rsplit(maxsplit=1)) for line in result.stdout.splitlines() if line}
    assert {
        ("read", "5"), ("kept", "3"), ("dropped, equal text", "1"), ("dropped, near", "1"), ("without features, kept", "1")
    } <= lines  # fmt: skip
    assert "Note: 1 dropped rows repeat a text exactly while other columns differ" in result.stdout
    assert (tmp_path / "out" / "kept.csv").read_text() == f"question,who\n{TEXT},a\nNone,a\n!,a\n"


def test_options_reach_the_settings(prompts: Path, tmp_path: Path) -> None:
    words = "--bits 128 --distance 20 --features word+bigram --verify 0.7 --keep components --method blocks --strip-speakers"
    result = corpus("dedup", str(prompts), "--out", str(tmp_path / "o"), "--map", "text=who", "--json", *words.split())
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["settings"] == {
        "bits": 128,
        "distance": 20,
        "features": "word+bigram",
        "verify": 0.7,
        "keep": "components",
        "interop": False,
        "strip_speakers": True,
        "method": "blocks",
        "columns": {"text": "who"},
    }
    assert "block permutation" in facts["search"]
    assert facts["kept"] == 2


def test_bad_settings_and_a_used_folder_stop_before_any_work(prompts: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="distance 40"):
        corpus("dedup", str(prompts), "--out", str(tmp_path / "o"), "--distance", "40")
    with pytest.raises(BadInput, match="not empty"):
        corpus("dedup", str(prompts), "--out", str(tmp_path))
    assert not (tmp_path / "o").exists()


two_commands = typer.Typer(rich_markup_mode=None)
two_commands.command("build")(build)
two_commands.command("sweep")(sweep)
HERE = Path(__file__).with_name("scripted.py")


def build_or_sweep(*words: str) -> Result:
    result = CliRunner().invoke(two_commands, list(words), env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if isinstance(result.exception, BadInput):
        raise result.exception
    return result


@pytest.fixture
def scripted_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def test_build_and_sweep(scripted_prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [
        "build",
        str(scripted_prompts),
        "--classifier",
        "a/b",
        "--generator",
        "c/d",
        "--out",
        str(out),
        "--floor",
        "6",
    ]
    words += ["--expand", "discrimination,stereotype,injustice", "--expand", "self_harm", "--attempts", "3"]
    with pytest.raises(BadInput, match="no run to resume"):
        build_or_sweep(*words, "--resume")
    assert not out.exists()
    result = build_or_sweep(*words)
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
        build_or_sweep(*words)
    again = build_or_sweep(*words, "--resume", "--json")
    assert json.loads(again.stdout) == read_json(out / "corpus" / "card.json")

    swept = build_or_sweep("sweep", str(out), "--deltas", "0.95", "--taus", "3")
    assert swept.exit_code == 0, swept.output
    lines = [line.split() for line in swept.stdout.splitlines()]
    assert ["0.5", "10", "22", "20", "published", "point"] in lines
    assert ["0.95", "3", "12", "0"] in lines
    assert (out / "sweep" / "sweep.csv").is_file()
    assert "keep 22 rows; over the grid it is 12 to 22." in (out / "sweep" / "sweep.html").read_text(encoding="utf-8")
    table = json.loads(build_or_sweep("sweep", str(out), "--out", str(tmp_path / "s"), "--json").stdout)
    assert sum(row["published"] for row in table) == 1


def test_wrong_settings_name_the_field(scripted_prompts: Path, tmp_path: Path) -> None:
    words = [
        "build",
        str(scripted_prompts),
        "--classifier",
        "a/b",
        "--generator",
        "c/d",
        "--out",
        str(tmp_path / "run"),
    ]
    with pytest.raises(BadInput, match="unrelated texts are 32 of 64 bits apart"):
        build_or_sweep(*words, "--distance", "40")
    with pytest.raises(BadInput, match="delta"):
        build_or_sweep(*words, "--delta", "2")
    assert not (tmp_path / "run").exists()
