"""Errors that say what happened, where, and what to do; for a missing library, with the line that installs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


class EvenhandError(Exception):
    """Base of every error that Evenhand raises on purpose."""


class BadInput(EvenhandError):
    """Input that cannot be used as it is (exit code 2).

    Parameters
    ----------
    what : what is wrong, in one sentence.
    file : the file that holds it, if any.
    row : 1-based data row (the header is not counted), if any.
    do : what the user can do about it.
    """

    def __init__(self, what: str, *, file: str | Path | None = None, row: int | None = None, do: str | None = None):
        self.what, self.file, self.row, self.do = what, file, row, do
        where = f"{file}, row {row}: " if file and row is not None else f"{file}: " if file else ""
        super().__init__(where + what + (f" {do}" if do else ""))


class EngineError(EvenhandError):
    """Raised before any work starts if an engine lacks a requested ability."""


EXTRAS = {
    "torch": "local",
    "transformers": "local",
    "tokenizers": "local",
    "safetensors": "local",
    "accelerate": "local",
    "peft": "local",
    "huggingface_hub": "local",
    "trl": "train",
    "datasets": "train",
    "ray": "scale",
    "numba": "fast",
    "starlette": "serve",
    "uvicorn": "serve",
    "inspect_ai": "inspect",
}
"""The extra of Evenhand that installs each optional library."""


def install_line(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'evenhand[{extra}]'"


def installed(library: str) -> bool:
    """Whether a library can be found; nothing is imported."""
    if library in sys.modules:
        return sys.modules[library] is not None
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def need(extra: str, *libraries: str, what: str) -> None:
    """Raises BadInput, with the line that installs ``extra``, where one of ``libraries`` is not installed.

    Nothing is imported. ``what`` begins the sentence, for example ``"A local model"``.
    """
    for library in libraries:
        if not installed(library):
            raise BadInput(f"{what} needs {library}, which is not installed.", do=f"Run: {install_line(extra)}")


def missing_library(error: ImportError) -> BadInput | None:
    """What to say of an import that failed; None where the module is not an optional library."""
    library = (error.name or "").partition(".")[0]
    if library not in EXTRAS:
        return None
    line = install_line(EXTRAS[library])
    if isinstance(error, ModuleNotFoundError) and not installed(library):
        return BadInput(f"This needs {library}, which is not installed.", do=f"Run: {line}")
    again = line.replace("install", "install --force-reinstall", 1)
    return BadInput(f"{library} is installed but cannot be imported ({error}).", do=f"Run: {again}")
