"""Token pools: where the tokens of random contexts come from. Texts are tokenised alone; special ids never enter a pool."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh128

from evenhand.datasets.table import SUFFIXES, read_table, resolve
from evenhand.errors import BadInput
from evenhand.text_input import json_or

BUILTIN, UNIFORM, DISTINCT = "builtin", "uniform", "distinct:"
FEWEST = 1_000
"""Occurrences below which a pool of text is refused (specification 9.14)."""
_TEXT_FILE = ".txt"
_TEXT_ALIASES = {"text": ("prompt", "content", "user", "message", "instruction", "input", "response")}


@dataclass(frozen=True, slots=True, eq=False)
class TokenPool:
    """Token occurrences to draw from, i.i.d. and uniformly: ``ids``, int32, in the order of the texts.

    ``digest`` is the xxh128 of the ids; ``removed`` counts special and control ids that stood in the texts.
    """

    name: str
    ids: NDArray[np.int32]
    removed: int = 0

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over the ids, in order."""
        return xxh128(np.ascontiguousarray(self.ids).data).hexdigest()

    @property
    def size(self) -> int:
        """Occurrences."""
        return len(self.ids)


def open_pool(
    asked: str, tokenizer: Any, *, valid: Sequence[int], excluded: Collection[int], columns: Mapping[str, str]
) -> TokenPool:
    """The pool of that name under a tokenizer.

    ``builtin``: shipped prose and questions. ``uniform``: every valid id once. ``distinct:POOL``: every distinct id of a pool
    once. Anything else is a file or a folder of files: a text a line (.txt), or a table with a column ``text``, or with
    ``question`` and ``choices`` as in MMLU, of which question and choices are the text.

    Parameters
    ----------
    valid : ids that both models can emit.
    excluded : special, control and unshared ids; they never enter a pool.

    Raises BadInput for a file that cannot be read (with the row), and for fewer than 1,000 occurrences.
    """
    allowed = np.asarray(sorted(set(valid) - set(excluded)), dtype=np.int32)
    if asked == UNIFORM:
        if columns:
            raise BadInput("The pool 'uniform' has no columns to map.")
        if len(allowed) < 2:
            raise BadInput(f"Only {len(allowed)} valid ids are left to draw from.")
        return TokenPool(UNIFORM, allowed)
    pool_files(asked)  # says at once what is not there
    distinct = asked.startswith(DISTINCT)
    source = asked.removeprefix(DISTINCT)
    if source == BUILTIN and columns:
        raise BadInput("The built-in pool has no columns to map.", do="Give --pool FILE.")
    texts = builtin_passages() if source == BUILTIN else _file_texts(source, columns)
    ids = _tokenised(texts, tokenizer)
    kept = ids[np.isin(ids, allowed)]
    name = source if source == BUILTIN else Path(source).name
    if len(kept) < FEWEST:
        raise BadInput(
            f"The pool holds {len(kept):,} token occurrences after special ids are removed; at least {FEWEST:,} are needed.",
            file=None if source == BUILTIN else source,
            do="Give more text with --pool FILE, or use --pool builtin.",
        )
    removed = len(ids) - len(kept)
    if distinct:
        return TokenPool(DISTINCT + name, np.unique(kept), removed)
    return TokenPool(name, kept, removed)


def pool_files(asked: str) -> list[Path]:
    """The files that a pool is read from, in order; empty for the built-in and the uniform pool. Raises BadInput."""
    source = asked.removeprefix(DISTINCT)
    if source in (BUILTIN, UNIFORM):
        if asked == DISTINCT + UNIFORM:
            raise BadInput("The pool 'uniform' holds each id once already.", do="Give --pool uniform.")
        return []
    path = Path(source).expanduser()
    known = (*SUFFIXES, _TEXT_FILE)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in known)
        if not found:
            raise BadInput("The folder holds no texts.", file=path, do=f"Known files: {', '.join(known)}.")
        return found
    if not path.exists():
        raise BadInput(
            f"There is no pool '{source}', and no such file.",
            do=f"Known pools: {BUILTIN}, {UNIFORM}, distinct:{BUILTIN}; or give a file ({', '.join(known)}).",
        )
    return [path]


def builtin_passages() -> Iterator[str]:
    """Plain prose and questions on many subjects, written for Evenhand. They hold nothing about refusals."""
    text = Path(__file__).with_name("passages.txt").read_text(encoding="utf-8")
    return (passage.strip().replace("\n", " ") for passage in text.strip().split("\n\n"))


def _tokenised(texts: Iterator[str], tokenizer: Any) -> NDArray[np.int32]:
    held = list(texts)
    found = tokenizer(held, add_special_tokens=False, verbose=False).input_ids if held else []
    parts = [np.asarray(ids, dtype=np.int32) for ids in found if ids]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _file_texts(source: str, columns: Mapping[str, str]) -> Iterator[str]:
    for path in pool_files(source):
        if path.suffix.lower() == _TEXT_FILE:
            yield from _lines(path)
        else:
            yield from _table_texts(path, columns)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"The file cannot be read ({error.strerror}).", file=path) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"The file is not UTF-8 (byte {error.start}).", file=path) from None
    yield from (line.strip() for line in text.splitlines() if line.strip())


def _table_texts(path: Path, columns: Mapping[str, str]) -> Iterator[str]:
    table = read_table(path)
    roles = set(columns)
    questions = bool(roles & {"question", "choices"}) or (
        "text" not in roles and {"question", "choices"} <= set(table.frame.columns)
    )
    if questions:
        found = resolve(table, columns, required=("question", "choices"), optional=("subject",))
    else:
        found = resolve(table, columns, required=("text",), aliases=_TEXT_ALIASES)
    for number, row in enumerate(table.rows(), start=1):
        main = row[found["question" if questions else "text"]]
        if main is None or not main.strip():
            raise BadInput("The row has no text.", file=path, row=number, do="Take it out, or fill it in.")
        yield "\n".join([main, *_choices(row[found["choices"]], path, number)]) if questions else main


def _choices(text: str | None, path: Path, number: int) -> list[str]:
    """The choices of a question: a JSON list of at least two texts."""
    found = json_or(text or "", None)
    if not isinstance(found, list) or len(found) < 2 or not all(isinstance(part, str) for part in found):
        raise BadInput("The choices are not a list of texts.", file=path, row=number, do='Write ["A", "B", "C", "D"].')
    return found
