"""Near-duplicates by the machines of a Ray cluster, through Ray Data; the files are those of one machine, byte for byte.

This machine reads the file, holds some 100 bytes a row and 250 a near pair, and decides which rows go. The others normalise
and fingerprint blocks of texts, which stay in the cluster's memory (and spill to its disks); then each takes some batches
of the exact search, computes the Jaccard similarity of the pairs that it finds, and draws the texts that this needs from
the others. Every batch of the search is worked exactly once, so no pair is missed, whatever the number of machines; each
of them must hold the fingerprints, some 100 bytes a text while they are searched, and have the same Evenhand installed.
A worker that dies is replaced, and its share done again. Needs evenhand[scale].
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.dedup import (
    MOST_AT_ONCE,
    Chunk,
    DedupResult,
    decide,
    gathered,
    measured,
    raw_texts,
)
from evenhand.methods.pluralism.corpus.hamming import Plan, batch_count, pair_batches
from evenhand.methods.pluralism.corpus.pairs import Crowded, Index, Pairs
from evenhand.methods.pluralism.corpus.removal import Similarity
from evenhand.methods.pluralism.corpus.row_file import RowFile

if TYPE_CHECKING:
    from evenhand.runs.respond import Progress

_HELD = 4
_SHARES = 8


def find_duplicates_on_ray(
    source: RowFile,
    config: DedupConfig,
    *,
    address: str = "local",
    threads: int | None = None,
    progress: Progress | None = None,
    planned: Callable[[Plan, int], None] | None = None,
) -> DedupResult:
    """As ``evenhand.methods.pluralism.corpus.dedup.find_duplicates``, with the same result, by the workers of a Ray cluster.

    ``address`` is ``local`` (workers on this machine, ``threads`` of them), ``auto`` (the cluster that this machine belongs
    to) or HOST:PORT. A Ray that is already connected is used as it is.
    Raises BadInput for broken input, with its row, where Ray is not installed, and where no cluster answers.
    """
    report = progress or (lambda what, done, total: None)
    with _cluster(address, threads) as ray:
        rest = array("Q")
        raw = [ray.put(_table(text=texts)) for texts in raw_texts(source, rest, report)]
        rows = ray.data.from_arrow_refs(raw).map_batches(
            _measured, batch_format="pyarrow", batch_size=None, fn_kwargs={"config": config}
        )
        rows = rows.materialize()
        raw.clear()
        blocks = rows.to_arrow_refs()
        heights = ray.get([ray.remote(_height).remote(block) for block in blocks])
        numbers = rows.drop_columns(["text"]).iter_batches(batch_size=None, batch_format="numpy")
        seen = gathered(map(_chunk, numbers), rest)
        place = (blocks, np.cumsum([0, *heights]))
        known: dict[tuple[int, int], float] = {}

        def search(prints: NDArray[np.uint64], how: Plan, unique: Index) -> Iterator[Pairs]:
            total = batch_count(prints, config.distance, how)
            step = max(1, total // (_SHARES * int(ray.cluster_resources()["CPU"])))
            spans = ray.data.from_items(
                [{"start": at, "stop": min(at + step, total)} for at in range(0, total, step)],
                override_num_blocks=-(-total // step),
            )
            shared = ray.put((prints, unique, place))
            found = spans.map_batches(
                _search,
                batch_size=1,
                fn_kwargs={"shared": [shared], "distance": config.distance, "how": how, "most": MOST_AT_ONCE},
            )
            with _unwrapped():
                for done, part in enumerate(found.iter_batches(batch_size=None, batch_format="numpy"), 1):
                    pairs = zip(part["first"].tolist(), part["second"].tolist(), strict=True)
                    known.update(zip(pairs, part["jaccard"].tolist(), strict=True))
                    yield Pairs(part["first"], part["second"], part["distance"])
                    report("searching", done, -(-total // step))

        return decide(seen, config, _Texts(*place), search, known, planned)


@contextmanager
def _cluster(address: str, threads: int | None) -> Iterator[Any]:
    """Ray, connected, with the order of the rows kept; only what was begun here is ended here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        do = "Install it: pip install 'evenhand[scale]'."
        raise BadInput(f"A search on Ray needs {error.name}, which is not here.", do=do) from None
    began = not ray.is_initialized()
    if began:
        workers: dict[str, Any] = {"num_cpus": threads, "include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **workers)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BadInput(f"No Ray cluster answers at '{address}': {error}") from None
    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.execution_options.preserve_order, context.enable_progress_bars, log.level
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    log.setLevel(logging.CRITICAL)  # errors come back as such
    try:
        yield ray
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before[:2]
        log.setLevel(before[2])
        if began:
            ray.shutdown()


@contextmanager
def _unwrapped() -> Iterator[None]:
    """A worker's signal of too many pairs without Ray's wrapping, so that the removal hears of it."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, Crowded):
                raise Crowded from None
            cause = getattr(cause, "cause", None) or cause.__cause__
        raise


class _Texts:
    """Normalised texts by row, in blocks of the cluster's memory, of which a few are held."""

    def __init__(self, blocks: list[Any], ends: Index) -> None:
        self._blocks, self._ends = blocks, ends
        self._held: dict[int, Any] = {}

    def block(self, row: Any) -> Any:
        """Where rows lie."""
        return np.searchsorted(self._ends, row, side="right") - 1

    def __getitem__(self, row: int) -> str:
        import ray

        block = int(self.block(row))
        if block not in self._held:
            if len(self._held) == _HELD:
                del self._held[next(iter(self._held))]
            self._held[block] = ray.get(self._blocks[block])["text"]
        text: bytes = self._held[block][row - int(self._ends[block])].as_py()
        return text.decode()


def _table(**columns: Any) -> Any:
    import pyarrow as pa

    return pa.table(columns)


def _height(table: Any) -> int:
    height: int = table.num_rows
    return height


def _measured(batch: Any, config: DedupConfig) -> Any:
    """A worker's part: a block of texts to what is kept of them, and the normalised texts."""
    chunk = measured(batch["text"].to_pylist(), config)
    halves = {f"digest{at}": chunk.digests[:, at] for at in range(2)}
    words = {f"word{at}": chunk.words[:, at] for at in range(chunk.words.shape[1])}
    return _table(text=chunk.texts, counts=chunk.counts, short=chunk.short, tagged=chunk.tagged, **halves, **words)


def _chunk(part: dict[str, Any]) -> Chunk:
    """The numbers of ``_measured``; the texts stay where they are."""
    words, digests = (
        np.stack([part[name] for name in sorted(part) if name.startswith(kind)], axis=1) for kind in ("word", "digest")
    )
    return Chunk(words, part["counts"], digests, part["short"], part["tagged"], [])


def _search(spans: dict[str, Any], shared: list[Any], distance: int, how: Plan, most: int) -> Iterator[dict[str, Any]]:
    """A worker's part: some batches of the search, with the similarity of every pair."""
    import ray

    prints, unique, place = ray.get(shared[0])
    texts = _Texts(*place)
    similarity = Similarity(texts, unique)
    for start, stop in zip(spans["start"].tolist(), spans["stop"].tolist(), strict=True):
        for pairs in pair_batches(prints, distance, how, most=most, span=range(start, stop)):
            jaccard = np.empty(len(pairs))
            ordered = np.lexsort((texts.block(unique[pairs.second]), texts.block(unique[pairs.first])))
            for at in ordered.tolist():
                jaccard[at] = similarity(int(pairs.first[at]), int(pairs.second[at]))
            yield {"first": pairs.first, "second": pairs.second, "distance": pairs.distance, "jaccard": jaccard}
