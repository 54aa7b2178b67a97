"""A classifier of domains beside labels that are known: precision and recall by domain (spec pluralism, 7.7).

What is known comes with the source: the topics of the experts of DICES (their map to domains is ours), the class of a file, or
the grammar of placeholder prompts. Texts without a known label take no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.classify_text import NONE, SLUGS
from evenhand.records import Interval
from evenhand.statistics.intervals import wilson

FEW = 30
"""Rows below which nothing should be claimed of a domain (spec pluralism, 7.8)."""


def validation_facts(rows: Mapping[str, Classified], known: Mapping[str, frozenset[str]]) -> dict[str, Any] | None:
    """Precision and recall of the single label by domain; None where no label of a classified text is known.

    ``known`` is text id to the classes that are known of it, slugs or "none"; a text may have several, and a label is right if it
    is one of them. Shares have Wilson's interval over texts and are None without texts.
    """
    seen = {key: row for key, row in rows.items() if row.status == "ok" and key in known}
    if not seen:
        return None
    domains = []
    for slug in (*SLUGS, NONE):
        given = [key for key, row in seen.items() if row.label == slug]
        real = [key for key in seen if slug in known[key]]
        hits = sum(slug in known[key] for key in given)
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
    right = sum(row.label in known[key] for key, row in seen.items())
    return {"texts": len(seen), "right": right, "accuracy": _share(right, len(seen)), "domains": domains}


def _share(count: int, n: int) -> dict[str, Any] | None:
    found: Interval | None = wilson(count, n) if n else None
    return None if found is None else {"value": count / n, "low": found.low, "high": found.high, "claimed": n >= FEW}
