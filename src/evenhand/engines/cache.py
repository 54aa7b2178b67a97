"""The request cache: responses in SQLite, keyed by the full identity of model and request."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xxhash import xxh64_digest, xxh128_digest

from evenhand.engines.base import (
    Batch,
    Choice,
    Engine,
    Estimate,
    Identity,
    Question,
    Request,
    Sampling,
    ScoreBatch,
    Span,
    Verb,
)
from evenhand.errors import BadInput
from evenhand.records import LogProb, Response, mended_counts
from evenhand.redact import holds, redact_values

_LOG = logging.getLogger(__name__)
_APPLICATION, _VERSION = 0x45564E48, 2
_TABLE = """CREATE TABLE IF NOT EXISTS responses (
    key BLOB PRIMARY KEY, identity TEXT NOT NULL, item_id TEXT NOT NULL, repetition INTEGER NOT NULL,
    response TEXT NOT NULL, stored REAL NOT NULL, checksum BLOB) WITHOUT ROWID"""
_FROM_VERSION_1 = (
    "ALTER TABLE responses ADD COLUMN checksum BLOB",
    "UPDATE responses SET checksum = nullif(row_sum(key, CAST(response AS BLOB)), x'')",
)
"""Version 1 had no checksums. Its rows get one as they are: damage from before the upgrade cannot be seen any more."""
_PUT = """INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    identity = excluded.identity, item_id = excluded.item_id, repetition = excluded.repetition,
    response = excluded.response, stored = excluded.stored, checksum = excluded.checksum
    WHERE responses.checksum IS NOT row_sum(responses.key, CAST(responses.response AS BLOB))"""
"""The first response stored for a key stays, unless it is damaged."""
_WAIT_SECONDS = 60.0
_LOOKUP = 500


_reported: set[Path] = set()
"""Files whose damage was reported: each engine of a run opens the cache for itself."""


def _row_sum(key: Any, response: Any) -> bytes:
    """The checksum of a row, of its key and of what it gives back; empty where damage has made either no bytes at all."""
    return xxh64_digest(key + response) if isinstance(key, bytes) and isinstance(response, bytes) else b""


class RequestCache:
    """A file of responses. Several processes may use it at a time; the first response stored for a key stays.

    Every row has a checksum of its key and response. A row that fails it counts as missing: it is asked for again and then
    replaced. ``damaged`` holds the keys of those rows.
    """

    def __init__(self, path: Path):
        self.path = path
        self.damaged: set[bytes] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._database.create_function("row_sum", 2, _row_sum, deterministic=True)
            self._open()
        except sqlite3.Error as error:
            self._database.close()
            raise self._unusable(error) from error
        except BaseException:
            self._database.close()
            raise

    def _open(self) -> None:
        run = self._database.execute
        run("BEGIN IMMEDIATE")  # another process that starts now must see all of this or nothing
        try:
            (application,) = run("PRAGMA application_id").fetchone()
            (version,) = run("PRAGMA user_version").fetchone()
            (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                run(f"PRAGMA application_id={_APPLICATION}")
                run(f"PRAGMA user_version={_VERSION}")
                run(_TABLE)
            elif (application, version) == (_APPLICATION, 1):
                for statement in _FROM_VERSION_1:
                    run(statement)
                run(f"PRAGMA user_version={_VERSION}")
            elif (application, version) != (_APPLICATION, _VERSION):
                raise BadInput(
                    "This is a database of another program or of another version of Evenhand.",
                    file=self.path,
                    do="Choose another cache file, or move this one away.",
                )
        except BaseException:
            self._database.rollback()
            raise
        run("COMMIT")
        self._keep_a_log()
        run("PRAGMA synchronous=NORMAL")

    def _keep_a_log(self) -> None:
        """Turn the write-ahead log on. SQLite does not wait for this lock as it does for others, so we do."""
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def _unusable(self, error: Exception) -> BadInput:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return BadInput(
                "The disk is full: the request cache takes no more rows. What it holds is kept.",
                file=self.path,
                do="Free some space, then continue with --resume.",
            )
        return BadInput(
            f"The request cache cannot be used ({error}).",
            file=self.path,
            do="It is never deleted for you: move or delete it (with its -wal and -shm files) to start a fresh one, "
            "or run without a cache.",
        )

    def get(self, keys: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
        """The stored responses among ``keys``; damaged ones are left out and reported once."""
        found: dict[bytes, dict[str, Any]] = {}
        damaged = set[bytes]()
        try:
            for low in range(0, len(keys), _LOOKUP):
                part = keys[low : low + _LOOKUP]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, CAST(response AS BLOB), checksum FROM responses WHERE key IN ({marks})"  # noqa: S608  (marks only)
                for key, response, checksum in self._database.execute(query, part):
                    if checksum and checksum == _row_sum(key, response):
                        row = mended_counts(json.loads(response))
                        found[key] = redact_values(row) if holds(response.decode("utf-8", "replace")) else row
                    else:
                        damaged.add(key)
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from error
        if damaged - self.damaged:
            self.damaged |= damaged
            if self.path not in _reported:
                _reported.add(self.path)
                _LOG.warning(
                    "%s: %d rows of the request cache do not match their checksums. These and any further damaged rows are "
                    "asked for again and replaced.",
                    self.path, len(damaged),
                )  # fmt: skip
        return found

    def put(self, identity: str, rows: Iterable[tuple[bytes, Response | LogProb]]) -> None:
        """Store responses and scores in one transaction; failed rows are left out."""
        now = time.time()
        values = []
        for key, row in rows:
            if isinstance(row, LogProb):
                kept, item, repetition = not row.error, row.span, 0
            else:
                kept, item, repetition = row.finish_reason != "error", row.item_id, row.repetition
            if kept:
                stored = {name: value for name, value in asdict(row).items() if name not in ("config", "span")}
                named = item.encode("utf-8", "backslashreplace").decode()
                text = json.dumps(stored)
                if holds(text):
                    text = json.dumps(redact_values(stored))
                values.append((key, identity, named, repetition, text, now, _row_sum(key, text.encode("ascii"))))
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(_PUT, values)
            except BaseException:
                self._database.rollback()  # SQLite itself may have done so, where the disk is full
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class CachedEngine:
    """An engine with a request cache before it.

    An endpoint's responses are looked up one by one. A local engine's are looked up by batch (the key holds the
    batch's), and a batch with any row missing is computed anew: so a run gives the same bytes whatever the cache held.
    """

    def __init__(self, engine: Engine, path: Path):
        self.engine, self.path = engine, path
        self.spec = engine.spec
        self.by_batch = getattr(engine, "cache_unit", "request") == "batch"
        self.cache = RequestCache(path)

    @property
    def verbs(self) -> frozenset[Verb]:
        """What the engine can do, as far as it is known."""
        return self.engine.verbs

    def __getattr__(self, name: str) -> Any:
        """What only some engines offer (``probe``, ``why_not``, ``echo``) is the engine's own."""
        if name in ("engine", "cache"):  # not there while the object is being made
            raise AttributeError(name)
        return getattr(self.engine, name)

    def without_adapter(self, spec: str) -> CachedEngine:
        """The engine's base model in the same weights (see `LocalEngine.without_adapter`), with this cache before it."""
        bare: Engine = self.__getattr__("without_adapter")(spec)
        return CachedEngine(bare, self.path)

    def identity(self) -> Identity:
        """The engine's identity."""
        return self.engine.identity()

    def observed(self) -> dict[str, Any]:
        """What the engine noted while it worked (see `HttpEngine.observed`), and how many cached rows were damaged."""
        noted = getattr(self.engine, "observed", None)
        damaged = {"damaged_cache_rows": len(self.cache.damaged)} if self.cache.damaged else {}
        return {**(noted() if noted else {}), **damaged}

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """The engine's plan; the cache has no part in it."""
        return self.engine.plan(requests, sampling)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """What is left to do after the cache."""
        missing: list[Request] = []
        for batch in self.plan(requests, sampling):
            keys, found = self._lookup(batch, sampling)
            if not (self.by_batch and len(found) == len(keys)):
                missing.extend(
                    request
                    for request, key in zip(batch.requests, keys, strict=True)
                    if self.by_batch or key not in found
                )
        return self.engine.estimate(missing, sampling)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Yield the batches that the cache holds, then the others as the engine completes them."""
        wanted: dict[str, tuple[Batch, list[bytes], dict[int, Response]]] = {}
        for batch in batches:
            keys, found = self._lookup(batch, sampling)
            held = {i: Response(config=config, **found[key]) for i, key in enumerate(keys) if key in found}
            if len(held) == len(keys):
                yield batch, [held[i] for i in range(len(keys))]
            else:
                wanted[batch.key] = (batch, keys, {} if self.by_batch else held)
        if not wanted:
            return
        parts = [
            batch if not held else Batch(key, tuple(r for i, r in enumerate(batch.requests) if i not in held))
            for key, (batch, _, held) in wanted.items()
        ]
        identity = self.identity().digest
        for part, responses in self.engine.generate(parts, sampling, config=config):
            batch, keys, held = wanted[part.key]
            gaps = [i for i in range(len(keys)) if i not in held]
            new = dict(zip(gaps, responses, strict=True))
            if not (self.by_batch and any(r.finish_reason == "error" for r in responses)):
                self.cache.put(identity, [(keys[i], response) for i, response in new.items()])
            yield batch, [held[i] if i in held else new[i] for i in range(len(keys))]

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """The engine's plan; the cache has no part in it."""
        return self.engine.plan_scores(spans)

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """Yield the batches that the cache holds whole, then the others as the engine completes them."""
        identity = self.identity().digest
        wanted: dict[str, list[bytes]] = {}
        missing = []
        for batch in batches:
            keys = [self._span_key(identity, span, batch.key if self.by_batch else "") for span in batch.spans]
            found = self.cache.get(keys)
            if len(found) == len(set(keys)):
                yield batch, [_log_prob(span, found[key]) for span, key in zip(batch.spans, keys, strict=True)]
            else:
                wanted[batch.key] = keys
                missing.append(batch)
        for batch, rows in self.engine.score(missing) if missing else ():
            if not (self.by_batch and any(row.error for row in rows)):
                self.cache.put(identity, zip(wanted[batch.key], rows, strict=True))
            yield batch, rows

    def unscored(self, spans: Sequence[Span]) -> list[Span]:
        """The spans of the batches of the plan that the cache does not hold whole."""
        identity = self.identity().digest
        left: list[Span] = []
        for batch in self.plan_scores(spans):
            keys = [self._span_key(identity, span, batch.key if self.by_batch else "") for span in batch.spans]
            if len(self.cache.get(keys)) < len(set(keys)):
                left += batch.spans
        return left

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """The engine's choices; they are not kept."""
        return self.engine.choose(questions)

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        """The engine's border between context and texts."""
        return self.engine.fit(context, texts)

    @staticmethod
    def _span_key(identity: str, span: Span, batch: str) -> bytes:
        chat = [[message.role, message.content] for message in span.chat]
        named = span.key if batch else ""
        return xxh128_digest(
            json.dumps([identity, "score", batch, named, span.context, chat, span.text, span.end]).encode()
        )

    def _lookup(self, batch: Batch, sampling: Sampling) -> tuple[list[bytes], dict[bytes, dict[str, Any]]]:
        common = [self.identity().digest, sampling.model_dump(mode="json"), batch.key if self.by_batch else ""]
        keys = [
            xxh128_digest(
                json.dumps(
                    [
                        common,
                        r.item_id,
                        r.repetition,
                        [[m.role, m.content] for m in r.chat],
                        *([True] if r.plain else []),
                    ],
                    sort_keys=True,
                ).encode()
            )
            for r in batch.requests
        ]
        return keys, self.cache.get(keys)

    def close(self) -> None:
        """Close the cache and the engine."""
        self.cache.close()
        self.engine.close()


def _log_prob(span: Span, stored: dict[str, Any]) -> LogProb:
    offsets = tuple((first, last) for first, last in stored["offsets"])
    return LogProb(
        span.key, stored["total"], tuple(stored["tokens"]), tuple(stored["values"]), offsets, stored["context_tokens"]
    )
