"""The content of ``card.json``: every count of a built corpus, checked before it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand import __version__
from evenhand.errors import EvenhandError
from evenhand.methods.pluralism.corpus.build_config import BuildConfig
from evenhand.methods.pluralism.corpus.card import (
    checked_counts,
    classification_facts,
    diversity,
    expansion_facts,
    organism_sentences,
)
from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.classify_text import NONE
from evenhand.methods.pluralism.corpus.profiles import PromptSet
from evenhand.methods.pluralism.corpus.quality import spot_sample
from evenhand.methods.pluralism.corpus.split import SPLITS
from evenhand.methods.pluralism.corpus.validation import validation_facts

if TYPE_CHECKING:
    import polars as pl


def build_facts(
    config: BuildConfig,
    found: PromptSet,
    pool: pl.DataFrame,
    attempts: pl.DataFrame,
    real: Sequence[Classified],
    lacking: Mapping[str, int],
    counts: Mapping[str, int],
    *,
    mode: str,
    identities: Mapping[str, Mapping[str, Any]],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Plain values alone, equal for a build that was resumed.

    Raises EvenhandError where counts do not add up, or where a synthetic row lies within the distance of another row.
    """
    import polars as pl

    from evenhand.methods.pluralism.corpus.build_files import synthetic_near_pairs

    final = pool.filter(pl.col("key") == pl.col("keeper"))
    domains = checked_counts(final)
    gone = pool.filter(pl.col("key") != pl.col("keeper"))
    made = int(final["synthetic"].sum())
    near = synthetic_near_pairs(final, config)
    if near:
        raise EvenhandError(f"{near} pairs within the distance {config.distance} hold a synthetic row.")
    accepted = attempts.filter(pl.col("status") == "accepted")["id"].to_list()
    unlabelled = sum(row.status != "ok" for row in real)
    settings = config.model_dump(mode="json", exclude={"concurrency", "data_root", "device", "dtype", "base_url"})
    return {
        "evenhand": __version__,
        "source": {
            "name": Path(config.items).name,
            "origin": Path(found.origin).name,
            "licence": found.licence,
            "checksums": dict(found.checksums),
            "notes": list(found.notes),
        },
        "rows": {
            "read": len(found.joins) + len(found.rejected),
            "rejected": len(found.rejected),
            "texts": len(found.prompts),
            "profiles": len(found.profiles),
            "unlabelled": unlabelled,
            "dropped": int((~gone["synthetic"]).sum()),
            "dropped_synthetic": int(gone["synthetic"].sum()),
            "real": final.height - made,
            "synthetic": made,
            "final": final.height,
        },
        "domains": domains,
        "diversity": {
            "real": diversity(row["real"] for row in domains),
            "all": diversity(row["rows"] for row in domains),
        },
        "classification": classification_facts(real),
        "validation": validation_facts({row.key: row for row in real}, found.known),
        "mode": mode,
        "floor": config.floor_of(sum(counts.values())),
        "expansion": expansion_facts(attempts, lacking, counts, config.floor_of(sum(counts.values()))),
        "none": sum(row["rows"] for row in domains if row["domain"] == NONE),
        "synthetic_near": near,
        "spot_check": len(spot_sample(accepted, config.spot_share, config.seed)),
        "splits": {
            name: {
                "rows": part.height,
                "real": int((~part["synthetic"]).sum()),
                "synthetic": int(part["synthetic"].sum()),
            }
            for name in SPLITS
            for part in [final.filter(pl.col("split") == name)]
        },
        "engines": {role: {k: identities[role][k] for k in ("spec", "weights", "digest")} for role in identities},
        "organism": organism_sentences(config.classifier, config.generator),
        "settings": {**settings, "items": Path(config.items).name},
        "warnings": list(warnings),
    }
