"""The kit of commands: groups, run folders and what a job is given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner, Result

from evenhand.console.commands import Job, group, run_command
from evenhand.errors import BadInput


class Settings(BaseModel):
    """Settings of a toy command."""

    draws: int = Field(3, description="Draws.")
    max_failed: float = Field(0.1, description="Share of rows that may fail.")


@pytest.fixture
def calls() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def app(calls: list[dict[str, Any]]) -> typer.Typer:
    """A command that hands back what it was called with."""

    def work(config: Settings, folder: Path, **how: Any) -> Any:
        calls.append({"config": config, "folder": folder, **how})
        return SimpleNamespace(facts="card")

    made = typer.Typer(rich_markup_mode=None)

    @run_command(Settings, "toy", estimate="Print the cost, and stop.")
    def toy(settings: dict[str, Any], name: Annotated[str, typer.Argument(help="A name.")]) -> Job:
        """Do a toy."""
        return Job(
            Settings(**settings), work, lambda config, cache, probe: [], ways=lambda config, rows: [],
            conclude=lambda built, seconds, json: typer.echo(f"{name} {built.facts} {json}"),
        )  # fmt: skip

    group(made, "things", "Make things.").command("toy")(toy)
    return made


def invoke(app: typer.Typer, *words: str) -> Result:
    result = CliRunner().invoke(app, ["things", "toy", *words], env={"COLUMNS": "120", "TERM": "dumb"})
    if isinstance(result.exception, BadInput):
        raise result.exception
    return result


def test_a_command_has_the_options_of_its_settings_and_of_every_run(app: typer.Typer) -> None:
    text = invoke(app, "--help").stdout
    for word in ("name", "--draws", "--max-failed", "--out", "--resume", "--estimate", "--json", "runs/TIME-toy"):
        assert word in text, word
    assert "Make things." in CliRunner().invoke(app, ["things", "--help"]).stdout


def test_a_job_is_given_folder_cache_progress_and_a_forecast(
    app: typer.Typer, calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_CACHE", str(tmp_path / "cache"))
    result = invoke(app, "bear", "--draws", "5", "--out", str(tmp_path / "run"), "--json")
    assert result.stdout == "bear card True\n"
    (call,) = calls
    assert (call["config"], call["folder"]) == (Settings(draws=5), tmp_path / "run")
    assert (call["resume"], call["cache"]) == (False, tmp_path / "cache")
    assert callable(call["progress"])
    assert callable(call["announce"])


def test_a_folder_that_is_not_named_carries_the_name_of_the_command(
    app: typer.Typer, calls: list[dict[str, Any]]
) -> None:
    invoke(app, "bear")
    assert calls[0]["folder"].parent == Path("runs")
    assert calls[0]["folder"].name.endswith("-toy")


def test_an_estimate_does_no_work(app: typer.Typer, calls: list[dict[str, Any]]) -> None:
    assert invoke(app, "bear", "--estimate", "--json").stdout == "[]\n"
    assert calls == []


def test_a_run_to_resume_is_named_and_there(app: typer.Typer, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--out"):
        invoke(app, "bear", "--resume")
    with pytest.raises(BadInput, match="no run to resume"):
        invoke(app, "bear", "--resume", "--out", str(tmp_path))


def test_a_group_is_made_once() -> None:
    app = typer.Typer()
    assert group(app, "repair") is group(app, "repair")
    assert len(app.registered_groups) == 1
