"""The folder: rows as they were, a table that names every keeper, and a summary."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.files import read_json
from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.dedup import find_duplicates, write_result
from evenhand.methods.pluralism.corpus.row_file import RowFile

TEXT = "what is the best way to repair an old wooden garden chair"


def test_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [("=1+1", TEXT), ("b", "?"), ("@c", TEXT), ("d", TEXT + "s"), ("e", "something else about the sea")]
    path.write_text("\n".join(json.dumps({"id": name, "text": text, "n": 1.50}) for name, text in rows))
    source, config = RowFile(path), DedupConfig()
    out = tmp_path / "new" / "out"
    facts = write_result(source, config, find_duplicates(source, config), out)
    assert sorted(entry.name for entry in out.iterdir()) == [
        "dedup.json",
        "dropped.csv",
        "kept.jsonl",
        "no_features.csv",
    ]
    assert [json.loads(line)["id"] for line in (out / "kept.jsonl").read_text().splitlines()] == ["=1+1", "b", "e"]
    with (out / "dropped.csv").open(newline="") as file:
        dropped = list(csv.DictReader(file))
    assert [(row["row"], row["id"], row["kept_row"], row["kept_id"], row["kind"]) for row in dropped] == [
        ("3", "'@c", "1", "'=1+1", "exact"),
        ("4", "d", "1", "'=1+1", "near"),
    ]
    assert dropped[0]["distance"] == "0"
    assert dropped[0]["jaccard"] == "1.0"
    assert 0.9 < float(dropped[1]["jaccard"]) < 1
    assert (out / "no_features.csv").read_text() == '"row","id"\n2,"b"\n'
    assert read_json(out / "dedup.json") == facts
    assert {key: facts[key] for key in ("rows", "kept", "dropped", "dropped_exact", "dropped_near")} == {
        "rows": 5,
        "kept": 3,
        "dropped": 2,
        "dropped_exact": 1,
        "dropped_near": 1,
    }
    assert facts["settings"]["distance"] == 10
    assert facts["feature_hash"] == "mix64-v1 of four code points"
    assert facts["input"]["checksum"].startswith("xxh128:")


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text\n{TEXT}\n")
    source, config = RowFile(path), DedupConfig()
    with pytest.raises(BadInput, match="not empty"):
        write_result(source, config, find_duplicates(source, config), tmp_path)
