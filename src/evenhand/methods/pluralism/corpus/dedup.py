"""Near-duplicates of short prompts: compute fingerprints, search, verify, keep the first, warn, and write the result.

Published (arXiv 2602.07376): SimHash and the threshold 10. Every other setting is a chosen default. Only the text is compared, and
the scope is the whole file.

What the distance means: for texts with cosine s of their weighted features, bits differ independently with
p = arccos(s) / pi. Of pairs with cosine .95, .90, .85 and .80, the share within 10 of 64 bits is 94, 69, 41 and 21 %; within 3
bits it is 10, 1, 0 and 0 %. So no setting finds all near-duplicates, and short texts need a wide distance with verification.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evenhand import __version__
from evenhand.errors import BadInput
from evenhand.files import write_atomically, write_json
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.hamming import Plan, batch_count, chance_pairs, pair_batches, plan
from evenhand.methods.pluralism.corpus.pairs import Index, Pairs, columns, in_order, near
from evenhand.methods.pluralism.corpus.removal import Similarity, Texts, TextStore, components, first_come
from evenhand.methods.pluralism.corpus.row_file import RowFile
from evenhand.methods.pluralism.corpus.simhash import GRAM, HASHES, NORMALISATION, fingerprints, normalise, speaker_tags
from evenhand.safe_text import csv_safe
from evenhand.wording import count, number

if TYPE_CHECKING:
    from evenhand.runs.respond import Progress

_CHUNK = 8192
MOST_AT_ONCE = 4_000_000
"""Near pairs of one batch of a search; where one has more, rows are compared block by block."""
_TAGGED_SHARE = 0.1
CHANCE_SHARE = 0.01
"""Chance pairs per row above which a warning is due."""


class Chunk(NamedTuple):
    """What is kept of n rows: fingerprints (n, words), numbers of features, digests (n, 2), which texts are shorter than a
    4-gram, which have several speaker tags, and the normalised texts.
    """

    words: NDArray[np.uint64]
    counts: NDArray[np.int64]
    digests: NDArray[np.uint64]
    short: NDArray[np.bool_]
    tagged: NDArray[np.bool_]
    texts: list[bytes]


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one pass over n rows: fingerprints (n, words), numbers of features (n,), digests of the normalised texts
    (n, 2), hashes of the other columns (n,), and how many texts are shorter than a 4-gram or have speaker tags.
    """

    prints: NDArray[np.uint64]
    counts: NDArray[np.int64]
    digests: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    short: int
    tagged: int

    @property
    def rows(self) -> int:
        """Number of rows read."""
        return len(self.prints)


@dataclass(frozen=True, slots=True)
class Dropped:
    """The dropped rows as arrays of equal length, by row.

    ``row`` and ``keeper`` count data rows from 1; ``distance`` is in bits, ``jaccard`` 0 to 1. ``exact`` marks rows whose
    normalised text equals the keeper's.
    """

    row: Index
    keeper: Index
    distance: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    exact: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.row.size


@dataclass(frozen=True, slots=True)
class DedupResult:
    """The result: which of n rows are kept, the dropped ones, rows without features (numbers from 1), and warnings."""

    rows: int
    kept: NDArray[np.bool_]
    dropped: Dropped
    no_features: Index
    different_texts: int
    compared: int
    plan: Plan
    warnings: tuple[str, ...]


def find_duplicates(
    source: RowFile,
    config: DedupConfig,
    *,
    threads: int = 1,
    progress: Progress | None = None,
    planned: Callable[[Plan, int], None] | None = None,
) -> DedupResult:
    """Which rows of a file are near-duplicates of earlier ones.

    Memory grows by some 400 bytes a row, however long the texts are; these are kept in a temporary file. ``planned`` is called with
    the search plan and the number of different texts before the search starts. A text without features (no word character) is
    never a duplicate. The result does not depend on ``threads``.
    Raises BadInput for broken input, with its row.
    """
    if threads < 1:
        raise BadInput(f"Cannot search with {threads} threads.", do="Use 1 or more.")
    report = progress or (lambda what, done, total: None)
    with TextStore() as store:

        def stored(texts: Iterator[list[str]]) -> Iterator[Chunk]:
            for chunk in in_order(lambda raw: measured(raw, config), texts, threads):
                store.extend(chunk.texts)
                yield chunk

        def search(prints: NDArray[np.uint64], how: Plan, _: Index) -> Iterator[Pairs]:
            total = batch_count(prints, config.distance, how)
            batches = pair_batches(prints, config.distance, how, threads=threads, most=MOST_AT_ONCE)
            for done, batch in enumerate(batches, 1):
                yield batch
                report("searching", done, total)

        rest = array("Q")
        seen = gathered(stored(raw_texts(source, rest, report)), rest)
        return decide(seen, config, store, search, {}, planned)


def raw_texts(source: RowFile, rest: array[int], report: Progress) -> Iterator[list[str]]:
    """The texts of a file, some at a time; the hashes of the other columns go to the end of ``rest``."""
    rows = source.rows(lambda done, total: report("reading", done, total))
    while some := list(itertools.islice(rows, _CHUNK)):
        rest.extend([row.rest for row in some])
        yield [row.text for row in some]


