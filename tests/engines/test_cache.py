"""The request cache as a file."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling
from evenhand.engines.cache import CachedEngine, RequestCache
from evenhand.engines.planning import blocks
from evenhand.errors import BadInput
from evenhand.records import Response


class Counting:
    """An engine that answers with a number that grows, and fails the items it is told to."""

    spec, verbs = "count/1", frozenset({"generate"})

    def __init__(self, unit: str, weights: str = "w", failing: Sequence[str] = ()):
        self.cache_unit, self.weights, self.failing, self.calls = unit, weights, failing, 0

    def identity(self) -> Identity:
        return Identity(self.spec, self.weights)

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        return blocks(requests, 4)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        return Estimate(len(requests), 0, 0, exact=True)

    def generate(self, batches: Sequence[Batch], sampling: Sampling, *, config: str) -> Iterator[Any]:
        for batch in reversed(batches):
            rows = []
            for r in batch.requests:
                self.calls += 1
                if r.item_id in self.failing:
                    rows.append(Response(config, r.item_id, r.repetition, "", "error", error="broken"))
                else:
                    rows.append(
                        Response(config, r.item_id, r.repetition, f"{self.calls} \ud800", "stop", "why", "", 1, 2)
                    )
            yield batch, rows

    def close(self) -> None:
        pass


SAMPLING = Sampling(seed=1)


@pytest.mark.parametrize("unit", ["request", "batch"])
def test_replay_and_what_is_asked_again(tiny: SimpleNamespace, tmp_path: Path, unit: str) -> None:
    requests = tiny.ask(*"abcdefghij")
    inner = Counting(unit, failing=["item-9"])
    engine = CachedEngine(inner, tmp_path / "deep" / "c.sqlite")
    first = tiny.run(engine, requests, SAMPLING)
    assert inner.calls == 10
    again = 1 if unit == "request" else 2  # item-9 shares its batch with item-8
    assert engine.estimate(requests, SAMPLING).calls == again
    second = tiny.run(engine, requests, SAMPLING, config="other")
    assert inner.calls == 10 + again
    assert {row.config for row in second.values()} == {"other"}
    kept = [key for key in first if key[0] not in ("item-8", "item-9")]
    assert all(second[key].text == first[key].text for key in kept)
    assert second["item-9", 0].error == "broken"
    calls = inner.calls
    tiny.run(engine, tiny.ask(*"abcdef"), SAMPLING)  # the second block now holds other rows
    assert inner.calls - calls == (0 if unit == "request" else 2)
    engine.close()


@pytest.mark.parametrize(
    "other", [Counting("request", weights="v"), SAMPLING.model_copy(update={"top_p": 0.5}), "system prompt"]
)
def test_nothing_is_shared_across_models_settings_or_chats(tiny: SimpleNamespace, tmp_path: Path, other: Any) -> None:
    path = tmp_path / "c.sqlite"
    tiny.run(CachedEngine(Counting("request"), path), tiny.ask("a"), SAMPLING)
    inner = other if isinstance(other, Counting) else Counting("request")
    sampling = other if isinstance(other, Sampling) else SAMPLING
    tiny.run(CachedEngine(inner, path), tiny.ask("a", system=other if isinstance(other, str) else None), sampling)
    assert inner.calls == 1


@pytest.mark.parametrize("content", [b"not a database at all" * 200, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_corrupt_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"c\.sqlite.*never deleted for you"):
        RequestCache(path)
    assert path.read_bytes() == content


def test_damage_found_later_is_named_too(tiny: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    engine = CachedEngine(Counting("request"), path)
    tiny.run(engine, tiny.ask(*[f"row {n}" for n in range(400)]), SAMPLING)
    engine.close()
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\x5a" * (len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(BadInput, match=r"c\.sqlite.*cannot be used"):
        tiny.run(CachedEngine(Counting("request"), path), tiny.ask("row 1"), SAMPLING)


def test_a_full_disk_is_named_and_loses_no_row(tmp_path: Path) -> None:
    cache = RequestCache(tmp_path / "c.sqlite")
    cache.put("me", [(b"first", Response("", "i", 0, "text", "stop"))])
    (pages,) = cache._database.execute("PRAGMA page_count").fetchone()
    cache._database.execute(f"PRAGMA max_page_count={pages}")  # SQLite reports it as a full disk
    with pytest.raises(BadInput, match=r"The disk is full.*--resume"):
        cache.put("me", [(b"%d" % n, Response("", "i", n, "text" * 100, "stop")) for n in range(100)])
    assert cache.get([b"first", b"1"]).keys() == {b"first"}
    cache.close()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE responses (x)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(BadInput, match="another program"):
        RequestCache(path)
    assert path.read_bytes() == before


def altered(path: Path, statement: str, *values: Any) -> None:
    """Change a cache file behind its back."""
    database = sqlite3.connect(path)
    with database:
        database.execute(statement, values)
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        "response = replace(response, 'row 2 was', 'row 2 was not')",
        "response = replace(response, '\"stop\"', '\"length\"')",
        "response = x'ff00fe'",
        "response = 7",
        "checksum = x'0000000000000000'",
        "checksum = NULL",
        "checksum = x''",
        "checksum = 'text'",
    ],
)
def test_an_altered_row_is_dropped_asked_again_and_replaced(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, rows = tmp_path / "c.sqlite", {b"%d" % n: Response("", "i", n, f"row {n} was", "stop") for n in range(4)}
    cache = RequestCache(path)
    cache.put("me", rows.items())
    cache.close()
    altered(path, f"UPDATE responses SET {change} WHERE key = ?", b"2")
    caches = [RequestCache(path), RequestCache(path)]
    assert [cache.get(list(rows)).keys() for cache in caches] == [rows.keys() - {b"2"}] * 2
    assert caches[0].damaged == {b"2"}
    assert caplog.text.count("1 rows of the request cache do not match their checksums") == 1
    caches[0].put(
        "me", [(b"1", Response("", "i", 1, "another", "stop")), (b"2", Response("", "i", 2, "mended", "stop"))]
    )
    found = caches[1].get(list(rows))
    assert [found[b"%d" % n]["text"] for n in range(4)] == ["row 0 was", "row 1 was", "mended", "row 3 was"]
    for cache in caches:
        cache.close()


@pytest.mark.parametrize("unit", ["request", "batch"])
def test_an_altered_text_never_reaches_a_run(tiny: SimpleNamespace, tmp_path: Path, unit: str) -> None:
    path, requests = tmp_path / "c.sqlite", tiny.ask(*"abcdefgh")
    first = CachedEngine(Counting(unit), path)
    before = tiny.run(first, requests, SAMPLING)
    first.close()
    altered(path, "UPDATE responses SET response = replace(response, '1 ', '1000 ') WHERE item_id = 'item-0'")
    altered(path, "UPDATE responses SET response = replace(response, '5 ', '5000 ') WHERE item_id = 'item-0'")
    inner = Counting(unit)
    engine = CachedEngine(inner, path)
    after = tiny.run(engine, requests, SAMPLING)
    assert inner.calls == (1 if unit == "request" else 4)  # the row, or its batch
    assert not [row.text for row in after.values() if "000" in row.text]
    assert all(after[f"item-{n}", 0].text == before[f"item-{n}", 0].text for n in range(4, 8))
    assert engine.observed() == {"damaged_cache_rows": 1}
    engine.close()
    again = Counting(unit)
    engine = CachedEngine(again, path)
    assert tiny.run(engine, requests, SAMPLING)["item-0", 0].text == after["item-0", 0].text
    assert (again.calls, engine.observed()) == (0, {})
    engine.close()


def version_1(path: Path, *rows: tuple[bytes, str]) -> None:
    """A cache file as the version without checksums wrote it."""
    database = sqlite3.connect(path)
    with database:
        database.execute("PRAGMA application_id=1163284040")
        database.execute("PRAGMA user_version=1")
        database.execute(
            "CREATE TABLE responses (key BLOB PRIMARY KEY, identity TEXT NOT NULL, item_id TEXT NOT NULL, "
            "repetition INTEGER NOT NULL, response TEXT NOT NULL, stored REAL NOT NULL) WITHOUT ROWID"
        )
        database.executemany("INSERT INTO responses VALUES (?, 'me', 'i', 0, ?, 0.0)", rows)
    database.close()


def test_a_cache_without_checksums_is_upgraded_in_place(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    version_1(path, (b"a", '{"text": "kept"}'), (b"b", '{"text": "kept too", "prompt_tokens": 99999999999}'))
    cache = RequestCache(path)
    assert cache.get([b"a", b"b"]) == {
        b"a": {"text": "kept"}, b"b": {"text": "kept too", "prompt_tokens": None},
    }  # fmt: skip
    cache.close()
    altered(path, "UPDATE responses SET response = replace(response, 'kept', 'changed') WHERE key = ?", b"a")
    cache = RequestCache(path)
    assert cache.get([b"a", b"b"]).keys() == {b"b"}
    cache.close()


def test_a_cache_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    RequestCache(path).close()
    altered(path, "PRAGMA user_version=3")
    before = path.read_bytes()
    with pytest.raises(BadInput, match="another version"):
        RequestCache(path)
    assert path.read_bytes() == before


def test_no_flipped_byte_of_the_file_gives_another_text(tmp_path: Path) -> None:
    path, keys = tmp_path / "c.sqlite", [b"key-%05d" % n for n in range(60)]
    rows = {key: Response("", f"item-{n}", n, f"the text of row {n}", "stop") for n, key in enumerate(keys)}
    cache = RequestCache(path)
    cache.put("me", rows.items())
    cache._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cache.close()
    raw, draw, outcomes = path.read_bytes(), random.Random(5), Counter[str]()
    for turn in range(150):
        spoilt = bytearray(raw)
        spoilt[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        other = tmp_path / f"{turn}.sqlite"
        other.write_bytes(spoilt)
        refused, found = "", {}
        try:
            cache = RequestCache(other)
            try:
                found = cache.get(keys)
            finally:
                cache.close()
        except BadInput as error:
            refused = str(error)
        assert not refused or "move" in refused  # it says what to do
        assert all(found[key]["text"] == rows[key].text for key in found)
        outcomes["refused" if refused else "dropped" if len(found) < len(keys) else "whole"] += 1
    assert outcomes["dropped"] > 10


def test_two_processes_write_at_a_time(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from evenhand.engines.cache import RequestCache
from evenhand.records import Response
cache, me = RequestCache(Path(sys.argv[1])), sys.argv[2]
for n in range(150):
    cache.put(me, [(b"%d" % (n * 5 + k), Response("c", f"i{k}", n, me, "stop")) for k in range(5)])
    cache.get([b"%d" % k for k in range(100)])
cache.close()
"""
    path = tmp_path / "c.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(path), name], stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [(b"", 0)] * 2
    cache = RequestCache(path)
    found = cache.get([b"%d" % n for n in range(750)])
    cache.close()
    assert len(found) == 750
    assert {row["text"] for row in found.values()} <= {"one", "two"}


def test_many_may_open_a_new_cache_at_once(tmp_path: Path) -> None:
    def open_it(path: Path, gate: threading.Barrier) -> None:
        gate.wait()
        RequestCache(path).close()

    with ThreadPoolExecutor(4) as pool:
        for turn in range(20):
            gate = threading.Barrier(4)
            for opened in [pool.submit(open_it, tmp_path / f"{turn}.sqlite", gate) for _ in range(4)]:
                opened.result()


def test_local_rows_replay_from_the_cache(
    open_local: Callable[..., Any], model_folder: Path, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    requests, sampling = tiny.ask("a joke", "a trip", "bread", repetitions=3), Sampling(max_tokens=9)
    first = tiny.run(CachedEngine(open_local(model_folder), tmp_path / "c.sqlite"), requests, sampling)
    engine = open_local(model_folder)
    assert tiny.run(CachedEngine(engine, tmp_path / "c.sqlite"), requests, sampling) == first
    assert engine._model is None  # not even loaded
