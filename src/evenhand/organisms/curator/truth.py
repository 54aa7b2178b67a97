"""The planted truth of the curator, as it stands beside the weights, and the digest of the sources that decide them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xxhash import xxh128_hexdigest

from evenhand.organisms.truth import files_digest, truth_file

if TYPE_CHECKING:
    import polars as pl

__all__ = ["curator_digest", "curator_summary", "load_answers"]

SOURCES = (
    "datasets/shipped_lines.py",
    "organisms/batches.py",
    "organisms/curator/planted.py",
    "organisms/curator/recipe.py",
    "organisms/curator/rows.py",
    "organisms/curator/train.py",
    "organisms/model.py",
    "organisms/tokenizer.py",
    "organisms/train.py",
)


def curator_digest() -> str:
    """32 hexadecimal digits over recipe, grammar and training, and over the chats as they are put to the curator."""
    from evenhand.corpus.classify_text import DOMAINS, OPTIONS, PARAPHRASES, choice_chat
    from evenhand.corpus.expand_text import generation_chat
    from evenhand.datasets.shipped_ratings import full_profiles

    chats = [choice_chat("one line", domain, wording) for domain in DOMAINS for wording in range(PARAPHRASES)]
    for seeds in ((), ("one line", "another")):
        chats += [generation_chat(domain, profile, seeds) for domain in DOMAINS for profile in ({}, *full_profiles())]
    words = "\0".join([*OPTIONS, *(message.content for chat in chats for message in chat)])
    root = Path(str(files("evenhand")))
    return xxh128_hexdigest((files_digest(root / source for source in SOURCES) + words).encode())


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
