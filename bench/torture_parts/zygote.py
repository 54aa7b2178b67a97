"""A process that has imported everything heavy once, and forks a child for each command line. Usage: zygote.py MODULE ...

A request is one line of JSON on standard input: ``argv``, ``cwd``, ``env`` (added to the environment), ``out`` and ``err``
(files for the streams), and perhaps ``fsize`` (largest file in bytes) and ``options`` (other defaults of engine options). It is
answered by two lines: the child's process id, and, when it has ended, its exit code (minus the signal) and its peak memory in KiB.
A request with ``batch`` (a list of cases, each with ``argv``, ``cwd`` and ``env``) runs them one after the other in one child. It
writes to the file ``results`` a line when a case begins, and a line with its exit code and its streams when it has ended.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
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
    set_defaults(request.get("options", {}))
    sys.argv = ["evenhand", *request["argv"]]
    say(pid=os.getpid())
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    os._exit(run())


def batch(request: dict[str, Any]) -> None:
    """Run many short command lines in this child."""
    die_with_parent()
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (request["space"], request["space"]))
    results = os.open(request["results"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    say(pid=os.getpid())
    streams = os.open(request["out"], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(streams, number)
    before = dict(os.environ)
    for at, case in enumerate(request["batch"]):
        os.write(results, json.dumps({"begun": at}).encode() + b"\n")
        os.ftruncate(streams, 0)
        os.chdir(case["cwd"])
        os.environ.clear()
        os.environ.update({**before, **case["env"]})
        sys.argv = ["evenhand", *case["argv"]]
        code = run()
        size = os.fstat(streams).st_size
        text = os.pread(streams, 8000, 0) + (os.pread(streams, 24000, max(8000, size - 24000)) if size > 8000 else b"")
        os.write(
            results, json.dumps({"ended": at, "code": code, "text": text.decode("utf-8", "replace")}).encode() + b"\n"
        )
    os._exit(0)


def set_defaults(options: dict[str, float]) -> None:
    """Give engine options that no command line reaches (time-outs, waits) other defaults."""
    from evenhand.engines.spec import EngineOptions

    for name, value in options.items():
        EngineOptions.model_fields[name].default = value
    if options:
        EngineOptions.model_rebuild(force=True)


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


def everything() -> list[str]:
    """Every module of Evenhand that a command imports while it runs, and the libraries that are slow to import."""
    import evenhand

    found = [module.name for module in pkgutil.walk_packages(evenhand.__path__, "evenhand.")]
    wanted = [name for name in found if ".bridges" not in name and not name.endswith(("_numba", "__main__"))]
    return [
        "torch",
        "transformers",
        "scipy.stats",
        "sklearn",
        "pyarrow.parquet",
        "pyarrow.csv",
        "yaml",
        "jinja2.sandbox",
        *wanted,
    ]


def say(**answer: Any) -> None:
    """One line to the harness."""
    os.write(1, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Import what is named, then serve requests until standard input ends."""
    die_with_parent()
    import evenhand.cli.main

    for name in sys.argv[1:]:
        for module in everything() if name == "everything" else (name,):
            importlib.import_module(module)
    say(ready=evenhand.__version__)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                (batch if "batch" in request else become)(request)
            finally:
                os._exit(121)
        _, status, usage = os.wait4(child, 0)
        say(code=os.waitstatus_to_exitcode(status), memory=usage.ru_maxrss)


if __name__ == "__main__":
    main()
