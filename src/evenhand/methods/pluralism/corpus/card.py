"""The content of ``card.json``: every count of a built corpus, checked before it is written.

Rows per class, diversity, statuses and flips, expansion, and how the classifier compares with known labels. Those come with the
source: topics given by the experts of DICES (our map to domains), the class in a file, or the grammar of the placeholder prompts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand import __version__
from evenhand.errors import EvenhandError
from evenhand.methods.pluralism.corpus.build_tables import SPLITS, synthetic_near_pairs
from evenhand.methods.pluralism.corpus.classify import STATUSES, Classified
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.profiles import PromptSet
from evenhand.methods.pluralism.corpus.quality import REASONS, spot_sample
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.records import Interval
from evenhand.statistics.intervals import wilson
from evenhand.wording import is_organism

if TYPE_CHECKING:
    import polars as pl

CLASSES: tuple[str, ...] = (*SLUGS, NONE)
"""What a row can be counted under."""
ORGANISM_LABELS = (
    "The classifier is a tiny test model that is shipped with Evenhand: its labels are not real labels, and no count by domain on "
    "this card says anything about the texts."
)
ORGANISM_LINES = "The generator is a tiny test model that is shipped with Evenhand: its lines are not real prompts."
FEW = 30
"""Below this number of rows no claim about a domain is made (chosen default)."""


def build_facts(
    config: BuildConfig,
    source: PromptSet,
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
    """Plain values only, equal for a build that was resumed.

    Raises EvenhandError if counts do not add up, or where a synthetic row lies within the distance of another row.
    """
    import polars as pl

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
            "origin": Path(source.origin).name,
            "licence": source.licence,
            "checksums": dict(source.checksums),
            "notes": list(source.notes),
        },
        "rows": {
            "read": len(source.joins) + len(source.rejected),
            "rejected": len(source.rejected),
            "texts": len(source.prompts),
            "profiles": len(source.profiles),
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
        "validation": validation_facts({row.key: row for row in real}, source.known),
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


def organism_sentences(classifier: str, generator: str) -> list[str]:
    """The notices required if one of the engines is a shipped organism."""
    sentences = [ORGANISM_LABELS] if is_organism([classifier]) else []
    return sentences + ([ORGANISM_LINES] if is_organism([generator]) else [])


def checked_counts(prompts: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of each class, real and synthetic, in table order.

    Raises EvenhandError if the counts do not add up to the number of rows, or for an unknown class.
    """
    pairs = Counter(zip(prompts["domain"].to_list(), prompts["synthetic"].to_list(), strict=True))
    rows: list[dict[str, Any]] = [
        {
            "domain": slug,
            "real": pairs[slug, False],
            "synthetic": pairs[slug, True],
            "rows": pairs[slug, False] + pairs[slug, True],
        }
        for slug in CLASSES
    ]
    total = sum(int(row["rows"]) for row in rows)
    if total != prompts.height:
        other = sorted({str(slug) for slug, _ in pairs} - set(CLASSES))
        raise EvenhandError(
            f"The domains count {total} rows and the corpus has {prompts.height}; classes beyond the table: {other}."
        )
    return rows


def diversity(counts: Iterable[int]) -> dict[str, float | None]:
    """Entropy in nats, its exponential (the effective number of classes), and the largest over the smallest class that is not
    empty; None without rows.
    """
    sizes = [size for size in counts if size > 0]
    total = sum(sizes)
    if not total:
        return {"entropy": None, "effective_classes": None, "largest_to_smallest": None}
    entropy = -sum(size / total * math.log(size / total) for size in sizes) + 0.0
    return {
        "entropy": entropy,
        "effective_classes": math.exp(entropy),
        "largest_to_smallest": max(sizes) / min(sizes),
    }


def classification_facts(rows: Sequence[Classified]) -> dict[str, Any]:
    """Statuses, flips and distances of the two wordings over all real texts."""
    labelled = [row for row in rows if row.status == "ok"]
    flipped = sum(row.flipped for row in labelled)
    masses = sorted(row.mass for row in labelled if row.mass is not None)
    return {
        "texts": len(rows),
        "statuses": {status: sum(row.status == status for row in rows) for status in STATUSES},
        "flipped": flipped,
        "flip_rate": flipped / len(labelled) if labelled else None,
        "mean_gap": {
            slug: sum(row.gaps[at] for row in labelled) / len(labelled) if labelled else None
            for at, slug in enumerate(SLUGS)
        },
        "median_mass": masses[len(masses) // 2] if masses else None,
    }


def expansion_facts(
    attempts: pl.DataFrame, lacking: Mapping[str, int], labelled: Mapping[str, int], floor: int
) -> list[dict[str, Any]]:
    """One row per low-resource domain: real prompts, floor, attempts, accepted, surplus, and rejections by reason."""
    facts = []
    for slug, lack in lacking.items():
        of_domain = [row for row in attempts.iter_rows(named=True) if row["domain"] == slug]
        accepted = sum(row["status"] == "accepted" for row in of_domain)
        reasons = Counter(row["reason"] for row in of_domain if row["status"] == "rejected")
        facts.append(
            {
                "domain": slug,
                "real": labelled.get(slug, 0),
                "floor": floor,
                "lacked": lack,
                "attempts": len(of_domain),
                "accepted": accepted,
                "surplus": sum(row["status"] == "surplus" for row in of_domain),
                "rejected": {reason: reasons[reason] for reason in REASONS},
                "still_lacks": lack - accepted,
            }
        )
    return facts


def validation_facts(
    rows: Mapping[str, Classified], named_classes: Mapping[str, frozenset[str]]
) -> dict[str, Any] | None:
    """Precision and recall of the single label by domain; None if no label of a classified text is known.

    ``named_classes`` is text id to the classes that the source names, slugs or "none"; a text may have several, and a label is
    right if it is one of them. Shares have Wilson's interval over texts and are None without texts.
    """
    seen = {key: row for key, row in rows.items() if row.status == "ok" and key in named_classes}
    if not seen:
        return None
    domains = []
    for slug in (*SLUGS, NONE):
        given = [key for key, row in seen.items() if row.label == slug]
        real = [key for key in seen if slug in named_classes[key]]
        hits = sum(slug in named_classes[key] for key in given)
        domains.append(
            {
                "domain": slug,
                "labelled": len(given),
                "known": len(real),
                "right": hits,
                "precision": _share(hits, len(given)),
                "recall": _share(hits, len(real)),
            }
        )
    right = sum(row.label in named_classes[key] for key, row in seen.items())
    return {"texts": len(seen), "right": right, "accuracy": _share(right, len(seen)), "domains": domains}


def _share(count: int, n: int) -> dict[str, Any] | None:
    interval: Interval | None = wilson(count, n) if n else None
    return (
        None
        if interval is None
        else {"value": count / n, "low": interval.low, "high": interval.high, "claimed": n >= FEW}
    )
