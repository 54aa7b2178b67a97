"""Run one audit, killing it at random moments and resuming, until it ends. Usage: FOLDER SEED KILLS [audit settings as JSON].

The imports are done once; each attempt is a forked child that is killed by SIGKILL, as the kernel or an operator would.
Prints one line an attempt: how long it lived, and how many finished batches the journal then held.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from evenhand.config import make_config
from evenhand.engines.machine import torch_with_threads
from evenhand.runs.runner import run_audits


def attempt(folder: Path, settings: dict[str, object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            run_audits(make_config(**settings), folder, resume=True)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return child


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    settings = json.loads(sys.argv[4])
    torch_with_threads()
    import transformers  # noqa: F401  (imported here so that every child has it)

    moments = random.Random(seed)
    killed = 0
    longest = float(os.environ.get("LONGEST", "2.0"))
    while True:
        child = attempt(folder, settings)
        wait = moments.uniform(0.05, longest) if killed < kills else 600.0
        until = time.monotonic() + wait
        status = None
        while status is None and time.monotonic() < until:
            done, code = os.waitpid(child, os.WNOHANG)
            status = code if done else None
            time.sleep(0.01)
        journals = sorted(folder.glob("*/*.journal.jsonl"), key=lambda path: path.stat().st_mtime)
        lines = sum(path.read_bytes().count(b"\n") for path in journals)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            print(f"killed after {wait:.2f} s with {lines} batches", flush=True)
            continue
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(os.waitstatus_to_exitcode(status))
        if killed < kills:
            # It ended before its moment came: break it again from the start of a fresh tail.
            print(f"ended after {lines} batches with {killed} kills so far", flush=True)
            tail = journals[-1].read_bytes().splitlines(keepends=True)
            journals[-1].write_bytes(b"".join(tail[: len(tail) // 2]) + tail[-1][: len(tail[-1]) // 2])
            continue
        return


if __name__ == "__main__":
    main()
