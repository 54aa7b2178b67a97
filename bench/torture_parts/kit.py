"""What every part shares: the counts, the workplace, and the processes in which Evenhand is run."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = ["BAD", "Counts", "Done", "Place", "Zygote", "read_text", "traceback_in"]

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
        self._failures = 0

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
            (folder / "what.txt").write_text(f"{name}\nseed {self.seed}\n\n{told}\n", encoding="utf-8", errors="replace")
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


def environment(**more: str) -> dict[str, str]:
    """The environment of a process under test: one thread each, no colours, a fixed width, the same code, no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVENHAND", "OPENAI", "COLUMNS"))}
    found = importlib.util.find_spec("evenhand")
    if found is None or found.origin is None:
        raise RuntimeError("evenhand is not installed in this environment")
    path = os.pathsep.join(filter(None, (str(Path(found.origin).parents[1]), kept.get("PYTHONPATH", ""))))
    fixed = {
        "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "POLARS_MAX_THREADS": "2", "PYTHONPATH": path, "NO_COLOR": "1",
        "COLUMNS": "200", "TERM": "dumb", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    return {**kept, **fixed, **more}


class Zygote:
    """A prepared process that forks one child a command line (see zygote.py); started anew where it is lost.

    To be used by one thread at a time, and by the thread that made it: it is killed when that thread ends.
    """

    def __init__(self, folder: Path, *modules: str):
        self.folder, self.modules = folder, modules
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._runs = 0

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def _start(self) -> None:
        with (self.folder / "zygote.err").open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "zygote.py"), *self.modules],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment(),
            )  # fmt: skip
        self._rest = b""
        if self._answer(300.0) is None:
            raise RuntimeError(f"the process that forks does not start: {read_text(self.folder / 'zygote.err')[-2000:]}")

    def _prepare(self) -> None:
        """Start the process where there is none."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()

    def _ask(self, request: dict[str, Any]) -> int:
        """Send a request; the id of the child that serves it."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._answer(60.0)
        if answer is None or "pid" not in answer:
            self.close()
            raise RuntimeError(f"a child does not start: {answer}, {read_text(self.folder / 'zygote.err')[-2000:]}")
        return int(answer["pid"])

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """The next line, or None where none comes in that time."""
        assert self._process is not None
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                return None
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def run(
        self,
        argv: Sequence[str],
        cwd: Path,
        *,
        env: dict[str, str] | None = None,
        limit: float = 120.0,
        signals: Sequence[tuple[float, int]] = (),
        fsize: int | None = None,
        options: dict[str, float] | None = None,
    ) -> Done:
        """Run one command line. ``signals`` are sent at these seconds after its start; after ``limit`` seconds it has hung.

        ``fsize`` is the largest file that it can write, in bytes; ``options`` are other defaults of engine options.
        """
        self._prepare()
        self._runs += 1
        out, err = (self.folder / f"{self._runs % 8}.{name}" for name in ("out", "err"))
        for path in (out, err):
            path.unlink(missing_ok=True)
        request: dict[str, Any] = {
            "argv": list(argv), "cwd": str(cwd), "env": env or {}, "out": str(out), "err": str(err),
            "options": options or {}, **({} if fsize is None else {"fsize": fsize}),
        }  # fmt: skip
        child, began = self._ask(request), time.monotonic()
        ended = None
        for moment, number in sorted(signals):
            ended = self._answer(max(0.0, began + moment - time.monotonic()))
            if ended is not None:
                break
            _send(child, number)
        if ended is None:
            ended = self._answer(max(1.0, began + limit - time.monotonic()))
        hung = ended is None
        if hung:
            _send(child, signal.SIGKILL)
            ended = self._answer(30.0)
        _end_group(child)
        seconds = time.monotonic() - began
        if ended is None:
            self.close()
            ended = {"code": -9, "memory": 0}
        return Done(ended["code"], ended["memory"] / 1024, seconds, read_text(out), read_text(err), hung)


    def batch(
        self, cases: Sequence[dict[str, Any]], *, limit: float, space: int, until: float
    ) -> tuple[list[tuple[int, str]], str]:
        """Run short command lines one after the other in one child of at most ``space`` bytes.

        Returns the exit code and the streams of those that ended, and why the next one did not: ``hangs`` after ``limit``
        seconds, ``tracebacks`` where the process died, an empty text where there is none or the time (``until``) is over.
        """
        self._prepare()
        self._runs += 1
        results, out = self.folder / "results.jsonl", self.folder / "batch.out"
        for path in (results, out):
            path.unlink(missing_ok=True)
        child = self._ask({"batch": list(cases), "results": str(results), "out": str(out), "space": space})
        seen, since, stopped = -1, time.monotonic(), ""
        while (ended := self._answer(0.2)) is None:
            size = results.stat().st_size if results.exists() else 0
            if size != seen:
                seen, since = size, time.monotonic()
            if time.monotonic() - since > limit:
                stopped = "hangs"
                break
            if time.monotonic() > until + 5.0:
                break
        else:
            stopped = "tracebacks" if ended["code"] != 0 else ""
        if ended is None:
            _send(child, signal.SIGKILL)
            if self._answer(30.0) is None:
                self.close()
        _end_group(child)
        rows = [json.loads(line) for line in results.read_bytes().split(b"\n")[:-1]] if results.exists() else []
        return [(int(row["code"]), str(row["text"])) for row in rows if "ended" in row], stopped

    def last_output(self) -> str:
        """The streams of the case that a batch stopped at."""
        return read_text(self.folder / "batch.out")


def run_process(argv: Sequence[str], cwd: Path, *, env: dict[str, str] | None = None, limit: float = 240.0) -> Done:
    """Run one command line as a user does: in a new interpreter."""
    began = time.monotonic()
    command = [sys.executable, "-c", "from evenhand.cli.main import main; main()", *argv]
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(**(env or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    hung = False
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        hung = True
        process.kill()
        out, err = process.communicate()
    finally:
        _end_group(process.pid)
    told = [part.decode("utf-8", "replace") for part in (out, err)]
    return Done(process.returncode, 0.0, time.monotonic() - began, *told, hung)


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _end_group(leader: int) -> None:
    """Kill what a process that we started, and that led a group of its own, left behind."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def as_command(argv: Sequence[str]) -> str:
    """A command line to be pasted into a shell."""
    return "evenhand " + shlex.join(argv)
