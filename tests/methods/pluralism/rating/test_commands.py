"""`evenhand rate` as its user meets it: ratings without a model, a model, the estimate, JSON, exit codes, hostile cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from evenhand.methods.pluralism.rating import audit as pluralism_audit

Command = Callable[..., tuple[int, str, str]]
FEW = ("--draws", "200", "--permutations", "199", "--reml-draws", "0")
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def toy(support: Callable[[str], ModuleType]) -> Any:
    return support("rating_toy")


def own_file(path: Path, *, bad: int = 0, group: str = "Woman") -> None:
    rows = [
        {
            "item": f"i{i}", "worker": f"r{r}", "rating": "no" if (i * 7 + r * (r > 5)) % 3 else "yes",
            "gender": "Man" if r < 6 else group,
        }
        for i in range(24)
        for r in range(12)
    ]  # fmt: skip
    for row in rows[:bad]:
        row["rating"] = "perhaps"
    pl.DataFrame(rows).write_csv(path)


WORDS = ("--map", "rater=worker", "--value", "yes=unsafe", "--value", "no=safe")


def test_a_file_of_ratings_needs_no_model(command: Command, tmp_path: Path) -> None:
    own_file(tmp_path / "own.csv")
    code, out, err = command("rate", "--ratings", "own.csv", *WORDS, *FEW, "--out", "run")
    assert (code, err) == (0, "")
    assert "distance of two groups, gender" in out
    assert "Krippendorff's alpha" in out
    assert (tmp_path / "run" / "report.html").is_file()
    found = json.loads((tmp_path / "run" / "findings.json").read_text())["audits"]["pluralism"]
    assert {f["config"] for f in found["findings"]} == {"people"}


def test_rows_that_cannot_be_read_are_told_and_end_with_3(command: Command, tmp_path: Path) -> None:
    own_file(tmp_path / "own.csv", bad=20)
    code, _, err = command("rate", "--ratings", "own.csv", *WORDS, *FEW, "--out", "run", "--json")
    assert code == 3
    assert "6.9% of ratings" in err
    found = json.loads((tmp_path / "run" / "findings.json").read_text())["audits"]["pluralism"]
    assert any("20 rows were left out, the first because" in text and "perhaps" in text for text in found["caveats"])


def test_words_without_a_meaning_are_refused(command: Command, tmp_path: Path) -> None:
    own_file(tmp_path / "own.csv")
    code, _, err = command("rate", "--ratings", "own.csv", "--map", "rater=worker", "--out", "run")
    assert code == 2
    assert "neither a known word nor a number" in err


def test_a_hostile_group_is_made_safe(command: Command, tmp_path: Path) -> None:
    own_file(tmp_path / "own.csv", group=HOSTILE)
    code, out, _ = command("rate", "--ratings", "own.csv", *WORDS, *FEW, "--out", "run")
    assert code == 0
    assert "\x1b[31m" not in out
    assert "<script>alert(1)" not in (tmp_path / "run" / "report.html").read_text()


def test_a_model_is_asked_estimated_and_resumed(
    command: Command, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[Any] = []

    def opened(config: Any, cache: Any) -> list[Any]:
        from evenhand.runs.respond import Configuration

        engines.append(toy.Rater("organism/aligned", toy.planted()))
        return [Configuration("organism/aligned", engines[-1])]

    monkeypatch.setattr(pluralism_audit, "_opened", opened)
    asked = ("rate", "organism/aligned", "--rating-items", "14", "--rating-axes", "race", *FEW)
    code, out, _ = command(*asked, "--estimate", "--json")
    assert code == 0
    assert json.loads(out)[0]["calls"] == 14 * 6 * 8
    assert engines[-1].chosen == 0
    assert not (tmp_path / "runs").exists()
    code, out, err = command(*asked, "--out", "run")
    assert code == 0
    assert err.startswith("Not probed: organism/aligned: pluralism (it has no probe)")
    assert f"organism/aligned · pluralism: {14 * 6 * 8} of {14 * 6 * 8}, done" in err
    assert "Ratings move with the rater's race" in " ".join(out.split())
    assert engines[-1].chosen == 14 * 6 * 8
    code, _, err = command(*asked, "--out", "run")
    assert code == 2
    assert "already holds a run" in err
    code, _, _ = command(*asked, "--out", "run", "--resume")
    assert code == 0
    assert engines[-1].chosen == 0


def test_nothing_to_rate_is_said(command: Command, tmp_path: Path) -> None:
    code, _, err = command("rate", "--out", "run")
    assert code == 2
    assert "Give a model to rate with, or existing ratings (--ratings FILE)." in err
    code, _, err = command("rate", "openai/x", "--out", "run")
    assert code == 2
    assert "no text to rate" in err
    assert not (tmp_path / "run").exists()
    code, _, err = command("rate", "organism/sft", "--resume", "--out", "gone")
    assert code == 2
    assert "no run to resume" in err
    code, _, err = command("rate", "organism/sft", "--resume")
    assert code == 2
    assert "--out" in err
