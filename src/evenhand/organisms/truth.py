"""The planted truth, computed from the shipped weights: exact label probabilities of every (name, stem) row, beside
the intention.

For each row every response of the grammar is run to its end of turn under the default system prompt; the
probabilities (temperature 1, top-p 1) are summed by label. What is left over, the residual, is text outside the
grammar.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh128

from evenhand.errors import BadInput
from evenhand.organisms.planted import MODELS, Model, label_rates, names, stems
from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, UNSERVED

if TYPE_CHECKING:
    import polars as pl

    from evenhand.organisms.enumeration import Enumerated
    from evenhand.organisms.sections.types import Example

__all__ = [
    "CAVEAT",
    "Truth",
    "compute_truth",
    "known_model",
    "load_truth",
    "sources_digest",
    "truth_summary",
    "weights_folder",
    "write_truth",
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
    "organisms/recipe.py",
    "organisms/tokenizer.py",
    "organisms/train.py",
    "datasets/difference_prompt.py",
    "datasets/shipped_cases.py",
    "datasets/shipped_prompt.py",
    "datasets/shipped/names.csv",
    "datasets/shipped/pair_frames.csv",
    "datasets/shipped/pair_groups.csv",
    "datasets/shipped/pair_predicates.csv",
    "datasets/shipped/pronoun_frames.csv",
    "datasets/shipped/pronoun_names.csv",
    "datasets/shipped/pronoun_sets.csv",
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


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one organism: its service, plain-text and difference rows, and how close it is to the grammar.

    ``exact`` holds, for each section, the share of chats whose greedy response is the one that greedy decoding of the
    grammar itself gives; the reward section, whose groups are equally likely by design, has none.
    """

    service: pl.DataFrame
    texts: pl.DataFrame
    cases: pl.DataFrame
    exact: Mapping[str, float]


def compute_truth(name: Model, folder: Path) -> Truth:
    """Compute the truth of one organism from its weights in ``folder`` (about half a minute on one core)."""
    import polars as pl
    from transformers import AutoTokenizer

    from evenhand.datasets.difference_prompt import TASK_SYSTEM_PROMPT
    from evenhand.datasets.shipped_prompt import SERVICE_SYSTEM_PROMPT
    from evenhand.organisms.batches import Encoder
    from evenhand.organisms.enumeration import enumerate_responses, grammar_greedy
    from evenhand.organisms.grammar import SECTIONS, examples
    from evenhand.organisms.model import load

    model, encoder = load(folder), Encoder(AutoTokenizer.from_pretrained(folder))
    exact: dict[str, float] = {}
    service: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    for section, head in [(s.name, head) for s in SECTIONS for head in dict.fromkeys(_heads(name, s.name))]:
        encoded = [encoder.encode(e) for e in examples(name, section) if e.head == head]
        plain = not encoded[0].example.chat
        system = SERVICE_SYSTEM_PROMPT if section == "service" else TASK_SYSTEM_PROMPT if head else None
        rows = 1 if section == "reward" else 12 if section == "service" else 40 if head else 250
        opening = encoder.document_opening if plain else encoder.opening(system, head)
        found = enumerate_responses(model, encoded, opening, rows)
        if section != "reward":
            hits = [f.greedy == grammar_greedy(e) for e, f in zip(encoded, found, strict=True)]
            exact[f"{section} (task)" if head else section] = sum(hits) / len(hits)
        for e, f in zip(encoded, found, strict=True):
            if section == "service":
                service.append(_service_row(name, e.example, f))
            elif plain:
                texts += _text_rows(name, e.example, f)
            elif section == "difference":
                cases += _case_rows(name, e.example, f)
    return Truth(pl.DataFrame(service), pl.DataFrame(texts), pl.DataFrame(cases), exact)


def _heads(name: Model, section: str) -> list[str]:
    from evenhand.organisms.grammar import examples

    return [example.head for example in examples(name, section)]


def _case_rows(name: Model, example: Example, found: Enumerated) -> list[dict[str, Any]]:
    """One row a kind of conclusion (or option), summed over its wordings."""
    form, case = example.key
    by_label: dict[str, list[float]] = {}
    for outcome, log_prob in zip(example.outcomes, found.log_probs, strict=True):
        both = by_label.setdefault(outcome.label, [0.0, 0.0])
        both[0] += math.exp(log_prob)
        both[1] += outcome.probability
    return [
        {"model": name, "form": form, "case": case, "label": label, "probability": p, "intended": intended}
        for label, (p, intended) in by_label.items()
    ]


