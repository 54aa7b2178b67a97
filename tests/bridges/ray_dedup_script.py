"""Removals on two Ray workers beside those of one machine, as a process of its own: ``ray_dedup_script.py FOLDER``.

Ray leaves sockets and files open when it ends, which the tests would take for errors. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import ray

from evenhand.bridges import ray_dedup
from evenhand.config import checked
from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus import dedup, removal
from evenhand.methods.pluralism.corpus.dedup import write_result
from evenhand.methods.pluralism.corpus.row_file import RowFile

SEARCH = b"ray::MapBatches(_search)"


def texts(rows: int) -> list[str]:
    """Of every three, two are edits of an earlier one, and some repeat one or have no word."""
    generator = np.random.default_rng(2)
    words = ["".join(map(chr, generator.integers(97, 123, 6))) for _ in range(400)]
    found: list[list[str]] = []
    for row in range(rows):
        own = [words[n] for n in generator.integers(0, 400, 15)]
        if row % 3:
            own = list(found[int(generator.integers(0, row))])
            own[int(generator.integers(0, len(own)))] = words[int(generator.integers(0, 400))]
        found.append(own)
    return [" ".join(row) if at % 50 else ("!?", " ".join(found[0]))[at // 50 % 2] for at, row in enumerate(found)]


def differences(path: Path, out: Path, **settings: Any) -> dict[str, Any]:
    """The files in which both ways differ, and what was dropped and said."""
    config = checked(dedup.DedupConfig, **settings)
    source = RowFile(path, config.columns or None)
    facts = write_result(source, config, dedup.find_duplicates(source, config), out / "one")
    write_result(source, config, ray_dedup.find_duplicates_on_ray(source, config), out / "ray")
    names = sorted(entry.name for folder in ("one", "ray") for entry in (out / folder).iterdir())
    differ = [name for name in names if (out / "one" / name).read_bytes() != (out / "ray" / name).read_bytes()]
    return {"files": names, "differ": differ, "dropped": facts["dropped_near"], "warnings": facts["warnings"]}


def kill_a_searcher(killed: list[int], stop: threading.Event) -> None:
    """End the first worker of this process's own Ray that is found at the search."""
    while not stop.is_set() and not killed:
        for entry in Path("/proc").iterdir():
            try:
                at_work = entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(SEARCH)
                if at_work and parent(parent(int(entry.name))) == os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed.append(int(entry.name))
                    return
            except OSError:
                continue  # it has ended
        time.sleep(0.005)


def parent(process: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def main(folder: Path) -> None:
    rows = [{"id": f"r{at}", "text": text, "group": at % 3} for at, text in enumerate(texts(1200))]
    csv, jsonl, parquet = (folder / f"a{kind}" for kind in (".csv", ".jsonl", ".parquet"))
    table = pl.DataFrame(rows)
    table.write_csv(csv)
    table.write_ndjson(jsonl)
    table.write_parquet(parquet)
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    dedup._CHUNK = 250  # several blocks of texts
    found: dict[str, Any] = {
        "csv": differences(csv, folder / "csv"),
        "jsonl": differences(jsonl, folder / "jsonl", keep="components", method="multi-index"),
        "parquet": differences(parquet, folder / "parquet", bits=128, distance=20, features="word+bigram"),
        "unverified": differences(csv, folder / "unverified", verify=0, interop=True, method="blocks", distance=7),
    }
    stop, killed = threading.Event(), list[int]()
    watcher = threading.Thread(target=kill_a_searcher, args=(killed, stop))
    watcher.start()
    found["killed"] = differences(csv, folder / "killed", method="multi-index", distance=16)
    stop.set()
    watcher.join()
    found["workers_killed"] = len(killed)
    dedup.MOST_AT_ONCE = ray_dedup.MOST_AT_ONCE = 30
    found["crowded batch"] = differences(csv, folder / "crowded_batch", keep="components", method="brute")
    dedup.MOST_AT_ONCE = ray_dedup.MOST_AT_ONCE = 4_000_000
    removal.MOST_HELD = 100
    found["crowded"] = differences(csv, folder / "crowded")
    broken = folder / "broken.csv"
    broken.write_text("id,text\n1,a garden chair\n2,a,b\n", encoding="utf-8")
    try:
        ray_dedup.find_duplicates_on_ray(RowFile(broken), dedup.DedupConfig())
    except BadInput as error:
        found["broken"] = str(error)
    ray.shutdown()
    removal.MOST_HELD = 20_000_000
    alone = ray_dedup.find_duplicates_on_ray(RowFile(csv), dedup.DedupConfig(), address="local", threads=2)
    found["alone"] = {"dropped": int((~alone.dropped.exact).sum()), "left connected": ray.is_initialized()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
