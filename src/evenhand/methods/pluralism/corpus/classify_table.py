"""Classified texts as a table, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.classify_text import SLUGS
from evenhand.safe_text import json_safe

if TYPE_CHECKING:
    import polars as pl


def classified_frame(rows: Iterable[Classified]) -> pl.DataFrame:
    """One row a text: key, status, label, top, label_1, label_2, flipped, mass, error, and ``p.SLUG`` and ``gap.SLUG``."""
    import polars as pl

    found = list(rows)
    none: tuple[None, ...] = (None,) * len(SLUGS)
    data: dict[str, list[Any]] = {
        "key": [row.key for row in found],
        "status": [row.status for row in found],
        "label": [row.label for row in found],
        "top": [row.top for row in found],
        "label_1": [row.labels[0] for row in found],
        "label_2": [row.labels[1] for row in found],
        "flipped": [row.flipped for row in found],
        "mass": [row.mass for row in found],
        "error": [json_safe(row.error) for row in found],
    }
    kinds: dict[str, Any] = {"top": pl.Float64, "mass": pl.Float64, "flipped": pl.Boolean}
    schema = {name: kinds.get(name, pl.String) for name in data}
    for prefix in ("p", "gap"):
        for at, slug in enumerate(SLUGS):
            name = f"{prefix}.{slug}"
            data[name] = [((row.values if prefix == "p" else row.gaps) or none)[at] for row in found]
            schema[name] = pl.Float64
    return pl.DataFrame(data, schema=schema)


def classified_from(frame: pl.DataFrame) -> dict[str, Classified]:
    """The inverse of `classified_frame`, by key."""
    out = {}
    for row in frame.iter_rows(named=True):
        values, gaps = (tuple(row[f"{p}.{slug}"] for slug in SLUGS) for p in ("p", "gap"))
        known = row["status"] == "ok"
        out[row["key"]] = Classified(
            row["key"], row["status"], row["label"], values if known else (), gaps if known else (),
            (row["label_1"], row["label_2"]), row["flipped"], row["mass"], row["error"],
        )  # fmt: skip
    return out