def measured(raw: list[str], config: DedupConfig) -> Chunk:
    """Normalise texts and compute what is kept of each."""
    texts = [normalise(text, speakers=not config.strip_speakers) for text in raw]
    prints = fingerprints(
        raw if config.interop else texts, features=config.features, bits=config.bits, interop=config.interop
    )
    encoded = [text.encode() for text in texts]
    digests = b"".join([hashlib.blake2b(text, digest_size=16).digest() for text in encoded])
    return Chunk(
        prints.words,
        prints.counts,
        np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2),
        np.array([len(text) < GRAM for text in texts]) & (prints.counts > 0),
        np.array([speaker_tags(text) > 1 for text in raw]),
        encoded,
    )


def gathered(chunks: Iterable[Chunk], rest: array[int]) -> Seen:
    """The result of one pass over the rows; ``rest`` may grow until the last chunk is read."""
    words, counts, digests, short, tagged = map(list, zip(*(chunk[:5] for chunk in chunks), strict=True))
    return Seen(
        prints=np.concatenate(words),
        counts=np.concatenate(counts),
        digests=np.concatenate(digests),
        rest=np.frombuffer(rest, dtype=np.uint64),
        short=sum(int(part.sum()) for part in short),
        tagged=sum(int(part.sum()) for part in tagged),
    )


def decide(
    seen: Seen,
    config: DedupConfig,
    texts: Texts,
    search: Callable[[NDArray[np.uint64], Plan, Index], Iterator[Pairs]],
    similarities: dict[tuple[int, int], float],
    planned: Callable[[Plan, int], None] | None,
) -> DedupResult:
    """Decide which rows are dropped, given what was read of them and how pairs are searched.

    ``search(prints, plan, rows)`` gives the near pairs of the different texts, by their places in ``rows``, which lists the
    first row (from 0) with each text. ``similarities`` holds Jaccard similarities of such pairs; where a search has not put them
    there, they are computed from ``texts`` when they are needed.
    """
    first, unique = _exact_repeats(seen)
    prints = seen.prints[unique]
    how = plan(prints, config.distance, method=config.method)
    if planned is not None:
        planned(how, unique.size)
    computed = Similarity(texts, unique)
    compared = 0

    def similarity(first: int, second: int) -> float:
        value = similarities.get((first, second))
        return computed(first, second) if value is None else value

    def similar(first: int, second: int) -> bool:
        nonlocal compared
        if config.verify == 0:
            return True
        compared += 1
        value = similarity(first, second)
        if value >= config.verify:
            similarities[first, second] = value
        return value >= config.verify

    remove = first_come if config.keep == "first" else components
    keeper, crowded = remove(search(prints, how, unique), columns(prints), config.distance, similar)
    dropped = _dropped(seen, first, unique, keeper, similarity)
    kept = np.ones(seen.rows, dtype=np.bool_)
    kept[dropped.row - 1] = False
    chance = chance_pairs(unique.size, config.bits, config.distance)
    return DedupResult(
        rows=seen.rows,
        kept=kept,
        dropped=dropped,
        no_features=np.flatnonzero(seen.counts == 0) + 1,
        different_texts=unique.size,
        compared=compared,
        plan=how,
        warnings=warnings_of(config, seen, first, chance=chance, crowded=crowded),
    )


