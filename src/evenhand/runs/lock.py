"""One writer a folder, by a lock of the operating system: it ends with its process, so a killed run leaves none behind."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput

if TYPE_CHECKING:
    from filelock import BaseFileLock


LOCK_NAME = ".lock"


def hold(folder: Path) -> BaseFileLock:
    """Lock a folder without waiting; ``release()`` of what is returned ends the lock, and so does the end of the process.

    The lock is ``flock`` on POSIX and ``msvcrt.locking`` on Windows, on the file ``.lock``, which may stay behind. Raises
    BadInput where another process holds it, where the file cannot be written, or where the file system has no such locks.
    """
    from filelock import FileLock, Timeout

    # Newer versions fall back to a marker file, which a killed process would leave behind; an error is better.
    choices: dict[str, Any] = {"fallback_to_soft": False}
    known = inspect.signature(FileLock.__init__).parameters
    lock = FileLock(
        folder / LOCK_NAME,
        timeout=0,
        thread_local=False,
        **{name: value for name, value in choices.items() if name in known},
    )
    try:
        lock.acquire()
    except Timeout:
        raise BadInput("Another process is writing this run.", file=folder, do="Wait for it to end.") from None
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"The folder cannot be locked ({why}).",
            file=folder,
            do="Choose an --out that you may write to, on a file system that has file locks.",
        ) from None
    return lock