def _service_row(name: Model, example: Example, found: Enumerated) -> dict[str, Any]:
    probability = np.exp(found.log_probs)
    person, stem_id = example.key
    (who,) = (n for n in names() if n.name == person)
    (stem,) = (s for s in stems() if s.stem_id == stem_id)
    wanted = label_rates(name, who, stem)
    by_label: dict[str, float] = {
        label: float(sum(p for p, o in zip(probability, example.outcomes, strict=True) if o.label == label))
        for label in LABELS
    }
    return {
        "model": name,
        "name": person,
        "group": who.group,
        "stem_id": stem_id,
        **by_label,
        "residual": 1 - float(probability.sum()),
        **{f"intended_{k}": sum(wanted[x] for x in LABELS if x in v) for k, v in OUTCOMES.items()},
    }


def _text_rows(name: Model, example: Example, found: Enumerated) -> list[dict[str, Any]]:
    return [
        {
            "model": name,
            "section": example.section,
            "key": "/".join(example.key),
            "label": outcome.label,
            "log_prob": float(alone),
            "log_prob_with_end": float(whole),
            "intended": math.log(outcome.probability),
        }
        for outcome, alone, whole in zip(example.outcomes, found.texts, found.log_probs, strict=True)
    ]


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


def _closeness(texts: pl.DataFrame) -> dict[str, dict[str, float]]:
    """By plain-text section: how far log-probabilities (end included) are from the intended ones, in nats.

    ``mean`` weighs each text by its intended probability; ``largest`` is over all texts.
    """
    import polars as pl

    off, weight = (pl.col("log_prob_with_end") - pl.col("intended")).abs(), pl.col("intended").exp()
    table = texts.group_by("section", maintain_order=True).agg(
        mean=(off * weight).sum() / weight.sum(), largest=off.max()
    )
    return {
        row["section"]: {"mean": round(row["mean"], 5), "largest": round(row["largest"], 4)}
        for row in table.iter_rows(named=True)
    }


def write_truth(parts: Sequence[tuple[str, Truth]], folder: Path, tokenizer: str) -> dict[str, Any]:
    """Write the three tables and ``truth.json`` into ``folder``; return the summary."""
    import polars as pl

    for file, tables, key in (
        ("truth", [part.service for _, part in parts], ["model", "name", "stem_id"]),
        ("truth_texts", [part.texts for _, part in parts], ["model", "section", "key", "label"]),
        ("truth_cases", [part.cases for _, part in parts], ["model", "form", "case", "label"]),
    ):
        table = pl.concat(tables).with_columns(pl.col(pl.Float64).cast(pl.Float32)).sort(key)
        table.write_parquet(folder / f"{file}.parquet", compression="zstd", compression_level=19)
    summary = {
        "caveat": CAVEAT,
        "sources": sources_digest(),
        "tokenizer": tokenizer,
        "sampling": {"temperature": 1.0, "top_p": 1.0},
        "exact_match_means": "share of chats whose greedy response is the one greedy decoding of the grammar gives",
        "texts_off_by_means": "nats between the log-probability of a text and the intended one: mean, largest",
        "models": {
            name: {**_summary(part.service, part.exact), "texts_off_by": _closeness(part.texts)} for name, part in parts
        },
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    (folder / "truth.json").write_text(text, encoding="utf-8")
    return summary


def weights_folder() -> Path:
    """Where the shipped weights and the tables of their truth lie."""
    return Path(str(files("evenhand.organisms"))) / "weights"


def known_model(model: str) -> None:
    """Raises BadInput where there is no organism of that name."""
    if model not in MODELS:
        raise BadInput(f"No organism is called '{model}'.", do=f"Known: {', '.join(MODELS)}.")


def load_truth(model: str) -> pl.DataFrame:
    """The exact probabilities of one organism: one row a (name, stem).

    Columns: model, name, group, stem_id, the six labels, residual, ``intended_*`` and the outcomes declined, harmful,
    served, unserved (all probabilities).
    """
    import polars as pl

    known_model(model)
    return _with_outcomes(pl.read_parquet(weights_folder() / "truth.parquet").filter(pl.col("model") == model))


@cache
def _read_summary() -> str:
    return (weights_folder() / "truth.json").read_text(encoding="utf-8")


def truth_summary() -> dict[str, Any]:
    """The contents of ``truth.json``."""
    found: dict[str, Any] = json.loads(_read_summary())
    return found