def _exact_repeats(seen: Seen) -> tuple[Index, Index]:
    """For every row the first row with the same normalised text, and the sorted first rows; those without features
    represent themselves and are not searched.
    """
    high, low = seen.digests[:, 0], seen.digests[:, 1]
    order = np.lexsort((low, high))
    new = np.ones(order.size, dtype=np.bool_)
    new[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    first = np.empty(order.size, dtype=np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]  # the sort is stable: the lowest row leads
    blank = seen.counts == 0
    first[blank] = np.flatnonzero(blank)
    return first, np.flatnonzero((first == np.arange(first.size)) & ~blank)


def _dropped(
    seen: Seen, first: Index, unique: Index, keeper: Index, similarity: Callable[[int, int], float]
) -> Dropped:
    """The dropped rows: those whose text, or whose text's first row, was dropped."""
    stays = np.arange(seen.rows)
    stays[unique] = unique[keeper]
    stays = stays[first]
    row = np.flatnonzero(stays != np.arange(seen.rows))
    exact = first[row] == stays[row]
    place = np.searchsorted(unique, first[row])
    target = np.searchsorted(unique, stays[row])
    cols = columns(seen.prints)
    _, distance = near(cols, row, stays[row], 64 * len(cols))
    jaccard = np.ones(row.size)
    similarities: dict[int, float] = {}
    for at in np.flatnonzero(~exact).tolist():
        one = int(place[at])
        if one not in similarities:
            similarities[one] = similarity(int(target[at]), one)
        jaccard[at] = similarities[one]
    return Dropped(row + 1, stays[row] + 1, distance.astype(np.int64), jaccard, exact)


def warnings_of(
    config: DedupConfig, seen: Seen, first: NDArray[np.int64], *, chance: float, crowded: bool
) -> tuple[str, ...]:
    """The warnings, most serious first. ``first`` (n,) is the first row with the same text, ``chance`` the expected number
    of pairs among unrelated texts.
    """
    warnings = []
    if chance > CHANCE_SHARE * seen.rows:
        warnings.append(
            f"About {number(chance)} pairs of unrelated texts lie within {config.distance} of {config.bits} bits by chance, more "
            f"than 1% of {count(seen.rows)} rows. Use 128 bits with distance 20, or a smaller distance, and verify."
        )
    if config.verify == 0:
        warnings.append("Pairs were not verified: texts that only share frequent n-grams may have been dropped.")
    if config.features != "char4":
        warnings.append(
            "Words are few in a short text, and frequent ones pull unrelated texts together: on one public set of 990 dialogues "
            "single words dropped 351 rows at distance 10, character 4-grams 24. Verification makes up for it."
        )
        if seen.tagged > _TAGGED_SHARE * seen.rows and not config.strip_speakers:
            warnings.append(
                f"{count(seen.tagged)} texts have several lines that begin with a speaker's tag, which makes unrelated "
                f"dialogues alike. Leave the tags out with --strip-speakers."
            )
    blank = int((seen.counts == 0).sum())
    if blank:
        warnings.append(
            f"{count(blank)} texts have no word character and therefore no fingerprint. All of them are kept and listed."
        )
    if seen.short:
        warnings.append(
            f"{count(seen.short)} texts are shorter than {GRAM} characters: one edit changes such a fingerprint altogether, "
            "so that only equal ones are found."
        )
    profiles = int(((first != np.arange(seen.rows)) & (seen.rest != seen.rest[first])).sum())
    if profiles:
        warnings.append(
            f"{count(profiles)} dropped rows repeat a text exactly while other columns differ. If these are one prompt under "
            "several profiles, they are no duplicates: join the kept prompts with the profiles through the table of dropped rows."
        )
    if crowded:
        warnings.append(
            "There were too many near pairs to hold, so rows were compared one block after another. The result is the same; "
            "a smaller distance is faster."
        )
    return tuple(warnings)


def check_folder(out: Path) -> None:
    """Raises BadInput if ``out`` is a file or already holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput("The folder is not empty.", file=out, do="Name a new one.")


def summary(source: RowFile, config: DedupConfig, result: DedupResult) -> dict[str, Any]:
    """Settings, input, search and counts, as written to ``dedup.json``; equal for every number of threads."""
    dropped = result.dropped
    return {
        "evenhand": __version__,
        "input": {"file": source.path.name, "checksum": source.checksum(), "text": source.text_column},
        "settings": config.model_dump(),
        "normalisation": NORMALISATION,
        "feature_hash": HASHES["interop" if config.interop else "char4" if config.features == "char4" else "word"],
        "search": result.plan.words(),
        "rows": result.rows,
        "different_texts": result.different_texts,
        "without_features": int(result.no_features.size),
        "kept": int(result.kept.sum()),
        "dropped": len(dropped),
        "dropped_exact": int(dropped.exact.sum()),
        "dropped_near": int((~dropped.exact).sum()),
        "pairs_verified": result.compared,
        "warnings": list(result.warnings),
    }


def write_result(source: RowFile, config: DedupConfig, result: DedupResult, out: Path) -> dict[str, Any]:
    """Write ``kept.*`` (rows as they were, in the input's format), ``dropped.csv``, ``no_features.csv`` and ``dedup.json``.

    ``dropped.csv`` has the columns row, id, kept_row, kept_id, distance (bits), jaccard (0 to 1) and kind (exact or near).
    Returns the content of ``dedup.json``. Raises BadInput if the folder holds something or the input has changed.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    wanted = np.zeros(result.rows + 1, dtype=np.bool_)
    wanted[result.dropped.row] = wanted[result.dropped.keeper] = wanted[result.no_features] = True
    ids: dict[int, str] = {}

    def seen(number: int, name: str) -> None:
        if wanted[number]:
            ids[number] = csv_safe(name)

    source.write_rows(result.kept, out / f"kept{source.kind}", seen)
    dropped = result.dropped
    columns = (dropped.row, dropped.keeper, dropped.distance, dropped.jaccard, dropped.exact)
    write_csv_rows(
        out / "dropped.csv",
        ["row", "id", "kept_row", "kept_id", "distance", "jaccard", "kind"],
        [
            [row, ids[row], keeper, ids[keeper], distance, round(jaccard, 4), "exact" if exact else "near"]
            for row, keeper, distance, jaccard, exact in zip(*(part.tolist() for part in columns), strict=True)
        ],
    )
    write_csv_rows(out / "no_features.csv", ["row", "id"], [[row, ids[row]] for row in result.no_features.tolist()])
    facts = summary(source, config, result)
    write_json(out / "dedup.json", facts)
    return facts


def write_csv_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file in which every text is quoted; cells are written as they are."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())
