"""The harness of `make torture`: it runs, it counts, and it notices what it is there to notice."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the harness forks, and mounts file systems"
)


@pytest.fixture(scope="module")
def torture(bench_file: Any) -> ModuleType:
    module: ModuleType = bench_file("torture")
    return module


@pytest.fixture
def place(torture: ModuleType, tmp_path: Path) -> Any:
    return torture.Place(tmp_path / "scratch", tmp_path / "kept", 3, time.monotonic()).part("part", time.monotonic())


@pytest.fixture
def zygote(torture: ModuleType, tmp_path: Path) -> Iterator[Any]:
    from torture_parts.processes import Zygote

    with Zygote(tmp_path / "zygote") as made:
        yield made


def test_exit_codes_streams_and_signals_of_a_child(zygote: Any, tmp_path: Path) -> None:
    done = zygote.run(["--version"], tmp_path)
    assert (done.code, done.out.split()[0], done.err) == (0, "evenhand", "")
    assert zygote.run(["audit", "--labels", "absent.csv"], tmp_path).code == 2
    words = ["audit", "http://127.0.0.1:9/v1#m", "--only", "service", "--out", "run"]
    killed = zygote.run(words, tmp_path, signals=[(0.02, signal.SIGKILL)])
    assert killed.code == -signal.SIGKILL


def test_a_batch_reports_every_case(zygote: Any, tmp_path: Path) -> None:
    cases = [{"argv": argv, "cwd": str(tmp_path), "env": {}} for argv in (["--version"], ["nothing"], ["--version"])]
    ended, stopped = zygote.batch(cases, limit=60.0, space=1 << 40, until=time.monotonic() + 120)
    assert [code for code, _ in ended] == [0, 2, 0]
    assert "No such command" in ended[1][1]
    assert stopped == ""


def test_a_changed_table_an_own_file_and_another_time_are_told_apart(torture: ModuleType, tmp_path: Path) -> None:
    from torture_parts.alike import differences, leftovers

    for name, created in (("whole", "2026-01-01"), ("broken", "2026-02-02")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"created": created, "state": "done"}))
        (folder / "rows.parquet").write_bytes(b"same")
    assert differences(tmp_path / "whole", tmp_path / "broken") == []
    (tmp_path / "broken" / "rows.parquet").write_bytes(b"sane")
    (tmp_path / "broken" / ".rows.parquet.7.tmp").write_bytes(b"")
    (tmp_path / "whole" / "card.md").write_bytes(b"")
    assert differences(tmp_path / "whole", tmp_path / "broken") == [
        "card.md: only in the whole run",
        "rows.parquet: differs",
    ]
    assert leftovers(tmp_path / "broken") == [".rows.parquet.7.tmp"]


def test_a_secret_is_found_in_streams_tables_and_databases(torture: ModuleType, tmp_path: Path) -> None:
    import sqlite3

    import polars as pl

    from torture_parts.kit import Done
    from torture_parts.wire import found_in

    pl.DataFrame({"text": ["a sk-secret-123456 b"] * 500}).write_parquet(tmp_path / "a.parquet", compression="zstd")
    with sqlite3.connect(tmp_path / "b.sqlite") as database:
        database.execute("CREATE TABLE t AS SELECT 'sk-secret-123456' AS a")
    database.close()
    (tmp_path / "c.txt").write_text("sk-another")
    done = Done(0, 0.0, 0.0, "", "sent sk-secret-123456", False)
    assert sorted(found_in(tmp_path, done, "sk-secret-123456")) == ["a.parquet", "b.sqlite", "stderr"]


def test_there_are_many_kinds_of_faulty_reply_and_each_is_bytes(torture: ModuleType) -> None:
    from torture_parts.asked import Asked
    from torture_parts.bodies import KINDS
    from torture_parts.replies import TERMINAL

    asked = Asked("/v1/chat/completions", "sk-key", "prompt", "answer")
    assert len(KINDS) >= 300
    for kind, make in {**KINDS, **TERMINAL}.items():
        assert isinstance(make(asked), bytes), kind
    assert sum(b"sk-key" in make(asked) for kind, make in KINDS.items() if kind.startswith("key")) >= 15


def test_cases_depend_on_the_seed_and_their_number_alone(
    torture: ModuleType, place: Any, zygote: Any, tmp_path: Path
) -> None:
    from torture_parts.cases import table_case
    from torture_parts.readers import READERS

    for reader in READERS:
        seen = []
        for name in ("one", "two"):
            folder = tmp_path / f"{reader.name}-{name}"
            folder.mkdir()
            case = table_case(reader)(None, folder, place.random("inputs", 7))
            seen.append((case.argv, {path.name: path.read_bytes() for path in folder.iterdir()}))
        assert seen[0] == seen[1]


def test_a_traceback_and_data_that_is_accepted_silently_are_counted_and_kept(
    torture: ModuleType, place: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from torture_parts.cases import Case
    from torture_parts.inputs import judge

    counts = torture.Counts()
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "in.csv").write_text("a")
    case = Case("labels, csv", ["audit", "--labels", "in.csv"], tmp_path / "case")
    judge(place, case, 1, "Traceback (most recent call last)", counts)
    judge(place, case, 70, "", counts)
    judge(place, case, 2, "evenhand: in.csv: no", counts)
    judge(place, Case("artefact", [], tmp_path / "case", refused=True), 0, "", counts)
    assert (counts.tried, counts.clean, counts.tracebacks, counts.differing) == (4, 1, 2, 1)
    what = (place.kept / "inputs-traceback-001" / "what.txt").read_text()
    assert "evenhand audit --labels in.csv" in what
    assert "seed 3" in what
    assert (place.kept / "inputs-traceback-001" / "in.csv").is_file()


def test_a_run_over_the_faulty_server(torture: ModuleType, place: Any) -> None:
    import httpx

    from torture_parts.asked import tag_of
    from torture_parts.server import FaultyServer

    with FaultyServer("3", "sk-key") as server, httpx.Client(timeout=3.0) as client:
        for row in range(40):
            body = {"model": "m", "seed": row, "messages": [{"role": "user", "content": f"prompt {row}"}]}
            for _ in range(2):
                try:
                    client.post(f"{server.url}/chat/completions", json=body)
                except (httpx.HTTPError, httpx.InvalidURL):
                    continue
        assert server.faulty >= 20
        server.calm = True
        with httpx.Client(timeout=3.0) as fresh:  # a connection of the other one may be half closed
            good = fresh.post(f"{server.url}/chat/completions", json=body).json()
    assert tag_of("prompt 39") in good["choices"][0]["message"]["content"]


def test_a_short_run_of_one_part(torture: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small enough for seconds: 40 rows over the faulty server, in a process that is forked. What it finds is not judged here."""
    import torture_parts.wire as part

    monkeypatch.setattr(part, "_STEMS", 2)
    monkeypatch.setattr(part, "_ROWS", 40)
    found = torture.torture(0.001, 3, ["wire"], tmp_path / "kept")
    assert list(found) == ["wire"]
    assert found["wire"].tried >= 10
    assert found["wire"].clean + found["wire"].bad >= found["wire"].tried
    assert not (tmp_path / "kept" / "wire-harness-001").exists()


def test_the_table_counts_and_names_versions_seconds_and_seed(torture: ModuleType) -> None:
    found = {"kills": torture.Counts(tried=7, clean=6, lost=1), "wire": torture.Counts(tried=1000, clean=1000)}
    lines = torture.table(found, 0.5, 9, 31.0).splitlines()
    assert lines[2].startswith("| kills | 7 | 6 | 1 | 0 |")
    assert lines[4].startswith("| all | 1,007 | 1,006 | 1 |")
    assert "31 seconds (0.5 minutes asked), seed 9" in lines[-1]
    assert "torch" in lines[-1]
