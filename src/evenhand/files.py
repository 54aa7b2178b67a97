"""Writing a file so that a reader finds the old one or the new one, never half of either."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from evenhand.errors import BadInput
from evenhand.leftovers import beside
from evenhand.redact import redact_values
from evenhand.seal import parsed_json, sealed_json


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, bring it to the disk, then rename over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = beside(path)
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
