"""`--resume` continues the run that is named, in every command, and never begins another."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]
COMMANDS = (
    "drift organism/sft organism/aligned --judge rule",
    "rate organism/aligned",
    "corpus build grammar --classifier organism/curator --generator organism/curator",
    "repair dart organism/aligned --teacher scripted --judge rule --second echo",
    "repair tsdi organism/aligned",
    "sweep tsdi organism/aligned",
)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_run_must_be_named_and_be_there(command: Command, tmp_path: Path, words: str) -> None:
    code, _, said = command(*shlex.split(words), "--resume")
    assert code == 2
    assert "It is not clear which run to continue" in said
    code, _, said = command(*shlex.split(words), "--resume", "--out", "nosuch")
    assert code == 2
    assert "There is no run to resume here" in said
    assert not list(tmp_path.glob("**/manifest.json"))
