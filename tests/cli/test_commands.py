"""The tree of commands: help by groups everywhere, and the commands that a plug-in's method brings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from evenhand import registry
from evenhand.cli import main
from evenhand.console import boundary
from evenhand.console.commands import Job, group, run_command
from evenhand.console.options import GroupedCommand
from evenhand.registry import Method
from evenhand.settings import EngineSettings


class CakeSettings(EngineSettings):
    """Settings of the toy command."""

    heading = "Cake"

    layers: int = Field(2, description="Number of layers.")


@run_command(CakeSettings, "cake")
def bake(settings: dict[str, Any]) -> Job:
    """Bake a cake."""
    raise NotImplementedError("only its help is asked for")


def greet(name: str) -> None:
    """Greet somebody."""
    typer.echo(f"hello {name}")


def add_toy(app: typer.Typer) -> None:
    """Add the commands of the toy method, one of them to a group that exists."""
    app.command("greet")(greet)
    group(app, "sweep").command("cake")(bake)


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Methods]:
    """The methods and commands, freed of what the test adds when it ends."""
    sweep = group(main.app, "sweep")
    monkeypatch.setattr(registry.METHODS, "_added", dict(registry.METHODS._added))
    monkeypatch.setattr(main, "_with_commands", set())
    monkeypatch.setattr(main.app, "registered_commands", list(main.app.registered_commands))
    monkeypatch.setattr(sweep, "registered_commands", list(sweep.registered_commands))
    toy = ModuleType("toy_plugin")
    toy.add = add_toy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_plugin", toy)
    return registry.METHODS


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command below a group."""
    parts = getattr(command, "commands", None)
    if parts is None:
        yield path, command
    for name, part in (parts or {}).items():
        yield from leaves(part, (*path, name))


def run(*words: str) -> str:
    done = CliRunner().invoke(main.app, list(words), env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    return done.output


def test_every_command_groups_its_options() -> None:
    found = dict(leaves(typer.main.get_command(main.app)))
    assert {("audit",), ("drift",), ("serve",), ("repair", "tsdi"), ("corpus", "build")} <= set(found)
    assert [words for words, command in found.items() if not isinstance(command, GroupedCommand)] == []


@pytest.mark.parametrize(
    "words", [("audit",), ("drift",), ("repair", "dart"), ("repair", "tsdi"), ("sweep", "tsdi"), ("corpus", "build")]
)
def test_engine_options_have_a_heading_of_their_own(words: tuple[str, ...]) -> None:
    lines = run(*words, "--help").splitlines()
    at = lines.index("Engines:")
    assert any("--device" in line for line in lines[at:])
    assert not any(line.startswith("  --device") for line in lines[:at])


def test_a_plug_in_adds_its_commands_once_and_with_grouped_help(methods: registry.Methods) -> None:
    methods.add(Method("toy", "Toy", "what it does", commands="toy_plugin:add"))
    main.add_plugin_commands()
    main.add_plugin_commands()
    assert [info.name for info in main.app.registered_commands].count("greet") == 1
    assert run("greet", "Ada") == "hello Ada\n"
    text = run("sweep", "cake", "--help")
    assert "Bake a cake." in text
    assert "\nCake:\n  --layers" in text
    assert "\nEngines:\n" in text


def test_commands_that_cannot_be_loaded_are_one_line(
    methods: registry.Methods, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    methods.add(Method("toy", "Toy", "what it does", commands="toy_plugin:no_such_name"))
    monkeypatch.setattr(sys, "argv", ["evenhand", "list", "methods"])
    assert boundary.guarded(main._invoke) == boundary.BAD_INPUT
    assert capsys.readouterr().err == (
        "evenhand: 'toy_plugin:no_such_name' is registered, but toy_plugin has no 'no_such_name'. "
        "Install its package again.\n"
    )


def test_a_built_in_method_is_not_added_twice() -> None:
    before = [info.name for info in main.app.registered_commands]
    main.add_plugin_commands()
    assert [info.name for info in main.app.registered_commands] == before
    assert len(before) == len(set(before))
