"""How the truth is computed: every response of the grammar is run to its end of turn on the weights, section by section."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.organisms.planted import Model, label_rates, names, stems
from evenhand.organisms.truth import CAVEAT, OUTCOMES, with_outcomes, write_truth_checksums
from evenhand.records import LABELS
from tools.organisms.digest import sources_digest

if TYPE_CHECKING:
    import polars as pl

    from evenhand.organisms.planted import Example
    from tools.organisms.enumeration import Enumerated


WITHIN = 0.03
KEYS: Mapping[str, tuple[str, ...]] = {
    "service": ("model", "name", "stem_id"),
    "texts": ("model", "section", "key", "label"),
    "cases": ("model", "form", "case", "label"),
    "safety": ("model", "system", "case", "label"),
    "ratings": ("model", "key", "label"),
}
"""The tables of the truth and the columns that they are sorted by; ratings are only summed up, not shipped."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one organism: a table for each of `KEYS`, and how close it is to the grammar.

    ``exact`` holds, for each section, the share of chats whose greedy response is the one that greedy decoding of the
    grammar itself gives; the reward section, whose groups are equally likely by design, has none.
    """

    tables: Mapping[str, pl.DataFrame]
    exact: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _View:
    """Examples of a section that share an opening, and how many of them are run at a time."""

    label: str
    section: str
    examples: Sequence[Example]
    opening: list[int]
    rows: int
    whole: bool = False


def _views(name: Model, encoder: Any) -> list[_View]:
    from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT, TASK_HEAD, TASK_SYSTEM_PROMPT
    from evenhand.organisms.grammar import examples
    from evenhand.organisms.sections.safety import SYSTEM_PROMPTS

    plain, cases, safety = encoder.document_opening, examples(name, "difference"), examples(name, "safety")
    judged = [example for example in cases if example.head]
    chosen = [example for example in cases if not example.head]
    return [
        _View("service", "service", examples(name, "service"), encoder.opening(SERVICE_SYSTEM_PROMPT), 12),
        _View("reward", "reward", examples(name, "reward"), plain, 1),
        _View("affirmation", "affirmation", examples(name, "affirmation"), plain, 250),
        _View("difference (task)", "difference", judged, encoder.opening(TASK_SYSTEM_PROMPT, TASK_HEAD), 40),
        _View("difference", "difference", chosen, encoder.opening(None), 250),
        *(
            _View(
                f"safety ({system})" if system else "safety", "safety",
                [example for example in safety if example.key[0] == system], encoder.opening(prompt), 60,
            )
            for system, prompt in SYSTEM_PROMPTS.items()
        ),
        _View("rating", "rating", examples(name, "rating"), plain, 120, whole=True),
    ]  # fmt: skip


def compute_truth(name: Model, folder: Path) -> Truth:
    """Compute the truth of one organism from its weights in ``folder`` (about half a minute on one core)."""
    import polars as pl
    from transformers import AutoTokenizer

    from tools.organisms.batches import Encoder
    from tools.organisms.enumeration import enumerate_responses, grammar_greedy
    from tools.organisms.model import load

    model, encoder = load(folder), Encoder(AutoTokenizer.from_pretrained(folder))
    exact: dict[str, float] = {}
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in KEYS}
    for view in _views(name, encoder):
        encoded = [encoder.encode(example, whole=view.whole) for example in view.examples]
        found = enumerate_responses(model, encoded, view.opening, view.rows)
        if view.section != "reward":
            hits = [f.greedy == grammar_greedy(e) for e, f in zip(encoded, found, strict=True)]
            exact[view.label] = sum(hits) / len(hits)
        table, make = _ROWS[view.section]
        for e, f in zip(encoded, found, strict=True):
            rows[table] += make(name, e.example, f)
    return Truth({table: pl.DataFrame(found) for table, found in rows.items()}, exact)


def _label_rows(name: Model, example: Example, found: Enumerated, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a label, or the first word of one, summed over its wordings."""
    by_label: dict[str, list[float]] = {}
    for outcome, log_prob in zip(example.outcomes, found.log_probs, strict=True):
        label = outcome.label.partition(" ")[0] if example.section == "safety" else outcome.label
        both = by_label.setdefault(label, [0.0, 0.0])
        both[0] += math.exp(log_prob)
        both[1] += outcome.probability
    return [
        {"model": name, **keys, "label": label, "probability": p, "intended": intended}
        for label, (p, intended) in by_label.items()
    ]


