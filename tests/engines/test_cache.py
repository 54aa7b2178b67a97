"""The request cache as a file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
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


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE responses (x)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(BadInput, match="another program"):
        RequestCache(path)
    assert path.read_bytes() == before


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
