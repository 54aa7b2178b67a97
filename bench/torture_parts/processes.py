"""The processes in which Evenhand is run: forked from a prepared one, or new interpreters."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torture_parts.kit import Done, read_text

HERE = Path(__file__).resolve().parent


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
        if self._answer(600.0) is None:
            raise RuntimeError(
                f"the process that forks does not start: {read_text(self.folder / 'zygote.err')[-2000:]}"
            )

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
        answer = self._answer(180.0)
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
    told, said = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    return Done(process.returncode, 0.0, time.monotonic() - began, told, said, hung)


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
