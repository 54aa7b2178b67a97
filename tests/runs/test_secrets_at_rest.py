"""What is written down holds no secret, whoever wrote it: each file format by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.engines.cache import RequestCache
from evenhand.errors import BadInput
from evenhand.files import read_json, write_json
from evenhand.records import LogProb, Response
from evenhand.redact import hide
from evenhand.runs.journal import Journal, ScoreJournal
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table, write_table

KEY = "sk-at-rest/0123+4"
SHORT = "ab"


def plan(query: str) -> dict[str, Any]:
    return {
        "config": {"judge": f"http://h/v1{query}#m", "new_setting": [{"address": f"https://u:p@h/v1{query}"}], "grader": ["a=b"]},
        "identities": {f"http://h/v1{query}#m": {"spec": f"http://h/v1{query}#m"}},
    }  # fmt: skip


def test_a_plan_is_written_without_query_and_user_whatever_the_setting(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", plan(f"?api_key={SHORT}"), resume=False)
    run.manifest["observed"] = {"echo": f"http://h/v1?api_key={SHORT}"}
    run.save()
    run.release()
    told = (tmp_path / "run" / "manifest.json").read_text()
    assert "api_key" not in told
    assert "u:p" not in told
    assert json.loads(told)["plan"]["config"]["judge"] == "http://h/v1#m"
    Run.start(tmp_path / "run", plan("?api_key=another"), resume=True).release()
    changed = plan("")
    changed["config"]["judge"] = "http://h/v1?k=S#n"
    with pytest.raises(BadInput, match="judge was 'http://h/v1#m' and is now 'http://h/v1#n'"):
        Run.start(tmp_path / "run", changed, resume=True)


def test_a_manifest_of_old_with_a_key_is_resumed_and_cleaned(tmp_path: Path) -> None:
    Run.start(tmp_path / "run", plan(""), resume=False).release()
    path = tmp_path / "run" / "manifest.json"
    old = json.loads(path.read_text())
    del old["checksum"], old["checksums"]  # an older version wrote none
    old["plan"]["config"]["judge"] = f"http://h/v1?api_key={SHORT}#m"
    path.write_text(json.dumps(old))
    Run.start(tmp_path / "run", plan(f"?api_key={SHORT}"), resume=True).release()
    assert "api_key" not in path.read_text()


def test_findings_and_other_json(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", {"config": {}}, resume=False)
    hide(KEY)
    empty = {"verdicts": [], "findings": [], "headlines": [], "methods": [], "rows": 0, "missing": 0, "facts": {}}
    run.write_findings({"service": {**empty, "caveats": [f"it said {KEY}", f"http://h/v1?k={SHORT}"]}})
    run.release()
    assert run.read_findings()["service"]["caveats"] == ["it said [hidden]", "http://h/v1"]
    write_json(tmp_path / "card.json", {"note": [f"{KEY}\n"]})
    assert read_json(tmp_path / "card.json") == {"note": ["[hidden]\n"]}


def test_journals(tmp_path: Path) -> None:
    hide(KEY)
    responses, scores = Journal(tmp_path / "a.jsonl"), ScoreJournal(tmp_path / "b.jsonl")
    responses.append(
        "k", [Response("c", "i", 0, f"text {KEY}", "stop", reasoning=KEY, provider_refusal=KEY, error=KEY)]
    )
    scores.append("k", [LogProb("s", None, error=f"why {KEY}")])
    for journal in (responses, scores):
        journal.close()
        assert KEY not in journal.path.read_text()
    (row,) = responses.read()["k"]
    assert (row.text, row.reasoning, row.provider_refusal, row.error) == ("text [hidden]", *["[hidden]"] * 3)
    assert scores.read()["k"][0].error == "why [hidden]"


def test_the_cache_stores_no_secret_and_hands_none_out(tmp_path: Path) -> None:
    cache = RequestCache(tmp_path / "cache")
    row = Response("c", "i", 0, f"text {KEY}", "stop")
    cache.put("identity", [(b"before", row)])
    hide(KEY)
    cache.put("identity", [(b"after", row)])
    (stored,) = cache._database.execute("SELECT response FROM responses WHERE key = ?", (b"after",)).fetchone()
    assert json.loads(stored)["text"] == "text [hidden]"
    assert cache.get([b"before"])[b"before"]["text"] == "text [hidden]"
    cache.close()


def test_a_table_keeps_the_columns_that_rows_are_joined_by(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": [KEY, "i"], "text": [None, f"x {KEY}"], "more": [[KEY], ["y"]], "n": [1, 2]})
    write_table(tmp_path / "before.parquet", frame)
    assert read_table(tmp_path / "before.parquet").equals(frame)
    hide(KEY)
    write_table(tmp_path / "after.parquet", frame)
    assert read_table(tmp_path / "after.parquet").to_dict(as_series=False) == {
        "item_id": [KEY, "i"], "text": [None, "x [hidden]"], "more": [["[hidden]"], ["y"]], "n": [1, 2],
    }  # fmt: skip
