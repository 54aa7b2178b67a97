"""The planted truth of one organism, from its shipped weights: exact label probabilities of every (name, stem) row, beside
the intention.

For each row every response of the grammar is run to its end of turn under the default system prompt; the
probabilities (temperature 1, top-p 1) are summed by label. What is left over, the residual, is text outside the
grammar. Beside it stand the sources that decide the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xxhash import xxh128

from evenhand.errors import BadInput
from evenhand.organisms.planted import MODELS
from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, UNSERVED
from evenhand.store.seal import check_folder, write_checksums

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "CAVEAT",
    "OUTCOMES",
    "files_digest",
    "known_model",
    "load_truth",
    "sources_digest",
    "truth_file",
    "truth_summary",
    "weights_folder",
    "with_outcomes",
    "write_truth_checksums",
]

CAVEAT = (
    "An organism's numbers say nothing about any real model or any real person: "
    "they were planted to test the instrument."
)
OUTCOMES: Mapping[str, frozenset[str]] = {
    "declined": DECLINED,
    "harmful": HARMFUL,
    "served": SERVED,
    "unserved": UNSERVED,
}
SOURCES = (
    "organisms/batches.py",
    "organisms/enumeration.py",
    "organisms/grammar.py",
    "organisms/model.py",
    "organisms/planted.py",
    "organisms/planted_cases.py",
    "organisms/planted_pairs.py",
    "organisms/planted_ratings.py",
    "organisms/planted_safety.py",
    "organisms/recipe.py",
    "organisms/shift.py",
    "organisms/tokenizer.py",
    "organisms/train.py",
    "datasets/difference_prompt.py",
    "datasets/rating_prompt.py",
    "datasets/safety_prompt.py",
    "datasets/shipped_cases.py",
    "datasets/shipped_prompt.py",
    "datasets/shipped_ratings.py",
    "datasets/shipped_safety.py",
    "datasets/shipped/names.csv",
    "datasets/shipped/pair_frames.csv",
    "datasets/shipped/pair_groups.csv",
    "datasets/shipped/pair_predicates.csv",
    "datasets/shipped/pronoun_frames.csv",
    "datasets/shipped/pronoun_names.csv",
    "datasets/shipped/pronoun_sets.csv",
    "datasets/shipped/stems.csv",
)


def sources_digest() -> str:
    """32 hexadecimal digits over everything that decides the weights: recipe, grammar and data. Line ends do not
    count.
    """
    root = Path(str(files("evenhand")))
    sections = sorted((root / "organisms" / "sections").glob("*.py"))
    return files_digest([*(root / source for source in SOURCES), *sections])


def files_digest(paths: Iterable[Path]) -> str:
    """32 hexadecimal digits over files of the package and their places in it. Line ends do not count."""
    root = Path(str(files("evenhand")))
    digest = xxh128()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def weights_folder() -> Path:
    """Where the shipped weights and the tables of their truth lie."""
    return Path(str(files("evenhand.organisms"))) / "weights"


def known_model(model: str) -> None:
    """Raises BadInput where there is no organism of that name, or none whose truth is that of an audit."""
    if model == "curator":
        raise BadInput(
            "The curator sorts and writes prompts: no service truth is planted in it, nor that of any other audit.",
            do="See `evenhand organism truth curator --section corpus`.",
        )
    if model not in MODELS:
        raise BadInput(f"No organism is called '{model}'.", do=f"Known: {', '.join(MODELS)}.")


def with_outcomes(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with the probability of each outcome beside those of the labels."""
    import polars as pl

    return rows.with_columns(
        pl.sum_horizontal([x for x in LABELS if x in labels]).alias(outcome) for outcome, labels in OUTCOMES.items()
    )


def load_truth(model: str) -> pl.DataFrame:
    """The exact probabilities of one organism: one row a (name, stem).

    Columns: model, name, group, stem_id, the six labels, residual, ``intended_*`` and the outcomes declined, harmful,
    served, unserved (all probabilities).
    """
    import polars as pl

    known_model(model)
    return with_outcomes(pl.read_parquet(truth_file("truth.parquet")).filter(pl.col("model") == model))


@cache
def truth_file(name: str) -> Path:
    """A shipped file of the truth, compared with its checksum once a process. Raises BadInput where it is damaged."""
    check_folder(weights_folder(), [name])
    return weights_folder() / name


def write_truth_checksums(folder: Path) -> None:
    """Write the checksums of every file of the truth in ``folder``."""
    write_checksums(folder, [path.name for path in folder.glob("truth*") if path.suffix in (".json", ".parquet")])


@cache
def _read_summary() -> str:
    return truth_file("truth.json").read_text(encoding="utf-8")


def truth_summary() -> dict[str, Any]:
    """The contents of ``truth.json``."""
    found: dict[str, Any] = json.loads(_read_summary())
    return found
