"""Whether two run folders hold the same: every table, finding, artefact and page byte for byte, times aside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_TIMES = frozenset({"created", "timings", "seconds", "resumed_with_versions", "finished", "elapsed", "checksum"})
_CLOCK = re.compile(
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d| UTC)?|\b[\d.,]+ (?:s|min|seconds)\b"
)


def files_of(folder: Path) -> dict[str, Path]:
    """The files that are promised to be equal. Journals are not: a batch that was cut off can be in them twice."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not name.endswith(".journal.jsonl") and "cache.sqlite" not in name:
            found[name] = path
    return found


def differences(whole: Path, broken: Path) -> list[str]:
    """The files that differ or that only one of the folders holds."""
    left, right = files_of(whole), files_of(broken)
    told = [f"{name}: only in the {'whole' if name in left else 'broken'} run" for name in left.keys() ^ right.keys()]
    told += [f"{name}: differs" for name in left.keys() & right.keys() if content(left[name]) != content(right[name])]
    return sorted(told)


def content(path: Path) -> Any:
    """What is compared of a file: its bytes; of a manifest all but times, checksums of files that hold times among them."""
    return plain(path.suffix, path.read_bytes())


def plain(suffix: str, data: bytes) -> Any:
    """The content of a file with this suffix, without times."""
    if suffix == ".json":
        return without_times(json.loads(data))
    if suffix in (".html", ".md"):
        return _CLOCK.sub(b"TIME", data)
    return data


def without_times(value: Any) -> Any:
    """A JSON value without the fields that hold times, or the checksum of a file that holds some."""
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in _TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def journal_lines(folder: Path) -> dict[str, set[bytes]]:
    """The finished lines of every journal of a run."""
    found = {}
    for path in folder.rglob("*.journal.jsonl"):
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end was cut off
        found[path.relative_to(folder).as_posix()] = set(lines)
    return found


def leftovers(folder: Path) -> list[str]:
    """Temporary files that a finished run must not hold."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", "-journal", ".part"))
    )