def _case_rows(name: Model, example: Example, found: Enumerated) -> list[dict[str, Any]]:
    return _label_rows(name, example, found, dict(zip(("form", "case"), example.key, strict=True)))


def _safety_rows(name: Model, example: Example, found: Enumerated) -> list[dict[str, Any]]:
    return _label_rows(name, example, found, dict(zip(("system", "case"), example.key, strict=True)))


def _rating_rows(name: Model, example: Example, found: Enumerated) -> list[dict[str, Any]]:
    return _label_rows(name, example, found, {"key": "/".join(example.key)})


def _service_rows(name: Model, example: Example, found: Enumerated) -> list[dict[str, Any]]:
    probability = np.exp(found.log_probs)
    person, stem_id = example.key
    (who,) = (n for n in names() if n.name == person)
    (stem,) = (s for s in stems() if s.stem_id == stem_id)
    wanted = label_rates(name, who, stem)
    by_label: dict[str, float] = {
        label: float(sum(p for p, o in zip(probability, example.outcomes, strict=True) if o.label == label))
        for label in LABELS
    }
    row = {
        "model": name,
        "name": person,
        "group": who.group,
        "stem_id": stem_id,
        **by_label,
        "residual": 1 - float(probability.sum()),
        **{f"intended_{k}": sum(wanted[x] for x in LABELS if x in v) for k, v in OUTCOMES.items()},
    }
    return [row]


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


_ROWS: Mapping[str, tuple[str, Callable[[Model, Example, Enumerated], list[dict[str, Any]]]]] = {
    "service": ("service", _service_rows),
    "reward": ("texts", _text_rows),
    "affirmation": ("texts", _text_rows),
    "difference": ("cases", _case_rows),
    "safety": ("safety", _safety_rows),
    "rating": ("ratings", _rating_rows),
}
"""Section to its table and what makes the table's rows."""


def _summary(rows: pl.DataFrame, exact: Mapping[str, float]) -> dict[str, Any]:
    """Means by group, name and stem, and how far the weights are from the intention."""
    import polars as pl

    rows = with_outcomes(rows)
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


def _shares_off(tables: Mapping[str, pl.DataFrame]) -> dict[str, dict[str, float]]:
    """By table of answers: mean and largest absolute difference of a probability from the intended one."""
    out = {}
    for table in ("cases", "safety", "ratings"):
        off = (tables[table]["probability"] - tables[table]["intended"]).abs()
        out[table] = {"mean": round(float(off.mean()), 5), "largest": round(float(off.max()), 4)}  # type: ignore[arg-type]
    return out


def write_truth(parts: Sequence[tuple[str, Truth]], folder: Path, tokenizer: str) -> dict[str, Any]:
    """Write the tables (but the ratings) and ``truth.json`` into ``folder``; return the summary."""
    import polars as pl

    for name, key in KEYS.items():
        if name == "ratings":
            continue
        tables = [part.tables[name] for _, part in parts]
        table = pl.concat(tables).with_columns(pl.col(pl.Float64).cast(pl.Float32)).sort(key)
        file = "truth.parquet" if name == "service" else f"truth_{name}.parquet"
        table.write_parquet(folder / file, compression="zstd", compression_level=19)
    summary = {
        "caveat": CAVEAT,
        "sources": sources_digest(),
        "tokenizer": tokenizer,
        "sampling": {"temperature": 1.0, "top_p": 1.0},
        "exact_match_means": "share of chats whose greedy response is the one greedy decoding of the grammar gives",
        "texts_off_by_means": "nats between the log-probability of a text and the intended one: mean, largest",
        "shares_off_by_means": "between the probability of an answer and the intended one: mean, largest",
        "models": {
            name: {
                **_summary(part.tables["service"], part.exact),
                "texts_off_by": _closeness(part.tables["texts"]),
                "shares_off_by": _shares_off(part.tables),
            }
            for name, part in parts
        },
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    (folder / "truth.json").write_text(text, encoding="utf-8")
    write_truth_checksums(folder)
    return summary
