"""The end of a spec string that takes a measured bias off the model: ``+tsdi:DIR?alpha=0.5&length=4``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from evenhand.errors import BadInput

MARK = "+tsdi:"
_EXAMPLE = "Write it like organism/aligned+tsdi:bias or hf/./mine+tsdi:bias?alpha=0.5&length=4."


@dataclass(frozen=True, slots=True)
class Tsdi:
    """A bias to be subtracted: its folder, ``alpha`` (at least 0), and how many positions, None for all it has."""

    folder: Path
    alpha: float = 1.0
    length: int | None = None


def split_tsdi(text: str, rest: str, is_model: Callable[[str], bool]) -> tuple[str, Tsdi] | None:
    """The model before the last ``+tsdi:`` that makes sense, and the bias; None where there is no ``+tsdi:``.

    ``text`` is the whole spec, ``rest`` what stands behind its kind. A folder's name may hold ``+tsdi:`` and ``?``: of
    all ways to read the string, the last ``+tsdi:`` that has a model before it and a folder behind it is taken, and a
    folder with ``?`` in its name before parameters. Raises BadInput, with an example, where no reading is possible.
    """
    cuts = [match.start() for match in re.finditer(re.escape(MARK), rest)]
    if not cuts:
        return None
    for cut in reversed(cuts):
        before, after = rest[:cut], rest[cut + len(MARK) :]
        for folder, query in _readings(after):
            if (path := as_folder(folder)) and is_model(before):
                return before, _with_parameters(text, path, query)
    before, after = rest[: cuts[0]], rest[cuts[0] + len(MARK) :]
    folder = after.partition("?")[0]
    if not before:
        raise BadInput(f"'{text}' names no model before {MARK}", do=_EXAMPLE)
    if not folder:
        raise BadInput(f"'{text}' names no folder after {MARK}", do=_EXAMPLE)
    if path := as_folder(folder):  # then it is the model that does not exist, which its own reader says best
        return before, _with_parameters(text, path, after.partition("?")[2])
    raise BadInput(
        f"'{text}': there is no folder '{folder}' with a bias.",
        do=f"Estimate one with `evenhand repair tsdi`; an adapter stands before {MARK} {_EXAMPLE}",
    )


def as_folder(text: str) -> Path | None:
    """The folder of that name, ``~`` expanded; None where there is none."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # the home of nobody
        return None
    return path if text and path.is_dir() else None


def refuse_tsdi(text: str, model: str) -> None:
    """Raises BadInput where the model of an endpoint is to be corrected: its logits are out of reach from here."""
    if MARK in model:
        raise BadInput(
            f"'{text}': an endpoint gives no logits that could be corrected from here.",
            do="Serve the corrected model with `evenhand serve MODEL --tsdi DIR`, or use the approximate emulation over "
            "logit_bias.",
        )


def _readings(after: str) -> Iterator[tuple[str, str]]:
    """Folder and parameters, a folder whose name holds a question mark first."""
    yield after, ""
    for match in reversed(list(re.finditer(r"\?", after))):
        yield after[: match.start()], after[match.end() :]


def _with_parameters(text: str, folder: Path, query: str) -> Tsdi:
    given: dict[str, str] = {}
    if query:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        except ValueError:
            raise BadInput(f"'{text}': '{query}' is no list of parameters.", do=_EXAMPLE) from None
        for name, value in pairs:
            if name not in ("alpha", "length"):
                raise BadInput(f"'{text}': there is no parameter '{name}'; there are alpha and length.", do=_EXAMPLE)
            if name in given:
                raise BadInput(f"'{text}': {name} is given twice.", do=_EXAMPLE)
            given[name] = value
    return Tsdi(folder, _alpha(text, given.get("alpha", "1")), _length(text, given.get("length")))


def _alpha(text: str, value: str) -> float:
    try:
        alpha = float(value)
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha):
        raise BadInput(f"'{text}': alpha '{value}' is not a finite number.", do=_EXAMPLE)
    if alpha < 0:
        raise BadInput(
            f"'{text}': a negative alpha would make the model refuse more.",
            do=f"It can be studied in Python alone (BiasKernel, allow_negative). {_EXAMPLE}",
        )
    return alpha


def _length(text: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) >= 1):
        raise BadInput(f"'{text}': length '{value}' is not a whole number of at least 1.", do=_EXAMPLE)
    return int(value)
