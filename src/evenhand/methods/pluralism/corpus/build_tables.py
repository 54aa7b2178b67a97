"""The tables of a built corpus: all labelled texts, the prompts that are kept, their splits, and the rows that join profiles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh128_hexdigest

from evenhand.errors import BadInput
from evenhand.files import write_atomically
from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.config import BuildConfig, DedupConfig
from evenhand.methods.pluralism.corpus.dedup import DedupResult, find_duplicates, write_csv_rows
from evenhand.methods.pluralism.corpus.hamming import pair_batches, plan
from evenhand.methods.pluralism.corpus.row_file import RowFile
from evenhand.methods.pluralism.corpus.simhash import fingerprints, normalise
from evenhand.methods.pluralism.corpus.wording import SLUGS
from evenhand.safe_text import csv_safe, json_safe

if TYPE_CHECKING:
    from evenhand.methods.pluralism.corpus.profiles import PromptSet

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Pool:
    """What a removal of near-duplicates left of some texts, in order: key to the key of its keeper (itself where it stays),
    key to the name of its group (the first row of its chain of near pairs), and the removal itself.
    """

    keeper: Mapping[str, str]
    group: Mapping[str, str]
    result: DedupResult


def dedup_settings(config: BuildConfig, *, chains: bool = False) -> DedupConfig:
    """The settings of the removal; ``chains`` joins all rows of a chain of near pairs."""
    return DedupConfig(
        bits=config.bits, distance=config.distance, features=config.features, verify=config.verify,
        keep="components" if chains else "first", columns={"text": "text", "id": "id"},
    )  # fmt: skip


def search(texts: Mapping[str, str], config: BuildConfig, path: Path, progress: Any, *, groups: bool = True) -> Pool:
    """Near-duplicates among ``texts`` (key to text), the first in order stays; ``path`` is a file that the search may write.

    Texts are written unchanged, one per line.
    """
    lines = "".join(json.dumps({"id": key, "text": json_safe(text)}) + "\n" for key, text in texts.items())
    write_atomically(path, lines.encode("ascii"))
    source = RowFile(path, {"text": "text", "id": "id"})
    keys = list(texts)
    result = find_duplicates(source, dedup_settings(config), progress=progress)
    keeper = dict(zip(keys, keys, strict=True))
    for row, kept in zip(result.dropped.row.tolist(), result.dropped.keeper.tolist(), strict=True):
        keeper[keys[row - 1]] = keys[kept - 1]
    group = dict(keeper)
    if groups:
        chains = find_duplicates(source, dedup_settings(config, chains=True), progress=progress)
        group = dict(zip(keys, keys, strict=True))
        for row, first in zip(chains.dropped.row.tolist(), chains.dropped.keeper.tolist(), strict=True):
            group[keys[row - 1]] = keys[first - 1]
    return Pool(keeper, group, result)


def _hex(words: NDArray[np.uint64]) -> list[str]:
    return ["".join(f"{word:016x}" for word in reversed(row)) for row in words.tolist()]


def pool_frame(
    texts: Mapping[str, str],
    verdicts: Mapping[str, Classified],
    targets: Mapping[str, str],
    pool: Pool,
    splits: Mapping[str, str],
    config: BuildConfig,
) -> pl.DataFrame:
    """Every labelled text, real ones first: what a sweep over thresholds needs.

    key, text, synthetic, domain (the target of a synthetic row, else the label), keeper, group, split, top, flipped, features
    (0: no fingerprint), fingerprint (hexadecimal), and ``p.SLUG``.
    """
    keys = list(texts)
    prints = fingerprints([normalise(text) for text in texts.values()], features=config.features, bits=config.bits)
    data: dict[str, Any] = {
        "key": keys,
        "text": [json_safe(text) for text in texts.values()],
        "synthetic": [key in targets for key in keys],
        "domain": [targets.get(key) or verdicts[key].label for key in keys],
        "keeper": [pool.keeper[key] for key in keys],
        "group": [pool.group[key] for key in keys],
        "split": [splits[key] for key in keys],
        "top": [verdicts[key].top for key in keys],
        "flipped": [verdicts[key].flipped for key in keys],
        "features": prints.counts,
        "fingerprint": _hex(prints.words),
    }
    for at, slug in enumerate(SLUGS):
        data[f"p.{slug}"] = [verdicts[key].values[at] for key in keys]
    return pl.DataFrame(data)


def prompts_frame(pool: pl.DataFrame, attempts: pl.DataFrame, joins: pl.DataFrame) -> pl.DataFrame:
    """The corpus: the texts that stay, with how many source rows lead to each, and where a synthetic one comes from."""
    keepers = dict(zip(pool["key"].to_list(), pool["keeper"].to_list(), strict=True))
    rows = joins.select(pl.col("prompt_id").replace_strict(keepers, default=None).alias("key")).drop_nulls()
    counts = rows.group_by("key").len("rows").with_columns(pl.col("rows").cast(pl.Int64))
    made = attempts.filter(pl.col("status") == "accepted").select(
        pl.col("id").alias("key"), "number", "seed", "seed_ids", "profile_id", "model"
    )
    kept = pool.filter(pl.col("key") == pl.col("keeper")).drop("keeper")
    table = kept.join(counts, on="key", how="left", maintain_order="left")
    table = table.join(made, on="key", how="left", maintain_order="left").with_columns(pl.col("rows").fill_null(0))
    first = ["key", "text", "domain", "synthetic", "split", "rows", "top", "flipped"]
    return table.select(*first, *(name for name in table.columns if name not in first)).rename({"key": "prompt_id"})


def rows_frame(source: PromptSet, pool: pl.DataFrame) -> pl.DataFrame:
    """row, item_id, prompt_id (of its own text), kept_id (of the prompt that is kept for it), profile_id, domain, split.

    The last ones are empty for a text without a label.
    """
    kept = {row["key"]: row for row in pool.iter_rows(named=True)}
    joins = source.joins_frame()
    row_prompts = joins["prompt_id"].to_list()
    ends = [kept.get(kept[key]["keeper"]) if key in kept else None for key in row_prompts]
    return joins.select("row", "item_id", "prompt_id", "profile_id").with_columns(
        pl.Series("kept_id", [row["key"] if row else "" for row in ends], dtype=pl.String),
        pl.Series("domain", [row["domain"] if row else "" for row in ends], dtype=pl.String),
        pl.Series("split", [row["split"] if row else "" for row in ends], dtype=pl.String),
    )


def review_frame(texts: Mapping[str, str], verdicts: Mapping[str, Classified]) -> pl.DataFrame:
    """Texts for a person to review: the wordings gave different labels, or there is no label."""
    rows = [row for row in verdicts.values() if row.flipped or row.status != "ok"]
    data = {
        "prompt_id": [row.key for row in rows],
        "why": ["the label flips" if row.flipped else row.status for row in rows],
        "label": [row.label for row in rows],
        "label_1": [row.labels[0] for row in rows],
        "label_2": [row.labels[1] for row in rows],
        "largest_gap": [max(row.gaps) if row.gaps else None for row in rows],
        "text": [json_safe(texts[row.key]) for row in rows],
        "error": [json_safe(row.error) for row in rows],
    }
    schema = {name: pl.Float64 if name == "largest_gap" else pl.String for name in data}
    return pl.DataFrame(data, schema=schema)


def synthetic_near_pairs(prompts: pl.DataFrame, config: BuildConfig) -> int:
    """Pairs of kept rows within the distance of which one is synthetic: counted anew, from the texts."""
    prints = fingerprints([normalise(text) for text in prompts["text"]], features=config.features, bits=config.bits)
    with_features = np.flatnonzero(prints.counts > 0)
    made = prompts["synthetic"].to_numpy()[with_features]
    words = prints.words[with_features]
    if with_features.size < 2 or not made.any():
        return 0
    batches = pair_batches(words, config.distance, plan(words, config.distance))
    return sum(int((made[batch.first] | made[batch.second]).sum()) for batch in batches)


def write_csv(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame as CSV; cells that a spreadsheet would run as formulas are defused."""
    rows = ([csv_safe(cell) if isinstance(cell, str) else cell for cell in row] for row in frame.iter_rows())
    write_csv_rows(path, frame.columns, rows)


