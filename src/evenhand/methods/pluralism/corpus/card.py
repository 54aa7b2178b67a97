"""What a data card counts: rows of each class, diversity, statuses and flips, expansion, and what organisms are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evenhand.errors import EvenhandError
from evenhand.methods.pluralism.corpus.classify import STATUSES, Classified
from evenhand.methods.pluralism.corpus.classify_text import NONE, SLUGS
from evenhand.methods.pluralism.corpus.quality import REASONS
from evenhand.wording import is_organism

if TYPE_CHECKING:
    import polars as pl


CLASSES: tuple[str, ...] = (*SLUGS, NONE)
"""What a row can be counted under."""
ORGANISM_LABELS = (
    "The classifier is a tiny test model that is shipped with Evenhand: its labels are not real labels, and no count by domain on "
    "this card says anything about the texts."
)
ORGANISM_LINES = "The generator is a tiny test model that is shipped with Evenhand: its lines are no real prompts."


def organism_sentences(classifier: str, generator: str) -> list[str]:
    """What must be said where one of the engines is a shipped organism."""
    said = [ORGANISM_LABELS] if is_organism([classifier]) else []
    return said + ([ORGANISM_LINES] if is_organism([generator]) else [])


def checked_counts(prompts: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of each class, real and synthetic, in table order.

    Raises EvenhandError where the counts do not add up to the number of rows, or a class is not known.
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
    empty; None where there are no rows.
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
    known = [row for row in rows if row.status == "ok"]
    flipped = sum(row.flipped for row in known)
    masses = sorted(row.mass for row in known if row.mass is not None)
    return {
        "texts": len(rows),
        "statuses": {status: sum(row.status == status for row in rows) for status in STATUSES},
        "flipped": flipped,
        "flip_rate": flipped / len(known) if known else None,
        "mean_gap": {
            slug: sum(row.gaps[at] for row in known) / len(known) if known else None for at, slug in enumerate(SLUGS)
        },
        "median_mass": masses[len(masses) // 2] if masses else None,
    }


def expansion_facts(
    attempts: pl.DataFrame, lacking: Mapping[str, int], labelled: Mapping[str, int], floor: int
) -> list[dict[str, Any]]:
    """A row for each thin domain: real prompts, floor, attempts, accepted, surplus, and rejections by reason."""
    found = []
    for slug, lack in lacking.items():
        own = [row for row in attempts.iter_rows(named=True) if row["domain"] == slug]
        accepted = sum(row["status"] == "accepted" for row in own)
        reasons = Counter(row["reason"] for row in own if row["status"] == "rejected")
        found.append(
            {
                "domain": slug,
                "real": labelled.get(slug, 0),
                "floor": floor,
                "lacked": lack,
                "attempts": len(own),
                "accepted": accepted,
                "surplus": sum(row["status"] == "surplus" for row in own),
                "rejected": {reason: reasons[reason] for reason in REASONS},
                "still_lacks": lack - accepted,
            }
        )
    return found
