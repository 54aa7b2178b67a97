"""Signals: the first unwinds the command and says how to continue, a later one ends it at once, and none shows a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The command hands itself signals: one while it works, the others while it ends.
SCRIPT = """
import os, signal, sys, time
from evenhand.cli import main
from evenhand.console import boundary

FIRST, LATER, AFTER = (int(word) for word in sys.argv[1:4])
WAIT = float(sys.argv[4])

def work():
    try:
        os.kill(os.getpid(), FIRST)
        time.sleep(30)
    finally:
        if LATER:
            time.sleep(WAIT)
            os.kill(os.getpid(), LATER)
            time.sleep(30 if WAIT else 0)

main._invoke = work
guarded = boundary.guarded
def then_signalled(command):
    code = guarded(command)
    if AFTER:
        main._on_signals(main._end_at_once)
        time.sleep(1.1)
        signal.raise_signal(signal.SIGTERM)
    return code
boundary.guarded = then_signalled
main.main()
"""


def ended(*words: int, cwd: Path, wait: float = 0.0) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words), str(wait)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_with_130_and_a_sentence(first: int, tmp_path: Path) -> None:
    assert ended(first, 0, 0, cwd=tmp_path) == (130, "evenhand: interrupted\n")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_later_signal_ends_the_command_at_once(first: int, second: int, tmp_path: Path) -> None:
    assert ended(first, second, 0, cwd=tmp_path, wait=1.2) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_twice_is_one_interrupt(number: int, tmp_path: Path) -> None:
    """`timeout` sends its signal to the process and then to its group."""
    assert ended(number, number, 0, cwd=tmp_path) == (130, "evenhand: interrupted\n")


def test_a_signal_after_the_command_has_ended_shows_no_traceback(tmp_path: Path) -> None:
    assert ended(signal.SIGINT, 0, 1, cwd=tmp_path) == (130, "evenhand: interrupted\n")
