"""The planted truth of one organism, from its shipped weights: exact label probabilities of every (name, stem) row, beside
the intention.

For each row every response of the grammar is run to its end of turn under the default system prompt; the
probabilities (temperature 1, top-p 1) are summed by label. What is left over, the residual, is text outside the
grammar. Beside it stand the sources that decide the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput
from evenhand.organisms.planted import MODELS
from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, UNSERVED
from evenhand.seal import check_folder, write_checksums

if TYPE_CHECKING:
    import polars as pl


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
