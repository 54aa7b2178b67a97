"""What every part shares: the counts, the workplace, and how a process ended."""

from __future__ import annotations

import random
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

HERE = Path(__file__).resolve().parent
BAD = ("lost", "differing", "tracebacks", "hangs", "leaks", "memory", "leftovers")
"""What must not happen. ``memory``: a process grew beyond its bound. ``leftovers``: temporary files or locks that stay."""


@dataclass
class Counts:
    """One row of the table: how often something was tried, and what came of it."""

    tried: int = 0
    clean: int = 0
    lost: int = 0
    differing: int = 0
    tracebacks: int = 0
    hangs: int = 0
    leaks: int = 0
    memory: int = 0
    leftovers: int = 0
    skipped: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add the numbers of another row."""
        for one in fields(self):
            if isinstance(getattr(self, one.name), int):
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def bad(self) -> int:
        """The number of bad outcomes."""
        return sum(getattr(self, name) for name in BAD)


@dataclass(frozen=True)
class Done:
    """How one process ended: its exit code (minus the signal), peak memory in MiB, seconds, and its streams."""

    code: int
    memory: float
    seconds: float
    out: str
    err: str
    hung: bool = False

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err


class Place:
    """The workplace of one run of the harness: a scratch folder that is removed, and a folder of failures that stays.

    ``until`` is the time (monotonic seconds) at which a part should end; it is looked at between cases.
    """

    def __init__(self, scratch: Path, kept: Path, seed: int, until: float):
        self.scratch, self.kept, self.seed, self.until = scratch, kept, seed, until
        self._lock = threading.Lock()

    def part(self, name: str, until: float) -> Place:
        """The workplace of one part, with a clock of its own."""
        folder = self.scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        own = Place(folder, self.kept, self.seed, until)
        own._lock = self._lock
        return own

    def random(self, *of: object) -> random.Random:
        """A generator that depends on the seed of the harness and on what it is for, and on nothing else."""
        return random.Random("/".join(map(str, (self.seed, *of))))

    @property
    def over(self) -> bool:
        """Whether the time of this part is spent."""
        return time.monotonic() >= self.until

    def fail(self, part: str, kind: str, name: str, told: str, files: Sequence[Path] = (), most: int = 40) -> None:
        """Keep a failure: what happened, the command that repeats it, and the files it needs (at most ``most`` failures)."""
        with self._lock:
            same = len(list(self.kept.glob(f"{part}-{kind}-*"))) if self.kept.exists() else 0
            if same >= most:
                return
            folder = self.kept / f"{part}-{kind}-{same + 1:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "what.txt").write_text(
                f"{name}\nseed {self.seed}\n\n{told}\n", encoding="utf-8", errors="replace"
            )
            for file in files:
                if file.is_file() and file.stat().st_size < 4 << 20:
                    shutil.copy(file, folder / file.name)
                elif file.is_dir():
                    shutil.copytree(file, folder / file.name, dirs_exist_ok=True, symlinks=True)
        sys.stderr.write(f"torture: {part}: {kind}: {name} ({folder})\n")


def read_text(path: Path) -> str:
    """A stream that was written to a file, whatever is in it."""
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def traceback_in(text: str) -> bool:
    """Whether a stream holds a Python traceback or a Rust panic."""
    return "Traceback (most recent call last)" in text or "panicked at" in text or "Segmentation fault" in text


def as_command(argv: Sequence[str]) -> str:
    """A command line to be pasted into a shell."""
    return "evenhand " + shlex.join(argv)
