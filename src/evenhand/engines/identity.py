"""Digests of the files that make a model what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xxhash import xxh128

from evenhand import __version__
from evenhand.errors import BadInput
from evenhand.text_input import read_json_file

_CHUNK = 1 << 22
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder with its config files, by name."""
    configs = [folder / name for name in ("config.json", "generation_config.json", "model.safetensors.index.json")]
    return [*sorted(folder.glob("*.safetensors")), *(path for path in configs if path.is_file())]


def adapter_files(folder: Path) -> list[Path]:
    """The files of an adapter folder that decide what it does."""
    config = folder / "adapter_config.json"
    return [*sorted(folder.glob("*.safetensors")), *([config] if config.is_file() else [])]


def tokenizer_files(folder: Path) -> list[Path]:
    """The tokenizer's files in a folder, chat template files excepted (they have a digest of their own)."""
    return [path for name in _TOKENIZER_FILES if (path := folder / name).is_file()]


def digest_files(paths: Iterable[Path]) -> str:
    """xxh128 over name, size and every byte of each file; nothing is remembered from an earlier call."""
    digest = xxh128()
    for path in paths:
        size = path.stat().st_size
        digest.update(json.dumps([path.name, size]).encode())
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def file_stamps(paths: Iterable[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Name, size, modification time (ns) and inode of each file: they differ if a file was replaced meanwhile."""
    stats = [(path, path.stat()) for path in paths]
    return tuple((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in stats)


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON file of a model folder as a dictionary; empty where there is none.

    Raises BadInput where it is not a JSON object.
    """
    path = folder / name
    if not path.is_file():
        return {}
    loaded = read_json_file(path, finite=False, once=False)  # as transformers reads it: some limits are infinite
    if not isinstance(loaded, dict):
        raise BadInput("The file is not a JSON object.", file=path)
    return loaded


def engine_version(kind: str, packages: Iterable[str] = ()) -> str:
    """The engine with its version and those of the packages that decide its numbers."""
    parts = [f"evenhand {__version__} {kind}"]
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} absent")
    return "; ".join(parts)
