"""Mutated command lines: every one ends with a sentence and a known exit code, and none with a traceback."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from evenhand.cli.main import app
from evenhand.errors import EngineError, EvenhandError

VALUES = [
    "nan", "inf", "-inf", "-1", "0", "1e999", "9" * 30, "9" * 5000, "", " ", "a\x00b", "=", "a=", "=b", "a=b", "1:30", "010",
    "none", "/", ".", "a-folder", "a-file.csv", "a-folder/none.csv", "x" * 300, "../" * 50, "hf/", "hf/./a-folder",
    "hf//", "hf/./a-file.csv", "http://", "http://#", "http://[", "openai/", "organism/", "organism/none", "organism/\x00",
    "hf/./a+b+tsdi:", "human=", "words=1", "cuda:99", "%s", "{}", "🙂",
]  # fmt: skip
TURNS = 320


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


def mutated(words: tuple[str, ...], command: Any, rng: random.Random) -> list[str]:
    """A call with models and files that cannot be used, and one to three odd values."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.is_flag]
    line = list(words)
    for option in rng.sample(options, min(len(options), rng.randint(1, 3))):
        line += [rng.choice(option.opts), rng.choice(VALUES)]
    for option in options:  # what a command cannot do without
        if option.required and option.opts[0] not in line:
            line += [option.opts[0], "a-folder"]
    return [*line, *(rng.choice((rng.choice(VALUES), "hf/./a-folder", "a-file.csv")) for _ in arguments)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file and a folder that are no input, and no way to load a model or to serve."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENHAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EVENHAND_DATA", str(tmp_path))
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "a-file.csv").write_text("a,b\n1,2\n", encoding="utf-8")

    def refuse(*_: Any, **__: Any) -> None:
        raise EngineError("no model is opened in this test")

    # The registry is asked at each call: a function replaced here would stay in modules that are first imported meanwhile.
    monkeypatch.setattr("evenhand.registry.ENGINES", SimpleNamespace(get=lambda kind: refuse))
    return tmp_path


@pytest.mark.parametrize("part", range(4))
def test_a_mutated_command_line_ends_with_a_sentence(
    place: Path, part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(f"commands {part}")
    command = typer.main.get_command(app)
    commands = list(leaves(command))
    refused = 0
    for _ in range(TURNS // 4):
        line = mutated(*rng.choice(commands), rng)
        try:
            command.main(args=line, prog_name="evenhand", standalone_mode=True)
        except EvenhandError as error:
            refused += 1
            assert str(error).strip(), line  # noqa: PT017
        except SystemExit as ended:
            refused += ended.code != 0
            assert ended.code in (0, 1, 2, 3, None), line  # noqa: PT017
        except OSError as error:  # a limit of the machine, which the entry point reports
            refused += 1
            assert error.errno == errno.ENAMETOOLONG, line  # noqa: PT017
        assert "Traceback" not in capsys.readouterr().err
    assert refused > TURNS // 8


def test_there_are_two_hundred_command_lines_over_every_command() -> None:
    rng = random.Random("commands 0")
    commands = list(leaves(typer.main.get_command(app)))
    assert TURNS >= 200
    assert len(commands) > 15
    assert all(mutated(*command, rng)[: len(command[0])] == list(command[0]) for command in commands)
