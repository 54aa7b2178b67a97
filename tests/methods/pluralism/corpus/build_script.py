"""A build that is left alone and one that is killed at four stages and resumed. Usage: FOLDER, which holds in.csv.

Each attempt is a forked child that is killed by SIGKILL once a journal of a stage has a line; prints how each ended.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import evenhand.runs.respond  # noqa: F401  (imported here so that every child has it)
from evenhand.config import checked
from evenhand.methods.pluralism.corpus.build import run_build
from evenhand.methods.pluralism.corpus.config import BuildConfig

spec = importlib.util.spec_from_file_location("scripted", Path(__file__).with_name("scripted.py"))
assert spec is not None
assert spec.loader is not None
scripted: Any = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = scripted
spec.loader.exec_module(scripted)
STAGES = ("real-choices", "round-001.journal", "round-001-choices", "round-002")


class Slow(scripted.ScriptedClassifier):  # type: ignore[misc]
    """The scripted classifier with a pause before every call."""

    pause = 0.0

    def choose(self, questions: Sequence[Any]) -> Iterator[Any]:
        time.sleep(self.pause)
        yield from super().choose(questions)


class SlowWriter(scripted.ScriptedGenerator):  # type: ignore[misc]
    """The scripted generator with a pause after every batch."""

    pause = 0.0

    def generate(self, batches: Sequence[Any], sampling: Any, *, config: str) -> Iterator[Any]:
        for part in super().generate(batches, sampling, config=config):
            time.sleep(self.pause / 4)
            yield part


def attempt(folder: Path, name: str, pause: float) -> int:
    """Build, or go on, in a child."""
    child = os.fork()
    if child == 0:
        try:
            Slow.pause = SlowWriter.pause = pause
            config = checked(
                BuildConfig,
                items=str(folder / "in.csv"), classifier="scripted/classifier", generator="scripted/generator", floor=12,
            )  # fmt: skip
            run_build(config, folder / name, resume=True, engines={"classifier": Slow(), "generator": SlowWriter()})
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> int:
    """How a child ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """One whole build, four kills, and the rest."""
    folder = Path(sys.argv[1])
    print(ended(attempt(folder, "whole", 0)))
    for stage in STAGES:
        child = attempt(folder, "broken", 0.05)
        until = time.monotonic() + 40
        while time.monotonic() < until:
            if any(path.stat().st_size for path in (folder / "broken" / "corpus" / "stages").glob(f"{stage}*")):
                os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.002)
        print(ended(child))
    print(ended(attempt(folder, "broken", 0)))


if __name__ == "__main__":
    main()
