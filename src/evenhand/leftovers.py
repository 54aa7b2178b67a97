"""Temporary files: how they are named, and which of them a killed process has left behind for good."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from xxhash import xxh32_hexdigest

_NAME = re.compile(r"\..+?\.(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>[0-9]{1,9})\.tmp", re.DOTALL)
_BEGAN = time.time()
_SLACK = 5.0
"""Seconds by which the clock of a file system may lag behind ours."""


def _host() -> str:
    """This machine, in 8 hexadecimal digits: a process number says nothing on another one that shares the folder."""
    return xxh32_hexdigest(platform.node().encode("utf-8", "replace"))


def beside(path: Path) -> Path:
    """Where the new content of ``path`` is written before it is renamed: a hidden name with host and process."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}.tmp")


def is_leftover(path: Path) -> bool:
    """Whether a file is a temporary one of a process of this host that has ended.

    A process of another host is never taken as ended. Names without a host, as earlier versions wrote them, are taken
    as this host's. A file with our own process number is left over only if it is older than this process.
    """
    found = _NAME.fullmatch(path.name)
    if found is None or found["host"] not in (None, _host()) or path.is_symlink() or not path.is_file():
        return False
    if int(found["pid"]) != os.getpid():
        return not _is_running(int(found["pid"]))
    return path.stat().st_mtime < _BEGAN - _SLACK


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the temporary files that ended processes of this host left in a folder and below; returns those removed.

    The caller holds the folder, so that no process is writing there. A file that cannot be removed is left.
    """
    removed = []
    for path in sorted(folder.rglob(".*.tmp")):
        with suppress(OSError):
            if is_leftover(path):
                path.unlink()
                removed.append(path)
    return removed


if sys.platform == "win32":

    def _is_running(pid: int) -> bool:
        """Whether a process is there; one that may not be asked counts as running."""
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not handle:
            return ctypes.get_last_error() != 87  # ERROR_INVALID_PARAMETER: there is no such process
        try:
            return bool(kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) != 0)  # 0: it has ended
        finally:
            kernel.CloseHandle(ctypes.c_void_p(handle))

else:

    def _is_running(pid: int) -> bool:
        """Whether a process is there; one that may not be asked counts as running."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True
