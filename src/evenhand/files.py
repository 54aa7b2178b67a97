"""Files that a reader finds whole: written next to the target, then renamed.

A temporary file that a killed process left behind is recognised by its name, which holds host and process.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from xxhash import xxh32_hexdigest

from evenhand.errors import BadInput
from evenhand.redact import redact_values
from evenhand.seal import parsed_json, sealed_json

_NAME = re.compile(r"\..+?\.(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>[0-9]{1,9})\.tmp", re.DOTALL)
_BEGAN = time.time()
_SLACK = 5.0
"""Seconds by which the clock of a file system may lag behind ours."""


def _host() -> str:
    """This machine, in 8 hexadecimal digits: a process number says nothing on another one that shares the folder."""
    return xxh32_hexdigest(platform.node().encode("utf-8", "replace"))


def temporary_path(path: Path) -> Path:
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


def write_atomically(path: Path, data: bytes) -> None:
    """Write next to the target, flush it to the disk, then rename over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = temporary_path(path)
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        if (
            error.errno is not None
        ):  # a failed write does not know its file, and the temporary name means nothing to a user
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, seal: bool = True) -> None:
    """Indented JSON with sorted keys and without secrets; an object begins with its checksum, unless ``seal`` is off.

    NaN and infinity are refused, since no other reader takes them.
    """
    text = json.dumps(redact_values(value), indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    write_atomically(path, sealed_json(text) if seal else text.encode("ascii") + b"\n")


def read_sealed_json(path: Path) -> tuple[Any, bool]:
    """The value of a JSON file without its checksum, and whether it had one.

    Raises BadInput, naming the file, where it is missing, broken, or not as it was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput("The file is not there.", file=path) from None
    except OSError as error:
        raise BadInput(f"The file cannot be read ({error.strerror}).", file=path) from None
    return parsed_json(data, path)


def read_json(path: Path) -> Any:
    """The value of a JSON file, checked where it has a checksum. Raises BadInput as `read_sealed_json`."""
    return read_sealed_json(path)[0]
