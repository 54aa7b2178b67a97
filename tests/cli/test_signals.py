"""Signals: the first unwinds the command and says how to continue, a further one ends it at once, and none shows a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The command hands itself signals: one while it works, the others while it ends.
SCRIPT = """
import os, signal, sys, time
from evenhand.cli import boundary, main

FIRST, LATER, AFTER = (int(word) for word in sys.argv[1:4])

def work():
    try:
        os.kill(os.getpid(), FIRST)
        time.sleep(30)
    finally:
        if LATER:
            os.kill(os.getpid(), LATER)
            time.sleep(30)

main._invoke = work
guarded = boundary.guarded
def then_signalled(command):
    code = guarded(command)
    if AFTER:
        signal.raise_signal(signal.SIGTERM) if signal.getsignal(signal.SIGTERM) is main._end_at_once else None
    return code
boundary.guarded = then_signalled
main.main()
"""


def ended(*words: int, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
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
def test_a_second_signal_while_the_command_ends_shows_no_traceback(first: int, second: int, tmp_path: Path) -> None:
    assert ended(first, second, 0, cwd=tmp_path) == (130, "")


def test_a_signal_after_the_command_has_ended_shows_no_traceback(tmp_path: Path) -> None:
    assert ended(signal.SIGINT, 0, 1, cwd=tmp_path) == (130, "evenhand: interrupted\n")
