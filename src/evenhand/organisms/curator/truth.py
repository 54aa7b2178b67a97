"""The planted truth of the curator, as it stands beside the weights, and the digest of the sources that decide them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from evenhand.organisms.truth import truth_file

if TYPE_CHECKING:
    import polars as pl


@cache
def _read_summary() -> str:
    return truth_file("truth_curator.json").read_text(encoding="utf-8")


def curator_summary() -> dict[str, Any]:
    """The contents of ``truth_curator.json``."""
    found: dict[str, Any] = json.loads(_read_summary())
    return found


def load_answers() -> pl.DataFrame:
    """What the curator answers about the shipped lines: one row a (line, domain asked about, wording).

    Columns: id, domain, hedge, asked, wording, yes (P(Yes) of Yes and No, from the weights), mass (of both together), intended.
    """
    import polars as pl

    return pl.read_parquet(truth_file("truth_curator.parquet"))
