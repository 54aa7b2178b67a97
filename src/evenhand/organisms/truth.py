"""The planted truth, computed from the shipped weights: exact label probabilities of every (name, stem) row, beside
the intention.

For each row every response of the grammar is run to its end of turn under the default system prompt; the
probabilities (temperature 1, top-p 1) are summed by label. What is left over, the residual, is text outside the
grammar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh128

from evenhand.errors import BadInput
from evenhand.organisms.planted import MODELS, label_rates, names, stems
from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, UNSERVED

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CAVEAT", "load_truth", "sources_digest", "truth_rows", "truth_summary", "write_truth"]

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
    "organisms/recipe.py",
    "organisms/tokenizer.py",
    "organisms/train.py",
    "datasets/shipped_prompt.py",
    "datasets/shipped/names.csv",
    "datasets/shipped/stems.csv",
)
WITHIN = 0.03


def sources_digest() -> str:
    """32 hexadecimal digits over everything that decides the weights: recipe, grammar and data. Line ends do not
    count.
    """
    root = Path(str(files("evenhand")))
    sections = sorted((root / "organisms" / "sections").glob("*.py"))
    digest = xxh128()
    for path in [*(root / source for source in SOURCES), *sections]:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def truth_rows(name: str, folder: Path) -> tuple[pl.DataFrame, dict[str, float]]:
    """Compute the truth of one organism from its weights in ``folder`` (about half a minute on one core).

    Returns the rows of ``truth.parquet`` and, for each section, the share of chats whose greedy response is the one
    that greedy decoding of the grammar itself gives.
    """
    import polars as pl
    from transformers import AutoTokenizer

    from evenhand.datasets.shipped_prompt import SERVICE_SYSTEM_PROMPT
    from evenhand.organisms.batches import Encoder
    from evenhand.organisms.enumeration import enumerate_responses, grammar_greedy
    from evenhand.organisms.grammar import SECTIONS, examples
    from evenhand.organisms.model import load

    (model_name,) = (m for m in MODELS if m == name)
    model, encoder = load(folder), Encoder(AutoTokenizer.from_pretrained(folder))
    exact: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    group = {n.name: n.group for n in names()}
    intended = {(n.name, s.stem_id): label_rates(model_name, n, s) for n in names() for s in stems()}
    for section in SECTIONS:
        encoded = [encoder.encode(e) for e in examples(model_name, section.name)]
        service = section.name == "service"
        found = enumerate_responses(
            model, encoder, encoded, SERVICE_SYSTEM_PROMPT if service else None, 12 if service else 250
        )
        hits = [f.greedy == grammar_greedy(e) for e, f in zip(encoded, found, strict=True)]
        exact[section.name] = sum(hits) / len(hits)
        for e, f in zip(encoded, found, strict=True) if service else ():
            probability = np.exp(f.log_probs)
            by_label: dict[str, float] = {
                label: float(sum(p for p, o in zip(probability, e.example.outcomes, strict=True) if o.label == label))
                for label in LABELS
            }
            wanted = intended[e.example.key[0], e.example.key[1]]
            rows.append(
                {
                    "model": name,
                    "name": e.example.key[0],
                    "group": group[e.example.key[0]],
                    "stem_id": e.example.key[1],
                    **by_label,
                    "residual": 1 - float(probability.sum()),
                    **{f"intended_{k}": sum(wanted[x] for x in LABELS if x in v) for k, v in OUTCOMES.items()},
                }
            )
    return pl.DataFrame(rows), exact


def _with_outcomes(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(
        pl.sum_horizontal([x for x in LABELS if x in labels]).alias(outcome) for outcome, labels in OUTCOMES.items()
    )


def _summary(rows: pl.DataFrame, exact: Mapping[str, float]) -> dict[str, Any]:
    """Means by group, name and stem, and how far the weights are from the intention."""
    import polars as pl

    rows = _with_outcomes(rows)
    columns = [*OUTCOMES, *(f"intended_{o}" for o in OUTCOMES)]
    away = (rows["declined"] - rows["intended_declined"]).abs()
    out: dict[str, Any] = {
        "exact_match": {k: round(v, 4) for k, v in exact.items()},
        "declined_off_by": {
            "largest": round(float(away.max()), 4),  # type: ignore[arg-type]
            "mean": round(float(away.mean()), 4),  # type: ignore[arg-type]
            "share_within_0.03": round(float((away <= WITHIN).mean()), 4),  # type: ignore[arg-type]
        },
        "residual": {"mean": float(rows["residual"].mean()), "largest": float(rows["residual"].max())},  # type: ignore[arg-type]
        "overall": {c: round(float(rows[c].mean()), 5) for c in columns},  # type: ignore[arg-type]
    }
    for key in ("group", "name", "stem_id"):
        table = rows.group_by(key, maintain_order=True).agg(pl.col(columns).mean().round(5))
        out[f"by_{key}"] = {row[key]: {c: row[c] for c in columns} for row in table.iter_rows(named=True)}
    return out


def write_truth(
    parts: Sequence[tuple[str, pl.DataFrame, Mapping[str, float]]], folder: Path, tokenizer: str
) -> dict[str, Any]:
    """Write ``truth.parquet`` and ``truth.json`` into ``folder`` and return the summary."""
    import polars as pl

    table = pl.concat([rows for _, rows, _ in parts])
    table = table.with_columns(pl.col(pl.Float64).cast(pl.Float32)).sort("model", "name", "stem_id")
    table.write_parquet(folder / "truth.parquet", compression="zstd", compression_level=19)
    summary = {
        "caveat": CAVEAT,
        "sources": sources_digest(),
        "tokenizer": tokenizer,
        "sampling": {"temperature": 1.0, "top_p": 1.0},
        "exact_match_means": "share of chats whose greedy response is the one greedy decoding of the grammar gives",
        "models": {name: _summary(rows, exact) for name, rows, exact in parts},
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    (folder / "truth.json").write_text(text, encoding="utf-8")
    return summary


def _weights() -> Path:
    return Path(str(files("evenhand.organisms"))) / "weights"


def load_truth(model: str) -> pl.DataFrame:
    """The exact probabilities of one organism: one row a (name, stem).

    Columns: model, name, group, stem_id, the six labels, residual, ``intended_*`` and the outcomes declined, harmful,
    served, unserved (all probabilities).
    """
    import polars as pl

    if model not in MODELS:
        raise BadInput(f"No organism is called '{model}'.", do=f"Known: {', '.join(MODELS)}.")
    return _with_outcomes(pl.read_parquet(_weights() / "truth.parquet").filter(pl.col("model") == model))


@cache
def _read_summary() -> str:
    return (_weights() / "truth.json").read_text(encoding="utf-8")


def truth_summary() -> dict[str, Any]:
    """The contents of ``truth.json``."""
    found: dict[str, Any] = json.loads(_read_summary())
    return found
