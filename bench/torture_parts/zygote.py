"""A process that has imported everything heavy once, and forks a child for each command line. Usage: zygote.py MODULE ...

A request is one line of JSON on standard input: ``argv``, ``cwd``, ``env`` (added to the environment), ``out`` and ``err``
(files for the streams), and perhaps ``fsize`` (largest file in bytes). It is answered by two lines: the child's process id,
and, when it has ended, its exit code (minus the signal) and its peak memory in KiB.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends; other systems are left as they are."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become(request: dict[str, Any]) -> None:
    """Turn this child into the process of one command line, and end with its exit code."""
    die_with_parent()
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    streams = [os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for name in ("out", "err")]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if "fsize" in request:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails with EFBIG, as it fails on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["fsize"], request["fsize"]))
    sys.argv = ["evenhand", *request["argv"]]
    say(pid=os.getpid())
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    os._exit(run())


def run() -> int:
    """Call the command line in this process; its exit code. What escapes it is printed as the interpreter prints it."""
    from evenhand.cli.main import main

    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # as the interpreter ends where its last flush fails
    return int(code or 0)


def say(**answer: Any) -> None:
    """One line to the harness."""
    os.write(1, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Import what is named, then serve requests until standard input ends."""
    die_with_parent()
    import evenhand.cli.main

    for name in sys.argv[1:]:
        importlib.import_module(name)
    say(ready=evenhand.__version__)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                become(request)
            finally:
                os._exit(121)
        _, status, usage = os.wait4(child, 0)
        say(code=os.waitstatus_to_exitcode(status), memory=usage.ru_maxrss)


if __name__ == "__main__":
    main()