def split_by_group(
    groups: Mapping[str, str],
    strata: Mapping[str, str],
    shares: Sequence[float],
    *,
    seed: int,
    train_only: frozenset[str] = frozenset(),
) -> dict[str, str]:
    """The split of each row.

    ``groups`` is row to the name of its group: rows of a group stay together, since they say nearly the same. ``strata`` is row
    to its domain: a group belongs to that of its first row, and every domain is divided alike. ``shares`` are those of
    train, val and test. Rows of ``train_only`` put their whole group into train. The order of groups within a domain is
    that of a seeded hash, so that it depends only on names and seed.
    Raises BadInput for shares that do not sum to 1.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise BadInput(
            f"The shares {tuple(shares)} do not divide the whole.",
            do="Give shares of train, val and test that sum to 1.",
        )
    split_of: dict[str, str] = {}
    stratum: dict[str, str] = {}
    for row, group in groups.items():
        stratum.setdefault(group, strata[row])
        if row in train_only:
            split_of[group] = SPLITS[0]
    members: dict[str, list[str]] = {}
    for group, name in stratum.items():
        if group not in split_of:
            members.setdefault(name, []).append(group)
    for name in members:
        order = sorted(members[name], key=lambda group: (xxh128_hexdigest(f"{seed}\0{group}".encode()), group))
        for at, group in enumerate(order):
            place = (at + 0.5) / len(order)
            split_of[group] = SPLITS[0 if place < shares[0] else 1 if place < shares[0] + shares[1] else 2]
    return {row: split_of[group] for row, group in groups.items()}
