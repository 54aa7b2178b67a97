"""Checksums within the files that Evenhand reads back, so that a file and its checksum always change together.

A kill between two files can then leave no file with another's checksum. JSON objects carry theirs as their first key; a Parquet
table carries it between its row groups and its footer, bytes that every Parquet reader passes over. A folder of files that other
libraries write (an adapter) has ``checksums.json``. Files of versions before checksums have none: they are read unchecked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xxhash import xxh128, xxh128_hexdigest

from evenhand.errors import BadInput

CHECKSUMS_FILE = "checksums.json"
_HEAD = b'{\n "checksum": "xxh128:'
_DIGITS = 32
_FORM = re.compile(r"xxh128:[0-9a-f]{32}")
# No UTF-8 text holds these bytes, and each is on either side of the digits: one damaged bit leaves the other to be found.
_MARK = b"\xff\xfeEVENHAND-SUM\xfe\xff"
_SEAL = 2 * len(_MARK) + _DIGITS
_TAIL = 8  # length of the footer, and the magic bytes
_CHUNK = 1 << 20


def altered(path: Path, do: str = "Restore it from a copy, or make it again in a new folder.") -> BadInput:
    """The error for a file whose bytes are not those that were written."""
    return BadInput(
        "The file was edited or damaged after it was written: its checksum does not match.", file=path, do=do
    )


def sealed_json(text: str) -> bytes:
    """Indented JSON text of an object, with its checksum as the first key; other values stay as they are."""
    data = text.encode("ascii") + b"\n"
    if not data.startswith(b"{\n"):
        return data
    return _HEAD + xxh128_hexdigest(data).encode("ascii") + b'",\n' + data[2:]


def parsed_json(data: bytes, path: Path) -> tuple[Any, bool]:
    """A JSON value without its checksum, and whether it had one.

    Raises BadInput, naming the file, where the JSON is broken or the checksum does not match.
    """
    end = len(_HEAD) + _DIGITS
    if data.startswith(_HEAD):
        body = b"{\n" + data[end + 3 :]
        if data[end : end + 3] != b'",\n' or xxh128_hexdigest(body).encode("ascii") != data[len(_HEAD) : end]:
            raise altered(path)
        return _parsed(body, path), True
    value = _parsed(data, path)
    if isinstance(value, dict):
        first = next(iter(value.values()), None)
        if "checksum" in value or (isinstance(first, str) and _FORM.fullmatch(first)):
            raise altered(path)
    return value, False


def _parsed(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise BadInput("The file is not usable JSON: it is nested too deeply.", file=path) from None
    except ValueError as error:
        raise BadInput(f"The file is not valid JSON ({error}).", file=path) from error


def sealed_table(data: bytes, path: Path) -> bytes:
    """The bytes of a Parquet file with a checksum of them, and of their place in the run, before the footer."""
    at = _footer(data)
    assert at is not None, "a Parquet file ends with its footer"
    digest = _of_place(path)
    digest.update(data)
    return data[:at] + _MARK + digest.hexdigest().encode("ascii") + _MARK + data[at:]


def _of_place(path: Path) -> xxh128:
    """A checksum begun with the names of a table and its folder: another table of the run in its place does not match."""
    return xxh128(f"{path.parent.name}/{path.name}\n".encode("utf-8", "surrogatepass"))


def check_table(data: bytes, path: Path) -> bool:
    """Whether a Parquet file carries a checksum. Raises BadInput, naming the file, where it does not match."""
    if data.rfind(_MARK) < 0:
        return False
    footer = _footer(data)
    start = -1 if footer is None else footer - _SEAL
    if footer is None or start < 0:
        raise altered(path)
    seal = data[start:footer]
    digest = _of_place(path)
    digest.update(data[:start])
    digest.update(data[footer:])
    if seal != _MARK + digest.hexdigest().encode("ascii") + _MARK:
        raise altered(path)
    return True


def _footer(data: bytes) -> int | None:
    """Where the footer of a Parquet file begins; None where the end of the file is none of Parquet."""
    if len(data) < _TAIL or data[-4:] != b"PAR1":
        return None
    at = len(data) - _TAIL - int.from_bytes(data[-_TAIL:-4], "little")
    return at if at >= 0 else None


def file_digest(path: Path) -> str:
    """xxh128 of a file's bytes. Raises BadInput where it cannot be read."""
    digest = xxh128()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        raise BadInput("The file is missing.", file=path, do="Restore it from a copy, or make it again.") from None
    except OSError as error:
        raise BadInput(f"The file cannot be read ({error.strerror}).", file=path) from None
    return digest.hexdigest()


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write ``checksums.json``: the xxh128 of each of these files, which `check_folder` compares."""
    from evenhand.files import write_json

    files = {name: f"xxh128:{file_digest(folder / name)}" for name in sorted(names)}
    write_json(folder / CHECKSUMS_FILE, {"files": files})


def check_folder(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Whether a folder has ``checksums.json``; compares every file in it, or those in ``names``.

    Raises BadInput, naming the file, for one that differs or is missing, and for one of ``names`` without a checksum.
    """
    from evenhand.files import read_sealed_json

    path = folder / CHECKSUMS_FILE
    if not path.exists():
        return False
    found, sealed = read_sealed_json(path)
    files = found.get("files") if isinstance(found, dict) else None
    if not sealed or not isinstance(files, dict):
        return False  # a file of that name that something else wrote
    for name in files if names is None else names:
        if name not in files:
            raise BadInput(f"There is no checksum of {name}.", file=path, do="Restore the file from a copy.")
        if files[name] != f"xxh128:{file_digest(folder / name)}":
            raise altered(folder / name)
    return True
