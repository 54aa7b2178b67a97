"""`evenhand corpus dedup` as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evenhand.cli.main import app
from evenhand.errors import BadInput

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
